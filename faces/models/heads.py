"""Heads: small networks on top of another embedder's embeddings, as ONNX and TOML files.

    base = "sface-int8"                # an embedder's name, or the TOML file of a custom model
    base_digest = "7f3c..."            # that embedder's digest; by default its digest now
    network = "my_head.onnx"           # beside this file: (n, d) embeddings to (n, k) vectors
    name = "my_head"                   # the TOML file's name by default
    output = "output"                  # needed where the graph has several outputs
    licence = "Apache-2.0"             # for `facetrove models` to show
    origin = "where you have it from"

The network takes the base's embeddings, scaled to unit length. So a dataset that the base has made
already gets a head without any photo being read. A head's digest covers the base's contract, and a
head is registered and kept in the cache like a custom model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from faces.core.contract import MAX_DIMENSION, ModelContract, Name
from faces.core.documents import parse
from faces.core.errors import ContractMismatchError, WrongUsageError
from faces.core.hashing import sha256_of
from faces.core.vectors import unit_length
from faces.models import built_in, custom_models, deepface_models
from faces.models.alignment import Alignment, Crop, five_point_alignment
from faces.models.choice import is_model_file
from faces.models.custom_models import MODEL_NAME, find_output, locate_network, read_name
from faces.models.engines import Batch, Network, output_shapes
from faces.models.family import EmbedderModel, ModelFamily
from faces.models.model_file import HEAD_KEYS, ModelFile
from faces.models.pipeline import FaceEmbedder, FacePipeline
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.registered import registered_models_of, remember
from faces.models.weights import NetworkSource

BASE_FAMILIES = (built_in.FAMILY, deepface_models.FAMILY, custom_models.FAMILY)
"""The families that a head's base may be of. A head has no other head as its base."""

SAMPLE_ROWS = 8
"""Number of generated embeddings on which engines are compared and timed."""

BLOCK_ROWS = 4096
"""Number of embeddings that a head computes at once, to limit memory."""

HEADS_DIR = "heads"
"""The cache's folder of heads that were used here."""

_CPU = Placement("cpu")


@dataclass(frozen=True)
class Base:
    """The embedder that a head was made for, as far as it determines embeddings.

    Attributes:
        embedder: the embedder's name.
        digest: the embedder's digest, hexadecimal.
        alignment: name of the alignment of its crops, as in the model contract.
        dimension: number of dimensions of its embeddings.
    """

    embedder: Name
    digest: Name
    alignment: Name
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]

    @classmethod
    def of_contract(cls, contract: ModelContract) -> Base:
        """Return the embedder that made embeddings of a contract."""
        return cls(
            contract.embedder, contract.embedder_digest, contract.alignment, contract.dimension
        )


@dataclass(frozen=True)
class HeadModel:
    """A user's description of a head, checked against its graph and its base.

    The names of the attributes are part of `digest`.

    Attributes:
        name: the head's name in the contract.
        network: absolute path of the ONNX file.
        network_digest: sha256 of the ONNX file, hexadecimal.
        output: name of the graph's output.
        dimension: number of dimensions of what the head returns.
        base: the embedder whose embeddings the head takes.
        licence, origin: notes for the user, which change nothing in the embeddings.
    """

    name: Annotated[str, Meta(pattern=rf"\A{MODEL_NAME.pattern}\Z")]
    network: str
    network_digest: str
    output: str
    dimension: Annotated[int, Meta(ge=2, le=MAX_DIMENSION)]
    base: Base
    licence: str = ""
    origin: str = ""

    @property
    def digest(self) -> str:
        """The sha256, hexadecimal, of everything that the embeddings depend on."""
        fields = {**asdict(self), "kind": "head"}
        for note in ("network", "licence", "origin"):
            del fields[note]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def cache_name(self) -> str:
        """The name of the head's files in the cache, without their suffixes."""
        return f"{self.name}-{self.digest[:12]}"

    @property
    def source(self) -> NetworkSource:
        """The source that the network is prepared from."""
        locate = partial(locate_network, Path(self.network), self.network_digest, self.name)
        sample = partial(sample_embeddings, self.base.dimension)
        return NetworkSource(self.cache_name, locate, self.digest, sample)

    @cached_property
    def _base_model(self) -> EmbedderModel:
        return find_base(self.base.embedder, self.base.digest)

    @property
    def alignment(self) -> Alignment:
        """The alignment that the base's crops are made with."""
        return _alignment_named(self.base.alignment, self._base_model.alignment)

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> HeadEmbedder:
        """Load base and head; see `faces.models.family.EmbedderModel.load`.

        Raises:
            ContractMismatchError: the base here, or the alignment, is not the one that the head was
                made for.
        """
        base = self._base_model.load(threads=threads, placement=placement, alignment=alignment)
        found = base_of(base)
        if found != self.base:
            raise ContractMismatchError(
                f"head {self.name} was made for the embeddings of {_in_words(self.base)}, and here "
                f"they would be of {_in_words(found)}; use the head with the base and alignment "
                "that it was made for, or train another one"
            )
        return HeadEmbedder(self, base, threads=threads)


class HeadEmbedder:
    """An embedder that runs another embedder, and a head on its embeddings.

    Its vectors have the lengths of the base's, which say how much the base made of a face.

    Args:
        model: the head.
        base: the base, loaded.
        threads: number of CPU cores that the head uses.

    Raises:
        ModelUnavailableError: the head's file is missing, or no engine computes it correctly.
        WrongUsageError: the head cannot be run.
    """

    def __init__(self, model: HeadModel, base: FaceEmbedder, *, threads: int) -> None:
        self._prepared = prepare(model.source, _CPU)
        self._model = model
        self._base = base
        self._threads = threads
        self.name = model.name
        self.weights_digest = model.digest
        self.runs_on = f"{base.name} on {base.runs_on}, head on {self._prepared}"
        self.dimension = model.dimension
        self.alignment = base.alignment

    @cached_property
    def _network(self) -> Network:
        return self._prepared.open(threads=self._threads)

    def takes(self, contract: ModelContract) -> bool:
        """Tell whether the head takes the embeddings of a contract, whatever the detector."""
        return Base.of_contract(contract) == self._model.base

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """Embed crops; see `faces.models.pipeline.FaceEmbedder.embed`."""
        vectors = self._base.embed(crops)
        if not len(vectors):
            return np.empty((0, self.dimension), np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(self.apply(unit_length(vectors)) * norms, np.float32)

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the head's embeddings from the base's.

        Args:
            embeddings: (n, d) float32, unit length.

        Returns:
            (n, dimension) float32, unit length.

        Raises:
            ValueError: the head returned a vector that is zero or not finite.
        """
        blocks = [
            self._network.run(np.ascontiguousarray(embeddings[start : start + BLOCK_ROWS]))
            for start in range(0, len(embeddings), BLOCK_ROWS)
        ]
        if not blocks:
            return np.empty((0, self.dimension), np.float32)
        outputs = [block[self._model.output].reshape(-1, self.dimension) for block in blocks]
        return unit_length(np.concatenate(outputs))


def head_of(pipeline: FacePipeline) -> HeadEmbedder | None:
    """Return the head of a pipeline, None if its embedder is none."""
    return pipeline.embedder if isinstance(pipeline.embedder, HeadEmbedder) else None


def base_of(embedder: FaceEmbedder) -> Base:
    """Return what determines the embeddings of an embedder."""
    return Base(embedder.name, embedder.weights_digest, embedder.alignment.name, embedder.dimension)


def sample_embeddings(dimension: int) -> Batch:
    """Generate embeddings, to compare and time engines with: (8, dimension), unit length."""
    rng = np.random.default_rng(0)
    return unit_length(rng.normal(size=(SAMPLE_ROWS, dimension)))


def _in_words(base: Base) -> str:
    return (
        f"{base.embedder} ({base.dimension} dimensions, {base.alignment} crops, weights "
        f"{base.digest[:6]})"
    )


def find_base(name: str, digest: str | None) -> EmbedderModel:
    """Find the embedder that a head takes the embeddings of; see `registry.find_embedder`.

    Raises:
        WrongUsageError: there is no such embedder that is not a head itself.
        ModelUnavailableError: it is not registered.
    """
    for family in BASE_FAMILIES:
        if (model := family.find_embedder(name, digest)) is not None:
            return model
    listed = ", ".join(name for family in BASE_FAMILIES for name in family.embedders)
    raise WrongUsageError(
        f"no embedder that a head can be on is called {name!r}; choose from {listed}"
    )


def require_base(contract: ModelContract) -> None:
    """Check that a head can be trained on embeddings of a contract, and used here afterwards.

    Raises:
        WrongUsageError: the embedder is a head itself, or there is none of that name.
        ModelUnavailableError: the embedder is not registered, or cannot be had.
        ContractMismatchError: the embedder here is another one.
    """
    base = Base.of_contract(contract)
    model = find_base(base.embedder, base.digest)
    alignment = _alignment_named(base.alignment, model.alignment)
    found = base_of(model.load(threads=1, placement=_CPU, alignment=alignment))
    if found != base:
        raise ContractMismatchError(
            f"the embeddings are of {_in_words(base)}, and {base.embedder} would make those of "
            f"{_in_words(found)} here; embed the dataset again into a new one"
        )


def read_head(path: Path) -> HeadModel:
    """Read a head's TOML file, prepare its network, register and cache both.

    Args:
        path: path of the TOML file.

    Raises:
        WrongUsageError: the TOML file is invalid, or does not fit its network or base.
        ContractMismatchError: the base is another one than the head was made for.
        ModelUnavailableError: the base cannot be had, or the prepared network computes something
            else than the ONNX file.
    """
    # Imported here, since a head that is in the cache already can be used without onnx.
    from faces.models.onnx_graph import require_embedding_input

    file = ModelFile(path)
    name = read_name(file, path)
    network = file.beside("network")
    base = _read_base(file, path)
    require_embedding_input(network, base.dimension)
    output, licence, origin = (file.text(key, "") for key in ("output", "licence", "origin"))
    file.require_nothing_else(HEAD_KEYS)
    shapes = output_shapes(network, sample_embeddings(base.dimension))
    output, dimension = find_output(file, output, shapes)
    digest = sha256_of(network)
    model = HeadModel(name, str(network), digest, output, dimension, base, licence, origin)
    prepare(model.source, _CPU)
    remember(model, HEADS_DIR, model.cache_name)
    return model


def _read_base(file: ModelFile, path: Path) -> Base:
    """Take the base out of a head's TOML file, and find out what determines its embeddings."""
    name, digest = file.text("base"), file.text("base_digest", "")
    if is_model_file(name):
        name = str(path.parent / name)
    model = find_base(name, None if is_model_file(name) else digest or None)
    wanted = file.text("base_alignment", model.alignment.name)
    alignment = _alignment_named(wanted, model.alignment)
    if alignment.name != wanted:
        file.fail("base_alignment", f"{name} has no alignment {wanted!r}; leave the key out")
    base = base_of(model.load(threads=1, placement=_CPU, alignment=alignment))
    if digest and digest != base.digest:
        file.fail(
            "base_digest",
            f"the head was made for {base.embedder} with the digest {digest[:12]}, and the one "
            f"here has {base.digest[:12]}; train the head again on a dataset of this one",
        )
    return base


def _alignment_named(name: str, default: Alignment) -> Alignment:
    """Return the alignment of a name in contracts, by an embedder's default alignment.

    The caller compares names: there may be no such alignment for these crops.
    """
    if name == default.name:
        return default
    # The names of templates, such as arcface-112, stand for five points.
    make = deepface_models.ALIGNMENT_MAKERS.get(name, five_point_alignment)
    return make(default)


def registered_heads() -> list[HeadModel]:
    """List the heads that the user has registered, the one registered last first."""
    return [model for _, model in registered_models_of(HEADS_DIR, _parsed)]


def _parsed(content: bytes) -> HeadModel:
    return parse(content, HeadModel)


def _find_embedder(name: str, digest: str | None) -> HeadModel | None:
    if is_model_file(name) and digest is None:
        path = Path(name)
        return read_head(path) if ModelFile(path).has("base") else None
    for model in registered_heads():
        if model.name == name and digest in (None, model.digest):
            return model
    return None


FAMILY = ModelFamily((), _find_embedder)
