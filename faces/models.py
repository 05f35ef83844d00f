"""The models by name: where another detector or embedder plugs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faces.contract import ModelContract, require_same_contract
from faces.engine import available_threads
from faces.errors import WrongUsageError
from faces.pipeline import FaceDetector, FaceEmbedder, FacePipeline, FaceSelection


@dataclass(frozen=True)
class ModelChoice:
    """Which detector and embedder to use, by their names below."""

    detector: str = "yunet"
    embedder: str = "sface-int8"


def _load_yunet(threads: int, selection: FaceSelection) -> FaceDetector:
    from faces.yunet import YuNetDetector

    return YuNetDetector(
        threads=threads, min_score=selection.min_score, min_face=selection.min_face
    )


def _load_sface(threads: int) -> FaceEmbedder:
    from faces.sface import SFaceEmbedder

    return SFaceEmbedder(threads=threads)


def _load_sface_int8(threads: int) -> FaceEmbedder:
    from faces.sface import SFACE_INT8, SFaceEmbedder

    return SFaceEmbedder(SFACE_INT8, threads=threads)


DETECTORS: dict[str, Callable[[int, FaceSelection], FaceDetector]] = {"yunet": _load_yunet}
"""Name to a function that loads the detector for a number of threads and the faces wanted."""

EMBEDDERS: dict[str, Callable[[int], FaceEmbedder]] = {
    "sface": _load_sface,
    "sface-int8": _load_sface_int8,
}
"""Name to a function that loads the embedder for a number of threads."""


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
        WrongUsageError: there is no model of that name.
        ModelUnavailableError: its weights cannot be had.
    """
    for kind, name, known in (
        ("detector", choice.detector, DETECTORS),
        ("embedder", choice.embedder, EMBEDDERS),
    ):
        if name not in known:
            raise WrongUsageError(f"no {kind} is called {name!r}; choose from {', '.join(known)}")
    threads = threads or available_threads()
    return FacePipeline(
        DETECTORS[choice.detector](threads, selection),
        EMBEDDERS[choice.embedder](threads),
        selection,
    )


def load_pipeline_for(contract: ModelContract, *, contract_owner: str) -> FacePipeline:
    """Load the pipeline that made existing embeddings, to compare new photos with them.

    Args:
        contract: of the embeddings.
        contract_owner: what they are, for messages: "index 'faces.index'".

    Raises:
        ContractMismatchError: this version of facetrove or of the weights would make others.
    """
    pipeline = load_pipeline(ModelChoice(contract.detector, contract.embedder))
    require_same_contract(
        pipeline.contract,
        contract,
        ours_name="a photo searched now",
        theirs_name=contract_owner,
        remedy="embed the photos again with this version and rebuild the index",
    )
    return pipeline
