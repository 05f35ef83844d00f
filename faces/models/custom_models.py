"""Custom models: a user's embedder, as an ONNX file and a TOML file that describes its input.

    name = "mobilefacenet"             # the TOML file's name by default
    network = "mobilefacenet.onnx"     # beside this file
    colour = "rgb"                     # or "bgr"
    range = [0, 1]                     # what the pixel values 0 and 255 become; [0, 255] by default
    mean = [0.485, 0.456, 0.406]       # then subtracted; 0 by default
    std = [0.229, 0.224, 0.225]        # then divided by; 1 by default
    alignment = "arcface"              # or five points [x, y] in pixels of the crop
    input_size = [112, 112]            # width, height; needed where the graph takes any size
    output = "output0"                 # needed where the graph has several outputs
    flip_averaging = false             # add the embedding of the mirror image
    licence = "Apache-2.0"             # for `facetrove models` to show
    origin = "where you have it from"

A custom model that was used once is kept in the cache, with its prepared network, so that searching
needs neither the TOML file nor the ONNX file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from faces.core.contract import MAX_DIMENSION
from faces.core.errors import ModelUnavailableError, WrongUsageError, first_line
from faces.core.files import atomic_write
from faces.core.hashing import sha256_of
from faces.core.machine import cache_dir
from faces.models.alignment import Alignment, AlignmentTemplate, arcface_template
from faces.models.choice import BUILT_IN_DETECTORS, BUILT_IN_EMBEDDERS, is_model_file
from faces.models.embedder import EmbedderSpec
from faces.models.engines import output_shapes
from faces.models.family import ModelFamily
from faces.models.preparation import prepare

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Pattern of a custom model's name, which becomes part of file names."""

BUILT_IN = (*BUILT_IN_EMBEDDERS, *BUILT_IN_DETECTORS)
"""Names of the built-in models, which a custom model may not have."""

MAX_PIXELS = 4096
"""Maximum width and height of a crop, in pixels. Embedders take far less, so a larger value in a
TOML file is a mistake."""

CHANNELS, NUM_LANDMARKS = 3, 5

KEYS = (
    *("name", "network", "colour", "range", "mean", "std", "alignment", "input_size"),
    *("output", "flip_averaging", "licence", "origin"),
)
"""Keys that a TOML file may have."""

_OLD_STD = "deviation"
"""The key `std` as older TOML files, which stay valid, and the digests name it."""


@dataclass(frozen=True)
class CustomModel:
    """A user's description of an embedder, checked against the embedder's graph.

    The names of the attributes are part of `digest`.

    Attributes:
        name: the model's name in the contract.
        network: absolute path of the ONNX file.
        network_digest: sha256 of the ONNX file, hexadecimal.
        width, height: size of the graph's input in pixels.
        channels_last, output: see `EmbedderSpec`.
        dimension: number of dimensions of an embedding.
        bgr, low, high, mean, std, flip_averaging: see `EmbedderSpec`.
        points: five (x, y) landmarks in pixels of the crop, in the order of `Detection.landmarks`;
            None: ArcFace's template.
        licence, origin: notes for the user, which change nothing in the embeddings.
    """

    name: str
    network: str
    network_digest: str
    width: int
    height: int
    channels_last: bool
    output: str
    dimension: int
    bgr: bool
    low: float
    high: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    points: tuple[tuple[float, float], ...] | None
    flip_averaging: bool
    licence: str = ""
    origin: str = ""

    @property
    def digest(self) -> str:
        """The sha256, hexadecimal, of everything that the embeddings depend on."""
        fields = {n: v for n, v in vars(self).items() if n not in ("network", "licence", "origin")}
        fields[_OLD_STD] = fields.pop("std")  # as when the first digests were stored
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def cache_name(self) -> str:
        """The name of the model's files in the cache, without their suffixes."""
        return f"{self.name}-{self.digest[:12]}"

    @property
    def alignment(self) -> Alignment:
        """The alignment that the crops are made with."""
        if self.points is None:
            return arcface_template(self.width)
        return AlignmentTemplate("five-points", self.width, self.height, self.points)

    def spec(self) -> EmbedderSpec:
        """Return the specification that the embedder is loaded from."""
        return EmbedderSpec(
            name=self.name,
            locate=partial(_locate, Path(self.network), self.network_digest, self.name),
            digest=self.digest,
            alignment=self.alignment,
            dimension=self.dimension,
            output=self.output,
            bgr=self.bgr,
            channels_last=self.channels_last,
            low=self.low,
            high=self.high,
            mean=self.mean,
            std=self.std,
            flip_averaging=self.flip_averaging,
            cache_name=self.cache_name,
        )


def read_model(path: Path) -> CustomModel:
    """Read a custom model's TOML file, prepare its network, and keep both in the cache.

    Args:
        path: path of the TOML file.

    Raises:
        WrongUsageError: the TOML file is invalid, or does not fit its network.
        ModelUnavailableError: the prepared network computes something else than the ONNX file.
    """
    # Imported here, since a model that is in the cache already can be used without onnx.
    from faces.models.onnx_graph import crop_input_shape

    file = _ModelFile(path)
    name = file.text("name", path.stem)
    if not MODEL_NAME.fullmatch(name) or name in BUILT_IN or is_model_file(name):
        allowed = "a letter or digit, then at most 63 of A-Z a-z 0-9 . _ -"
        problem = "is built in" if name in BUILT_IN else f"is not {allowed}"
        problem = "ends in .toml, like the name of a file" if is_model_file(name) else problem
        file.fail("name", f"{name!r} {problem}; choose another")
    network = (path.parent / file.text("network")).absolute()
    if not network.is_file():
        file.fail("network", f"there is no file {network}")
    shape = crop_input_shape(network)
    channels_last = shape[1] != CHANNELS
    width, height = file.input_size(shape[2:0:-1] if channels_last else shape[:1:-1])
    low, high = file.numbers("range", 2, (0.0, 255.0))
    if low >= high:
        file.fail("range", f"the second number must be larger than the first, not {[low, high]}")
    mean = file.numbers("mean", CHANNELS, (0.0, 0.0, 0.0))
    std = file.numbers("std", CHANNELS, (1.0, 1.0, 1.0))
    if min(std) <= 0:
        file.fail("std", f"all three numbers must be over 0, not {list(std)}")
    draft = CustomModel(
        name=name,
        network=str(network),
        network_digest=sha256_of(network),
        width=width,
        height=height,
        channels_last=channels_last,
        output="",
        dimension=1,
        bgr=file.colour() == "bgr",
        low=low,
        high=high,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        points=file.points(width, height),
        flip_averaging=file.flag("flip_averaging"),
        licence=file.text("licence", ""),
        origin=file.text("origin", ""),
    )
    output = file.text("output", "")
    file.require_nothing_else()
    shapes = output_shapes(network, draft.spec().sample_input())
    model = replace(draft, **_output(file, output, shapes))
    prepare(model.spec().source)
    _remember(model)
    return model


def _output(file: _ModelFile, name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Find the graph's output that is the embedding.

    Args:
        file: the TOML file, for messages.
        name: name of the output in the TOML file; "": the graph's only output.
        shapes: shape of each of the graph's outputs for one crop, by the output's name.

    Returns:
        The values of `CustomModel.output` and `CustomModel.dimension`.
    """
    listed = ", ".join(f"{output} {shape}" for output, shape in shapes.items())
    if not name and len(shapes) > 1:
        file.fail("output", f"name the one of the graph's outputs that is the embedding: {listed}")
    name = name or next(iter(shapes))
    if name not in shapes:
        file.fail("output", f"the graph has no output {name!r}; it has {listed}")
    dimension = math.prod(shapes[name][1:])
    if not 2 <= dimension <= MAX_DIMENSION or shapes[name][:1] != (1,):
        file.fail(
            "output",
            f"{name} is not an embedding: for one crop its shape is {shapes[name]}, not (1, d) "
            f"with d from 2 to {MAX_DIMENSION}",
        )
    return {"output": name, "dimension": dimension}


class _ModelFile:
    """A parsed TOML file, whose keys are taken out one by one.

    Every method that reads a key raises a `WrongUsageError` with the file, the key, and what was
    expected of its value.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._unread: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WrongUsageError(f"there is no model file {path}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise WrongUsageError(
                f"{path} is not a valid TOML file ({first_line(error)}); see docs/models.md"
            ) from error
        if _OLD_STD in self._unread:
            if "std" in self._unread:
                self.fail("std", f"{_OLD_STD} is the older name of the same key; give only std")
            self._unread["std"] = self._unread.pop(_OLD_STD)

    def fail(self, key: str, problem: str) -> NoReturn:
        raise WrongUsageError(f"{self._path}, {key}: {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._unread.pop(key, default)
        if not isinstance(value, str):
            self.fail(key, f"it must be given, as text in quotes; it is {value!r}")
        return value

    def flag(self, key: str) -> bool:
        value = self._unread.pop(key, False)
        if not isinstance(value, bool):
            self.fail(key, f"it must be true or false, not {value!r}")
        return value

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        value = self._unread.pop(key, list(default))
        if not _are_numbers(value, count):
            self.fail(key, f"it must be {count} numbers, such as {list(default)}, not {value!r}")
        return tuple(map(float, value))

    def colour(self) -> str:
        value = self.text("colour", "rgb")
        if value not in ("rgb", "bgr"):
            self.fail("colour", f'it must be "rgb" or "bgr", not {value!r}')
        return value

    def input_size(self, graph_size: tuple[int | None, ...]) -> tuple[int, int]:
        size = self._unread.pop("input_size", None)
        if size is None:
            if None in graph_size:
                self.fail("input_size", "the graph takes any size; give one, such as [112, 112]")
            size = list(graph_size)
        if not _are_numbers(size, 2) or any(
            not 8 <= side <= MAX_PIXELS or side != int(side) for side in size
        ):
            self.fail(
                "input_size",
                f"it must be [width, height], whole pixels from 8 to {MAX_PIXELS}, not {size!r}",
            )
        width, height = map(int, size)
        if any(fixed not in (None, side) for fixed, side in zip(graph_size, size, strict=True)):
            self.fail("input_size", f"{size} is not the graph's, which is {list(graph_size)}")
        return width, height

    def points(self, width: int, height: int) -> tuple[tuple[float, float], ...] | None:
        value = self._unread.pop("alignment", "arcface")
        if value == "arcface":
            if width != height:
                self.fail(
                    "alignment",
                    f'"arcface" is for square crops, not {width}x{height}; give five points',
                )
            return None
        if (
            not isinstance(value, list)
            or len(value) != NUM_LANDMARKS
            or not all(_are_numbers(point, 2) for point in value)
            or not all(0 <= x <= width and 0 <= y <= height for x, y in value)
        ):
            self.fail(
                "alignment",
                'it must be "arcface" or five points [x, y] in pixels of the crop (left eye, right '
                f"eye, nose, left and right mouth corner, as seen in the image), not {value!r}",
            )
        return tuple((float(x), float(y)) for x, y in value)

    def require_nothing_else(self) -> None:
        if self._unread:
            self.fail(
                next(iter(self._unread)), f"there is no such key; the keys are {', '.join(KEYS)}"
            )


def _are_numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(map(math.isfinite, value))
    )


def _remember(model: CustomModel) -> None:
    path = _models_dir() / f"{model.cache_name}.json"
    try:
        _models_dir().mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(asdict(model), indent=2) + "\n")
    except OSError:  # the cache may be read-only where the model was remembered before
        if _read_remembered(path) != model:
            raise


def cached_models() -> list[CustomModel]:
    """List the custom models in this machine's cache, the newest first."""
    files = sorted(_models_dir().glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)
    return [model for model in map(_read_remembered, files) if model is not None]


def _read_remembered(path: Path) -> CustomModel | None:
    try:
        document = json.loads(path.read_text())
        points = document["points"]
        document["points"] = None if points is None else tuple(map(tuple, points))
        document.setdefault("std", document.pop(_OLD_STD, None))
        for name in ("mean", "std"):
            document[name] = tuple(document[name])
        return CustomModel(**document)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # written by another version of facetrove


def _models_dir() -> Path:
    return cache_dir() / "models"


def _locate(path: Path, digest: str, name: str) -> Path:
    """Return the path of a custom model's ONNX file, if the file is unchanged.

    Raises:
        ModelUnavailableError: the file is missing, or has another digest.
    """
    if path.is_file() and sha256_of(path) == digest:
        return path
    raise ModelUnavailableError(
        f"the network of model {name!r}, {path}, is missing or has changed; put it back "
        f"(sha256 {digest})"
    )


def _find_embedder(name: str, digest: str | None) -> EmbedderSpec | None:
    if is_model_file(name):
        return read_model(Path(name)).spec()
    same_name = [model for model in cached_models() if model.name == name]
    for model in same_name:
        if digest in (None, model.digest):
            return model.spec()
    if same_name or digest is not None:
        raise ModelUnavailableError(
            f"this machine does not have the model {name!r} with digest {str(digest)[:12]}; add it "
            "by its TOML file: `facetrove models MODEL.toml`"
        )
    return None


FAMILY = ModelFamily(("a file ending in .toml",), _find_embedder)
