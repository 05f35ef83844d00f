"""facetrove turns a photo collection into a face-search engine.

    import facetrove as ft

    faces = ft.find_faces("me.jpg")
    ft.compare("a.jpg", "b.jpg")
    ft.embed_photos("photos/", "faces.dataset")
    index = ft.build_index("faces.dataset", "faces.index")
    index.search("me.jpg", k=10).to_pandas()

The names below are the public ones, and the submodule `facetrove.beam`, whose transforms fit into
any Beam pipeline; every other module may change. A name is loaded when it is first used, so that
`import facetrove` is quick.

All errors are raised on purpose and say in one line what to do:

    FaceTroveError               something a person can act on
    +-- WrongUsageError          the call itself cannot be right: no such folder, k too large
    +-- ContractMismatchError    embeddings made by different models were about to meet
    +-- DamagedFileError         a file of ours is missing, truncated, altered or of another version
    +-- ModelUnavailableError    the weights of a model cannot be had, or are not the ones expected
    +-- BusyError                another process is writing the same dataset or index
"""

from __future__ import annotations

from functools import reduce
from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    # Photos to faces, without a dataset.
    "find_faces": "facetrove.finding",
    "FoundFaces": "facetrove.finding",
    "Face": "faces.models.face",
    "compare": "facetrove.comparison",
    "Comparison": "facetrove.comparison",
    # Photos to a dataset.
    "embed_photos": "beam_jobs.embed_photos",
    "EmbedOptions": "beam_jobs.embed_photos",
    "EmbedSummary": "beam_jobs.embed_photos",
    "reembed": "beam_jobs.reembed",
    "import_faces": "beam_jobs.import_faces",
    "open_dataset": "faces.dataset.store:Dataset.open",
    "Dataset": "faces.dataset.store",
    "FaceSelection": "faces.core.settings",
    "PhotoLimits": "faces.core.settings",
    # Models.
    "ModelChoice": "faces.models.choice",
    "ModelCard": "faces.models.catalog",
    "list_models": "faces.models.catalog",
    # A dataset to an index, and searches.
    "build_index": "facetrove.indexes",
    "compact_index": "facetrove.indexes",
    "open_index": "search.searcher:FaceSearcher.open",
    "verify_index": "indexer.verify",
    "FaceSearcher": "search.searcher",
    "Probe": "search.results",
    "Probes": "search.results",
    "CandidateList": "search.results",
    "CandidateLists": "search.results",
    "Match": "search.results",
    "Box": "search.results",
    "write_contact_sheet": "search.contact_sheet",
    # Deleting.
    "delete_faces": "indexer.delete",
    "purge": "indexer.purge",
    # How good it is.
    "evaluate_pairs": "facetrove.evaluation.pairs",
    "evaluate_identification": "facetrove.evaluation.identify",
    "evaluate_robustness": "facetrove.evaluation.robustness",
    "Protocol": "facetrove.evaluation.identify",
    "read_pairs": "facetrove.evaluation.pair_lists",
    "calibrate_index": "facetrove.calibration",
    "Calibration": "indexer.thresholds",
    # Progress and errors.
    "Progress": "faces.core.progress",
    "FaceTroveError": "faces.core.errors",
    "WrongUsageError": "faces.core.errors",
    "ContractMismatchError": "faces.core.errors",
    "DamagedFileError": "faces.core.errors",
    "ModelUnavailableError": "faces.core.errors",
    "BusyError": "faces.core.errors",
}
"""By public name, the module that has it; after a colon, what it is called there."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'facetrove' has no attribute {name!r}")
    module, _, attributes = _HOMES[name].partition(":")
    found = reduce(getattr, (attributes or name).split("."), import_module(module))
    globals()[name] = found  # next time without us
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
