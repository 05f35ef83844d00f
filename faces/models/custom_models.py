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

A custom model that the user has named once is registered. It is kept in the cache, with its
prepared network, so that searching needs neither the TOML file nor the ONNX file. A dataset or an
index asks for a model by name and digest, and gets it only if it is registered.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from faces.core.contract import MAX_DIMENSION
from faces.core.documents import parse
from faces.core.errors import ModelUnavailableError
from faces.core.hashing import sha256_of
from faces.models.alignment import Alignment, AlignmentTemplate, arcface_template
from faces.models.choice import BUILT_IN_DETECTORS, BUILT_IN_EMBEDDERS, is_model_file
from faces.models.embedder import EmbedderSpec
from faces.models.engines import output_shapes
from faces.models.family import ModelFamily
from faces.models.model_file import MAX_PIXELS, OLD_STD, ModelFile
from faces.models.preparation import prepare
from faces.models.registered import (
    models_dir,
    models_in_cache,
    registered_models_of,
    remember,
)

CHANNELS = 3

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Pattern of a custom model's name, which becomes part of file names."""

MODELS_DIR = "models"
"""The cache's folder of custom models that were used here."""

BUILT_IN = (*BUILT_IN_EMBEDDERS, *BUILT_IN_DETECTORS)
"""Names of the built-in models, which a custom model may not have."""


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

    name: Annotated[str, Meta(pattern=rf"\A{MODEL_NAME.pattern}\Z")]
    network: str
    network_digest: str
    width: Annotated[int, Meta(ge=1, le=MAX_PIXELS)]
    height: Annotated[int, Meta(ge=1, le=MAX_PIXELS)]
    channels_last: bool
    output: str
    dimension: Annotated[int, Meta(ge=2, le=MAX_DIMENSION)]
    bgr: bool
    low: float
    high: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    points: Annotated[tuple[tuple[float, float], ...], Meta(min_length=5, max_length=5)] | None
    flip_averaging: bool
    licence: str = ""
    origin: str = ""

    @property
    def digest(self) -> str:
        """The sha256, hexadecimal, of everything that the embeddings depend on."""
        fields = {n: v for n, v in vars(self).items() if n not in ("network", "licence", "origin")}
        fields[OLD_STD] = fields.pop("std")  # as when the first digests were stored
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
            locate=partial(locate_network, Path(self.network), self.network_digest, self.name),
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
    """Read a custom model's TOML file, prepare its network, register both, and cache both.

    Args:
        path: path of the TOML file.

    Raises:
        WrongUsageError: the TOML file is invalid, or does not fit its network.
        ModelUnavailableError: the prepared network computes something else than the ONNX file, or
            the cache or the register cannot be written.
    """
    # Imported here, since a model that is in the cache already can be used without onnx.
    from faces.models.onnx_graph import crop_input_shape

    file = ModelFile(path)
    name = read_name(file, path)
    network = file.beside("network")
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
    output, dimension = find_output(file, output, shapes)
    model = replace(draft, output=output, dimension=dimension)
    prepare(model.spec().source)
    _remember(model)
    return model


def read_name(file: ModelFile, path: Path) -> str:
    """Take a model's name out of its TOML file; by default it is the file's own name.

    Args:
        file: the TOML file.
        path: its path.

    Raises:
        WrongUsageError: no model of the user may have that name.
    """
    name = file.text("name", path.stem)
    if not MODEL_NAME.fullmatch(name) or name in BUILT_IN or is_model_file(name):
        allowed = "a letter or digit, then at most 63 of A-Z a-z 0-9 . _ -"
        problem = "is built in" if name in BUILT_IN else f"is not {allowed}"
        problem = "ends in .toml, like the name of a file" if is_model_file(name) else problem
        file.fail("name", f"{name!r} {problem}; choose another")
    return name


def find_output(
    file: ModelFile, name: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, int]:
    """Find the graph's output that is the embedding.

    Args:
        file: the TOML file, for messages.
        name: name of the output in the TOML file; "": the graph's only output.
        shapes: shape of each of the graph's outputs for one input, by the output's name.

    Returns:
        The output's name, and the number of dimensions of an embedding.
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
            f"{name} is not an embedding: for one face its shape is {shapes[name]}, not (1, d) "
            f"with d from 2 to {MAX_DIMENSION}",
        )
    return name, dimension


def _remember(model: CustomModel) -> None:
    remember(model, MODELS_DIR, model.cache_name)


def registered_models() -> list[CustomModel]:
    """List the custom models that the user has registered, the one registered last first."""
    return [model for _, model in registered_models_of(MODELS_DIR, _parsed)]


def _parsed(content: bytes) -> CustomModel:
    """Return the model that a file in the cache describes; raise ValueError for anything else."""
    document = json.loads(content)
    if isinstance(document, dict) and OLD_STD in document:
        document["std"] = document.pop(OLD_STD)
    return parse(json.dumps(document), CustomModel)


def locate_network(path: Path, digest: str, name: str) -> Path:
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
    if digest is None and is_model_file(name):
        return read_model(Path(name)).spec()
    same_name = [model for model in registered_models() if model.name == name]
    if digest is None:
        model = same_name[0] if same_name else _adopted(name)
        return model.spec() if model else None
    for model in same_name:
        if model.digest == digest:
            return model.spec()
    raise ModelUnavailableError(
        f"you have not registered a model {name!r} with digest {digest[:12]}, and what a dataset "
        "or an index names is not run unasked; if the model is yours, run `facetrove models "
        "MODEL.toml` with its TOML file"
    )


def _adopted(name: str) -> CustomModel | None:
    """Register a model that an older version kept in the cache, when the user names it.

    Raises:
        ModelUnavailableError: the cache has several models of that name, of which an index that was
            searched may have put some there.
    """
    in_cache = models_in_cache(MODELS_DIR, _parsed)
    same_name = [model for _, model in in_cache if model.name == name]
    if len(same_name) > 1:
        raise ModelUnavailableError(
            f"{len(same_name)} models called {name!r} lie in {models_dir(MODELS_DIR)}, and none is "
            "registered; run `facetrove models MODEL.toml` with the TOML file of yours"
        )
    for model in same_name:
        _remember(model)
    return same_name[0] if same_name else None


FAMILY = ModelFamily(("a file ending in .toml",), _find_embedder)
