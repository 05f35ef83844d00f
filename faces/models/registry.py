"""The models by name: where another detector or embedder plugs in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import ModelUnavailableError, WrongUsageError
from faces.core.machine import available_threads
from faces.core.settings import FaceSelection, ModelDevice, Precision
from faces.models.engines import Placement
from faces.models.pipeline import FaceDetector, FaceEmbedder, FacePipeline

if TYPE_CHECKING:
    from faces.models.alignment import Alignment
    from faces.models.embedder import EmbedderSpec

BUILT_IN_DETECTORS = ("yunet",)
BUILT_IN_EMBEDDERS = ("sface-int8", "sface")

DEEPFACE = "deepface:"
"""Names of deepface's models begin so."""

FIVE_POINT_ALIGNMENT = "five-point"
DEEPFACE_ALIGNMENT = "deepface"
FACE_RECOGNITION_ALIGNMENT = "face_recognition"
ALIGNMENTS = (FIVE_POINT_ALIGNMENT, DEEPFACE_ALIGNMENT, FACE_RECOGNITION_ALIGNMENT)
"""Ways to cut crops that can be chosen: landmarks on the network's template, or as these programs
do."""


@dataclass(frozen=True)
class ModelChoice:
    """Which detector and embedder to use, and where.

    Attributes:
        detector: yunet, or one of deepface's: deepface:retinaface.
        embedder: sface-int8, sface, one of deepface's (deepface:ArcFace), or the path of a file
            ending in .toml that describes another: see `faces.models.custom_models`. Once used,
            that has a name of its own.
        embedder_digest: of several models of one's own by one name, this one.
        alignment: one of `ALIGNMENTS`; None: as the embedder was trained.
        device, precision: see `faces.models.engines`.
    """

    detector: str = "yunet"
    embedder: str = "sface-int8"
    embedder_digest: str | None = None
    alignment: str | None = None
    device: ModelDevice = "auto"
    precision: Precision = "fp32"

    @classmethod
    def of_contract(cls, contract: ModelContract) -> ModelChoice:
        """The models that made existing embeddings."""
        named = contract.alignment in ALIGNMENTS
        return cls(
            contract.detector,
            contract.embedder,
            contract.embedder_digest,
            contract.alignment if named else FIVE_POINT_ALIGNMENT,
        )

    def with_changes(
        self, *, detector: str | None, embedder: str | None, alignment: str | None
    ) -> ModelChoice:
        """The same choice but for what is given; another embedder brings its own alignment."""
        changed = replace(self, detector=detector or self.detector)
        if embedder is not None:
            changed = replace(changed, embedder=embedder, embedder_digest=None, alignment=None)
        return replace(changed, alignment=alignment or changed.alignment)

    @property
    def placement(self) -> Placement:
        """Where the networks are to run."""
        return Placement(self.device, self.precision)


def load_pipeline(
    choice: ModelChoice = ModelChoice(),
    *,
    selection: FaceSelection = FaceSelection(),
    threads: int | None = None,
) -> FacePipeline:
    """Load a detector and an embedder.

    Args:
        choice: which ones.
        selection: which faces to keep.
        threads: processor cores to use, all that this process may use by default.

    Raises:
        WrongUsageError: there is no model of that name, or it cannot be used so.
        ModelUnavailableError: its weights cannot be had.
    """
    threads = threads or available_threads()
    return FacePipeline(
        load_detector(choice, selection, threads=threads),
        load_embedder(choice, threads=threads),
        selection,
    )


def load_detector(
    choice: ModelChoice, selection: FaceSelection = FaceSelection(), *, threads: int
) -> FaceDetector:
    """The detector of a choice; see `load_pipeline`."""
    from faces.models.deepface_models import DETECTORS, DeepFaceDetector

    name = choice.detector
    _require_known("detector", name, (*BUILT_IN_DETECTORS, *(DEEPFACE + n for n in DETECTORS)))
    if name.startswith(DEEPFACE):
        if choice.device not in ("auto", "cpu"):
            raise WrongUsageError(f"{name} runs where deepface runs it; leave --device out")
        return DeepFaceDetector(name.removeprefix(DEEPFACE), min_score=selection.min_score)
    from faces.models.yunet import YuNetDetector

    return YuNetDetector(
        threads=threads,
        placement=choice.placement,
        min_score=selection.min_score,
        min_face=selection.min_face,
    )


def load_embedder(choice: ModelChoice, *, threads: int) -> FaceEmbedder:
    """The embedder of a choice; see `load_pipeline`."""
    from faces.models.deepface_models import DlibEmbedder, default_alignment
    from faces.models.embedder import NetworkEmbedder

    if choice.embedder == DlibEmbedder.name:
        if choice.placement.device not in ("auto", "cpu"):
            raise WrongUsageError(f"{DlibEmbedder.name} runs on the processor; leave --device out")
        return DlibEmbedder(_alignment(choice.alignment, default_alignment("Dlib")))
    spec = find_spec(choice.embedder, choice.embedder_digest)
    return NetworkEmbedder(
        spec,
        threads=threads,
        placement=choice.placement,
        alignment=_alignment(choice.alignment, spec.alignment),
    )


def find_spec(embedder: str, digest: str | None = None) -> EmbedderSpec:
    """The network of an embedder.

    Args:
        embedder: its name, or the path of a file that describes one.
        digest: of several models of one's own by one name, this one; the newest by default.
    """
    from faces.models.custom_models import is_model_file, read_model, remembered_models
    from faces.models.deepface_models import RECOGNISERS, embedder_spec
    from faces.models.sface import SFACE, SFACE_INT8

    built_in = {spec.name: spec for spec in (SFACE_INT8, SFACE)}
    if embedder in built_in:
        return built_in[embedder]
    if is_model_file(embedder):
        return read_model(Path(embedder), taken=(*built_in, *BUILT_IN_DETECTORS)).spec()
    deepface = {DEEPFACE + name: name for name in RECOGNISERS}
    if embedder in deepface:
        return embedder_spec(deepface[embedder])
    own = [model for model in remembered_models() if model.name == embedder]
    for model in own:
        if digest in (None, model.digest):
            return model.spec()
    if own or digest is not None:
        raise ModelUnavailableError(
            f"this machine does not have the model {embedder!r} that is wanted (digest "
            f"{str(digest)[:12]}); name the file that describes it: `facetrove models MODEL.toml`"
        )
    _require_known("embedder", embedder, (*built_in, *deepface, "a file ending in .toml"))
    raise AssertionError("it is known")


def _require_known(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise WrongUsageError(f"no {kind} is called {name!r}; choose from {', '.join(known)}")


def _alignment(name: str | None, default: Alignment) -> Alignment:
    """A way to cut crops of the size of the default one."""
    from faces.models.alignment import AlignmentTemplate, arcface_template
    from faces.models.deepface_models import DeepFaceAlignment, FaceRecognitionAlignment

    if name is None:
        return default
    _require_known("alignment", name, ALIGNMENTS)
    if name == DEEPFACE_ALIGNMENT:
        return DeepFaceAlignment(default.width, default.height)
    if name == FACE_RECOGNITION_ALIGNMENT:
        alignment = FaceRecognitionAlignment()
        if (default.width, default.height) != (alignment.width, alignment.height):
            raise WrongUsageError(f"--alignment {name} is for {DEEPFACE}Dlib alone")
        return alignment
    if isinstance(default, AlignmentTemplate):
        return default
    if default.width != default.height:
        raise WrongUsageError(
            f"no five-point template is known for crops of {default.width}x{default.height}; use "
            f"--alignment {DEEPFACE_ALIGNMENT}"
        )
    return arcface_template(default.width)


def absolute(choice: ModelChoice) -> ModelChoice:
    """The same choice for a process with another current folder."""
    from faces.models.custom_models import is_model_file

    if not is_model_file(choice.embedder):
        return choice
    return replace(choice, embedder=os.path.abspath(choice.embedder))


def load_pipeline_for(contract: ModelContract, *, contract_owner: str) -> FacePipeline:
    """Load the pipeline that made existing embeddings, to compare new photos with them.

    Args:
        contract: of the embeddings.
        contract_owner: what they are, for messages: "index 'faces.index'".

    Raises:
        ContractMismatchError: this version of facetrove or of the weights would make others.
    """
    pipeline = load_pipeline(ModelChoice.of_contract(contract))
    require_same_contract(
        pipeline.contract,
        contract,
        ours_name="a photo searched now",
        theirs_name=contract_owner,
        remedy="embed the photos again with this version and rebuild the index",
    )
    return pipeline
