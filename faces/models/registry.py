"""The models by name: a detector and an embedder become a pipeline.

Another family of models is a module of its own that ends in a `ModelFamily`, and a line in
`FAMILIES`; another way to cut crops is a line in `_ALIGNMENTS` and a name in
`faces.models.choice`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import WrongUsageError
from faces.core.machine import available_threads
from faces.core.settings import FaceSelection
from faces.models import built_in, custom_models, deepface_models, dlib_models
from faces.models.alignment import Alignment, five_point_alignment
from faces.models.choice import (
    ALIGNMENTS,
    DEEPFACE_ALIGNMENT,
    FACE_RECOGNITION_ALIGNMENT,
    FIVE_POINT_ALIGNMENT,
    ModelChoice,
)
from faces.models.family import EmbedderModel
from faces.models.pipeline import FaceDetector, FaceEmbedder, FacePipeline

FAMILIES = (built_in.FAMILY, deepface_models.FAMILY, custom_models.FAMILY)
"""All families, in the order in which a name is looked for in them."""

_ALIGNMENTS: dict[str, Callable[[Alignment], Alignment]] = {
    FIVE_POINT_ALIGNMENT: five_point_alignment,
    DEEPFACE_ALIGNMENT: deepface_models.deepface_alignment,
    FACE_RECOGNITION_ALIGNMENT: dlib_models.face_recognition_alignment,
}
"""Ways to cut crops: functions that take an embedder's own way, for the size of its crops."""


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
    """Load the detector of a choice; see `load_pipeline`."""
    loaders = {name: load for family in FAMILIES for name, load in family.detectors.items()}
    _require_listed("detector", choice.detector, tuple(loaders))
    load = loaders[choice.detector]
    return load(selection, threads=threads, placement=choice.placement)


def load_embedder(choice: ModelChoice, *, threads: int) -> FaceEmbedder:
    """Load the embedder of a choice; see `load_pipeline`."""
    model = find_embedder(choice.embedder, choice.embedder_digest)
    alignment = model.alignment
    if choice.alignment is not None:
        _require_listed("alignment", choice.alignment, ALIGNMENTS)
        alignment = _ALIGNMENTS[choice.alignment](alignment)
    return model.load(threads=threads, placement=choice.placement, alignment=alignment)


def find_embedder(name: str, digest: str | None = None) -> EmbedderModel:
    """Find an embedder without loading it.

    Args:
        name: the embedder's name, or the path of a file that describes one.
        digest: of several models of one's own by one name, this one; the newest by default.
    """
    for family in FAMILIES:
        if (model := family.find_embedder(name, digest)) is not None:
            return model
    known = [known_name for family in FAMILIES for known_name in family.embedders]
    raise _unknown("embedder", name, known)


def _require_listed(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise _unknown(kind, name, known)


def _unknown(kind: str, name: str, known: Sequence[str]) -> WrongUsageError:
    return WrongUsageError(f"no {kind} is called {name!r}; choose from {', '.join(known)}")


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
