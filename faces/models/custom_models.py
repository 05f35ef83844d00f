"""The user's own embedder: an ONNX file and a few lines of TOML that say what it takes.

    name = "mobilefacenet"             # the file's name by default
    network = "mobilefacenet.onnx"     # beside this file
    colour = "rgb"                     # or "bgr"
    range = [0, 1]                     # what the pixel values 0 and 255 become; [0, 255] by default
    mean = [0.485, 0.456, 0.406]       # subtracted then; 0 by default
    std = [0.229, 0.224, 0.225]        # divided by then; 1 by default
    alignment = "arcface"              # or five points [x, y] in pixels of the crop
    input_size = [112, 112]            # width, height; needed where the graph leaves them open
    output = "output0"                 # needed where the graph has several
    flip_averaging = false             # add the embedding of the mirror image
    licence = "Apache-2.0"             # for `facetrove models` to show
    origin = "where you have it from"

A model that was used once is remembered in the cache, with its network, so that searching
needs neither file again.
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
"""Names of own models: they become parts of file names."""

BUILT_IN = (*BUILT_IN_EMBEDDERS, *BUILT_IN_DETECTORS)
"""Names that an own model may not have."""

MAX_PIXELS = 4096
"""Longer side of a crop; a file that says more is mistaken."""

CHANNELS, NUM_LANDMARKS = 3, 5

KEYS = (
    *("name", "network", "colour", "range", "mean", "std", "alignment", "input_size"),
    *("output", "flip_averaging", "licence", "origin"),
)

_OLD_STD = "deviation"
"""The name of `std` in older TOML files, which stay valid, and in digests."""


@dataclass(frozen=True)
class CustomModel:
    """What a user says of an embedder, checked against its graph.

    Attributes:
        name: stored in the contract.
        network: path of the ONNX file, absolute.
        network_digest: sha256 of it, hexadecimal.
        width, height, channels_last, output, dimension: of the graph.
        bgr, low, high, mean, std, flip_averaging: see `EmbedderSpec`.
        points: five (x, y) in pixels of the crop; None: ArcFace's.
        licence, origin: what the user wants to be reminded of.
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
        """Of all that its embeddings depend on."""
        said = {n: v for n, v in vars(self).items() if n not in ("network", "licence", "origin")}
        said[_OLD_STD] = said.pop("std")  # as when the first digests were stored
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def cache_name(self) -> str:
        """What its files in the cache are called."""
        return f"{self.name}-{self.digest[:12]}"

    @property
    def alignment(self) -> Alignment:
        """How its crops are made."""
        if self.points is None:
            return arcface_template(self.width)
        return AlignmentTemplate("five-points", self.width, self.height, self.points)

    def spec(self) -> EmbedderSpec:
        """It as an embedder."""
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
    """Read a TOML file, check it against its network, prepare that, and remember the model.

    Raises:
        WrongUsageError: it says something that cannot be; says what.
    """
    # A model that was used before is found without onnx.
    from faces.models.onnx_graph import crop_input_shape

    said = _Said(path)
    name = said.text("name", path.stem)
    if not MODEL_NAME.fullmatch(name) or name in BUILT_IN or is_model_file(name):
        problem = "is built in" if name in BUILT_IN else "has other characters than a-z 0-9 . _ -"
        problem = "is how a file is called" if is_model_file(name) else problem
        said.fail("name", f"{name!r} {problem}; choose another")
    network = (path.parent / said.text("network")).absolute()
    if not network.is_file():
        said.fail("network", f"there is no file {network}")
    shape = crop_input_shape(network)
    channels_last = shape[1] != CHANNELS
    width, height = said.input_size(shape[2:0:-1] if channels_last else shape[:1:-1])
    low, high = said.numbers("range", 2, (0.0, 255.0))
    if low >= high:
        said.fail("range", "the second number must be larger")
    mean = said.numbers("mean", CHANNELS, (0.0, 0.0, 0.0))
    std = said.numbers("std", CHANNELS, (1.0, 1.0, 1.0))
    if min(std) <= 0:
        said.fail("std", "all must be over 0")
    draft = CustomModel(
        name=name,
        network=str(network),
        network_digest=sha256_of(network),
        width=width,
        height=height,
        channels_last=channels_last,
        output="",
        dimension=1,
        bgr=said.colour() == "bgr",
        low=low,
        high=high,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        points=said.points(width, height),
        flip_averaging=said.flag("flip_averaging"),
        licence=said.text("licence", ""),
        origin=said.text("origin", ""),
    )
    output = said.text("output", "")
    said.require_nothing_else()
    shapes = output_shapes(network, draft.spec().sample_input())
    model = replace(draft, **_output(said, output, shapes))
    prepare(model.spec().source)
    _remember(model)
    return model


def _output(said: _Said, name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The name and number of numbers of the output that is the embedding."""
    known = ", ".join(f"{output} {shape}" for output, shape in shapes.items())
    if not name and len(shapes) > 1:
        said.fail("output", f"say which of the graph's outputs is the embedding: {known}")
    name = name or next(iter(shapes))
    if name not in shapes:
        said.fail("output", f"the graph has no output {name!r}; it has {known}")
    dimension = math.prod(shapes[name][1:])
    if not 2 <= dimension <= MAX_DIMENSION or shapes[name][:1] != (1,):
        said.fail("output", f"{name} is no embedding: of one crop it gives {shapes[name]}")
    return {"output": name, "dimension": dimension}


class _Said:
    """What a TOML file says; every reading method fails with the file, the key and the remedy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._left: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WrongUsageError(f"there is no model file {path}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise WrongUsageError(f"{path} is no TOML file ({first_line(error)})") from error
        if _OLD_STD in self._left:
            if "std" in self._left:
                self.fail("std", f"{_OLD_STD} is its older name; give one of them")
            self._left["std"] = self._left.pop(_OLD_STD)

    def fail(self, key: str, problem: str) -> NoReturn:
        raise WrongUsageError(f"{self._path}, {key}: {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._left.pop(key, default)
        if not isinstance(value, str):
            self.fail(key, f"it must be given, as text in quotes; it is {value!r}")
        return value

    def flag(self, key: str) -> bool:
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            self.fail(key, f"it must be true or false, not {value!r}")
        return value

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        value = self._left.pop(key, list(default))
        if not _are_numbers(value, count):
            self.fail(key, f"it must be {count} numbers, as {list(default)}; it is {value!r}")
        return tuple(map(float, value))

    def colour(self) -> str:
        value = self.text("colour", "rgb")
        if value not in ("rgb", "bgr"):
            self.fail("colour", f'it must be "rgb" or "bgr", not {value!r}')
        return value

    def input_size(self, of_graph: tuple[int | None, ...]) -> tuple[int, int]:
        said = self._left.pop("input_size", None)
        if said is None:
            if None in of_graph:
                self.fail("input_size", "the graph takes any size; say which, as [112, 112]")
            said = list(of_graph)
        if not _are_numbers(said, 2) or any(
            not 8 <= side <= MAX_PIXELS or side != int(side) for side in said
        ):
            self.fail("input_size", f"it must be width and height in pixels, not {said!r}")
        width, height = map(int, said)
        if any(theirs not in (None, ours) for theirs, ours in zip(of_graph, said, strict=True)):
            self.fail("input_size", f"{said} is not the graph's, which is {list(of_graph)}")
        return width, height

    def points(self, width: int, height: int) -> tuple[tuple[float, float], ...] | None:
        value = self._left.pop("alignment", "arcface")
        if value == "arcface":
            if width != height:
                self.fail(
                    "alignment", f'"arcface" is for squares, not {width}x{height}; give points'
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
        if self._left:
            self.fail(next(iter(self._left)), f"not known; known are {', '.join(KEYS)}")


def _are_numbers(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
        and all(map(math.isfinite, value))
    )


def _remember(model: CustomModel) -> None:
    _models_dir().mkdir(parents=True, exist_ok=True)
    path = _models_dir() / f"{model.cache_name}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(asdict(model), indent=2) + "\n")


def remembered_models() -> list[CustomModel]:
    """The models used on this machine, newest first."""
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
        return None  # of another version


def _models_dir() -> Path:
    return cache_dir() / "models"


def _locate(path: Path, digest: str, name: str) -> Path:
    """The ONNX file, if it is still there and the same."""
    if path.is_file() and sha256_of(path) == digest:
        return path
    raise ModelUnavailableError(
        f"the network of model {name!r} was {path}, which is gone or has changed; put it back "
        f"(sha256 {digest})"
    )


def _find_embedder(name: str, digest: str | None) -> EmbedderSpec | None:
    if is_model_file(name):
        return read_model(Path(name)).spec()
    own = [model for model in remembered_models() if model.name == name]
    for model in own:
        if digest in (None, model.digest):
            return model.spec()
    if own or digest is not None:
        raise ModelUnavailableError(
            f"this machine does not have the model {name!r} that is wanted (digest "
            f"{str(digest)[:12]}); name the file that describes it: `facetrove models MODEL.toml`"
        )
    return None


FAMILY = ModelFamily(("a file ending in .toml",), _find_embedder)
