"""The registry of models: detectors and embedders are found by name, and joined to a pipeline.

To add a family of models, write a module that ends in its `ModelFamily`, and add a line to
`FAMILIES`. To add an alignment, add a line to `deepface_models.ALIGNMENT_MAKERS`
and a name to `faces.models.choice`.
"""

from __future__ import annotations

from collections.abc import Sequence

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import ModelUnavailableError, WrongUsageError
from faces.core.machine import available_threads
from faces.core.settings import FaceSelection
from faces.models import built_in, custom_models, deepface_models, heads
from faces.models.choice import (
    ALIGNMENTS,
    ModelChoice,
)
from faces.models.deepface_models import ALIGNMENT_MAKERS
from faces.models.deepface_weights import missing_files
from faces.models.family import EmbedderModel
from faces.models.pipeline import FaceDetector, FaceEmbedder, FacePipeline

FAMILIES = (built_in.FAMILY, deepface_models.FAMILY, heads.FAMILY, custom_models.FAMILY)
"""All families, in the order in which an embedder's name is looked up in them. Heads come before
other custom models, which take any TOML file."""


def load_pipeline(
    choice: ModelChoice = ModelChoice(),
    *,
    selection: FaceSelection = FaceSelection(),
    threads: int | None = None,
) -> FacePipeline:
    """Load a detector and an embedder as a pipeline.

    Args:
        choice: the models, their alignment, and where they run.
        selection: which of the detected faces are kept.
        threads: number of CPU cores to use; None: all that this process may use.

    Raises:
        WrongUsageError: there is no model or alignment of that name, or the model does not support
            the alignment, device or precision.
        ModelUnavailableError: a model's weights or package are missing and cannot be fetched.
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
    """Load the detector of a choice; see `load_pipeline` for arguments and errors."""
    loaders = {name: load for family in FAMILIES for name, load in family.detectors.items()}
    _require_listed("detector", choice.detector, tuple(loaders))
    _require_here(choice, choice.detector)
    load = loaders[choice.detector]
    return load(selection, threads=threads, placement=choice.placement)


def load_embedder(choice: ModelChoice, *, threads: int) -> FaceEmbedder:
    """Load the embedder of a choice; see `load_pipeline` for arguments and errors."""
    _require_here(choice, choice.embedder)
    model = find_embedder(choice.embedder, choice.embedder_digest)
    alignment = model.alignment
    if choice.alignment is not None:
        _require_listed("alignment", choice.alignment, ALIGNMENTS)
        alignment = ALIGNMENT_MAKERS[choice.alignment](alignment)
    return model.load(threads=threads, placement=choice.placement, alignment=alignment)


def _require_here(choice: ModelChoice, name: str) -> None:
    """Raise ModelUnavailableError if a dataset or index asks for a model that is not fetched yet.

    What a file names is the choice of whoever wrote it, and downloads are the user's.
    """
    alignment = choice.alignment if name == choice.embedder else None
    if name in choice.asked_by_file and missing_files(name, alignment):
        raise ModelUnavailableError(
            f"the model {name!r} is not on this machine, and what a dataset or an index names is "
            f"not downloaded unasked; run `facetrove models {name}`"
        )


def find_embedder(name: str, digest: str | None = None) -> EmbedderModel:
    """Find an embedder without loading it.

    Args:
        name: the embedder's name, or the path of a TOML file that describes a custom model.
        digest: hexadecimal digest that tells custom models of one name apart; None: the one that
            was registered last. With a digest, no TOML file is read.

    Raises:
        WrongUsageError: there is no embedder of that name, or the TOML file is invalid.
        ModelUnavailableError: the weights cannot be fetched, or no custom model with that digest is
            registered.
    """
    for family in FAMILIES:
        if (model := family.find_embedder(name, digest)) is not None:
            return model
    listed = [listed_name for family in FAMILIES for listed_name in family.embedders]
    raise _not_listed("embedder", name, listed)


def _require_listed(kind: str, name: str, listed: Sequence[str]) -> None:
    if name not in listed:
        raise _not_listed(kind, name, listed)


def _not_listed(kind: str, name: str, listed: Sequence[str]) -> WrongUsageError:
    return WrongUsageError(f"no {kind} is called {name!r}; choose from {', '.join(listed)}")


def load_pipeline_for(contract: ModelContract, *, contract_owner: str) -> FacePipeline:
    """Load the pipeline that made existing embeddings, to compare new photos with them.

    Args:
        contract: the contract of the existing embeddings.
        contract_owner: what contains them, for error messages, such as "index 'faces.index'".

    Raises:
        ContractMismatchError: the models here have another contract, since facetrove or the
            weights are of another version.
        WrongUsageError: there is no model of a name in the contract.
        ModelUnavailableError: a model's weights or package are missing and cannot be fetched.
    """
    pipeline = load_pipeline(ModelChoice.of_contract(contract))
    require_same_contract(
        pipeline.contract,
        contract,
        ours_name="a photo searched now",
        theirs_name=contract_owner,
        remedy="embed its dataset into a new one (`facetrove embed DATASET NEW`), which keeps "
        "face_ids, deletions and columns, and build the index of that",
    )
    return pipeline
