"""facetrove turns a photo collection into a face-search engine.

    import facetrove as ft

    faces = ft.find_faces("me.jpg")
    ft.compare("a.jpg", "b.jpg")
    ft.embed_photos("photos/", "faces.dataset")
    index = ft.build_index("faces.dataset", "faces.index")
    index.search("me.jpg", k=10).to_pandas()

The public interface is `__all__` and two submodules: `facetrove.beam`, whose transforms fit into
any Beam pipeline, and `facetrove.demo_photos`. Every other module may change without notice. A
public name is imported when it is first used, so that `import facetrove` is quick.

Every error that facetrove raises on purpose is one of these, with one line that says what to do:

    FaceTroveError               the base class: something that the user can act on
    +-- WrongUsageError          the arguments are wrong: no such folder, k too large, a dataset or
    |                            index of another format version
    +-- ContractMismatchError    embeddings of different models were about to be compared
    +-- CorruptFileError         a file of a dataset or index is missing, truncated or altered
    +-- ModelUnavailableError    a model's weights cannot be fetched, or have an unexpected digest
    +-- BusyError                another process is writing the same dataset or index
"""

# Over 400 lines: public names stand here for readers, for type checkers and for loading.
import os
import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # In `python -m NAME`, Python looks for every module in the current folder first, which may be a
    # stranger's. While NAME's package is imported, the first argument is "-m".
    del sys.path[0]
    _ours = __file__.rsplit(os.sep, 2)[0]
    if _ours not in sys.path:  # a checkout that is not installed: behind Python's own modules
        _installed = [folder.endswith("-packages") for folder in sys.path]
        sys.path.insert(_installed.index(True) if any(_installed) else len(sys.path), _ours)

from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beam_jobs.embed_photos import embed_photos as embed_photos
    from beam_jobs.embed_photos import plan_embedding as plan_embedding
    from beam_jobs.import_faces import import_faces as import_faces
    from beam_jobs.knn_join import join_nearest as join_nearest
    from beam_jobs.measure import Measurement as Measurement
    from beam_jobs.measure import measure_faces as measure_faces
    from beam_jobs.options import EmbedOptions as EmbedOptions
    from beam_jobs.reembed import plan_reembedding as plan_reembedding
    from beam_jobs.reembed import reembed as reembed
    from beam_jobs.summary import EmbedSummary as EmbedSummary
    from beam_jobs.summary import PhotosFound as PhotosFound
    from faces.core.contract import ModelContract as ModelContract
    from faces.core.errors import BusyError as BusyError
    from faces.core.errors import ContractMismatchError as ContractMismatchError
    from faces.core.errors import CorruptFileError as CorruptFileError
    from faces.core.errors import FaceTroveError as FaceTroveError
    from faces.core.errors import ModelUnavailableError as ModelUnavailableError
    from faces.core.errors import WrongUsageError as WrongUsageError
    from faces.core.progress import Progress as Progress
    from faces.core.settings import Access as Access
    from faces.core.settings import FaceSelection as FaceSelection
    from faces.core.settings import PhotoLimits as PhotoLimits
    from faces.core.settings import SourceLimits as SourceLimits
    from faces.dataset.columns import ListColumn as ListColumn
    from faces.dataset.columns import list_columns as list_columns
    from faces.dataset.columns import remove_column as remove_column
    from faces.dataset.columns import rename_column as rename_column
    from faces.dataset.counts import DatasetCounts as DatasetCounts
    from faces.dataset.deletion_records import Deletion as Deletion
    from faces.dataset.deletion_records import DeletionRequest as DeletionRequest
    from faces.dataset.letting_in import allow_faces as allow_faces
    from faces.dataset.missing import MissingPhotos as MissingPhotos
    from faces.dataset.missing import drop_photos as drop_photos
    from faces.dataset.missing import find_missing as find_missing
    from faces.dataset.names import NameLeft as NameLeft
    from faces.dataset.people_decisions import Decision as Decision
    from faces.dataset.relocation import Relocation as Relocation
    from faces.dataset.store import Dataset as Dataset
    from faces.dataset.store import FaceTables as FaceTables
    from faces.dataset.upgrade import DatasetUpgrade as DatasetUpgrade
    from faces.models.catalog import ModelCard as ModelCard
    from faces.models.catalog import list_models as list_models
    from faces.models.choice import ModelChoice as ModelChoice
    from faces.models.face import Box as Box
    from faces.models.face import Detection as Detection
    from faces.models.face import Face as Face
    from faces.models.face import FaceQuality as FaceQuality
    from faces.photos.decoding import Photo as Photo
    from facetrove.calibration import calibrate_index as calibrate_index
    from facetrove.client import ServiceClient as ServiceClient
    from facetrove.client_answers import FoundProbe as FoundProbe
    from facetrove.client_answers import ServiceDecision as ServiceDecision
    from facetrove.client_answers import ServiceJob as ServiceJob
    from facetrove.client_people import ServicePeople as ServicePeople
    from facetrove.client_watches import ServiceWatch as ServiceWatch
    from facetrove.client_watches import WatchMatch as WatchMatch
    from facetrove.comparison import ComparedFace as ComparedFace
    from facetrove.comparison import Comparison as Comparison
    from facetrove.comparison import compare as compare
    from facetrove.evaluation.identify import Identification as Identification
    from facetrove.evaluation.identify import evaluate_identification as evaluate_identification
    from facetrove.evaluation.pair_lists import Pairs as Pairs
    from facetrove.evaluation.pair_lists import read_pairs as read_pairs
    from facetrove.evaluation.pairs import Verification as Verification
    from facetrove.evaluation.pairs import evaluate_pairs as evaluate_pairs
    from facetrove.evaluation.people import PeopleEvaluation as PeopleEvaluation
    from facetrove.evaluation.people import evaluate_people as evaluate_people
    from facetrove.evaluation.protocol import Protocol as Protocol
    from facetrove.evaluation.robustness import Robustness as Robustness
    from facetrove.evaluation.robustness import evaluate_robustness as evaluate_robustness
    from facetrove.export.comparing import ExportVerification as ExportVerification
    from facetrove.export.export import ExportResult as ExportResult
    from facetrove.export.export import export_index as export_index
    from facetrove.finding import FoundFaces as FoundFaces
    from facetrove.finding import find_faces as find_faces
    from facetrove.held import HeldFaces as HeldFaces
    from facetrove.held import find_held as find_held
    from facetrove.indexes import build_index as build_index
    from facetrove.indexes import compact_index as compact_index
    from facetrove.people.exchange import ImportedPeople as ImportedPeople
    from facetrove.people.grouping import PeopleGrouping as PeopleGrouping
    from facetrove.people.people import People as People
    from facetrove.people.tables import PeopleTable as PeopleTable
    from facetrove.relocation import plan_relocation as plan_relocation
    from facetrove.relocation import relocate as relocate
    from facetrove.training.card import TrainingCard as TrainingCard
    from facetrove.training.classifier import TrainedClassifier as TrainedClassifier
    from facetrove.training.classifier import train_classifier as train_classifier
    from facetrove.training.classifier_options import ClassifierOptions as ClassifierOptions
    from facetrove.training.doubtful import Doubtful as Doubtful
    from facetrove.training.embedder import TrainedEmbedder as TrainedEmbedder
    from facetrove.training.embedder import train_embedder as train_embedder
    from facetrove.training.embedder_options import EmbedderOptions as EmbedderOptions
    from facetrove.training.figures import ClassifierFigures as ClassifierFigures
    from facetrove.training.head_options import HeadOptions as HeadOptions
    from facetrove.training.heads import TrainedHead as TrainedHead
    from facetrove.training.heads import train_head as train_head
    from facetrove.training.options import TrainingOptions as TrainingOptions
    from facetrove.training.published import published_classifier as published_classifier
    from facetrove.upgrading import upgrade as upgrade
    from indexer.delete import DeletionPlan as DeletionPlan
    from indexer.delete import DeletionResult as DeletionResult
    from indexer.delete import delete_faces as delete_faces
    from indexer.delete import plan_deletion as plan_deletion
    from indexer.join_files import JoinResult as JoinResult
    from indexer.manifest import Manifest as Manifest
    from indexer.purge import PurgeReport as PurgeReport
    from indexer.purge import purge as purge
    from indexer.stranger_rates import StrangerRates as StrangerRates
    from indexer.thresholds import Calibration as Calibration
    from indexer.undo import UndoResult as UndoResult
    from indexer.undo import list_deletions as list_deletions
    from indexer.undo import undo as undo
    from indexer.upgrade import IndexUpgrade as IndexUpgrade
    from indexer.verify import VerificationResult as VerificationResult
    from indexer.verify import verify_index as verify_index
    from search.contact_sheet import write_contact_sheet as write_contact_sheet
    from search.copies import CopiedPhotos as CopiedPhotos
    from search.copies import copy_photos as copy_photos
    from search.listing import ListedFace as ListedFace
    from search.results import CandidateList as CandidateList
    from search.results import CandidateLists as CandidateLists
    from search.results import JointProbe as JointProbe
    from search.results import Match as Match
    from search.results import Probe as Probe
    from search.results import ProbeFace as ProbeFace
    from search.results import Probes as Probes
    from search.searcher import FaceSearcher as FaceSearcher

    open_dataset = Dataset.open
    open_index = FaceSearcher.open
    open_people = People.open

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Box",
    "BusyError",
    "Calibration",
    "CandidateList",
    "CandidateLists",
    "ClassifierFigures",
    "ClassifierOptions",
    "ComparedFace",
    "Comparison",
    "ContractMismatchError",
    "CopiedPhotos",
    "CorruptFileError",
    "Dataset",
    "DatasetCounts",
    "DatasetUpgrade",
    "Decision",
    "Deletion",
    "DeletionPlan",
    "DeletionRequest",
    "DeletionResult",
    "Detection",
    "Doubtful",
    "EmbedOptions",
    "EmbedSummary",
    "EmbedderOptions",
    "ExportResult",
    "ExportVerification",
    "Face",
    "FaceQuality",
    "FaceSearcher",
    "FaceSelection",
    "FaceTables",
    "FaceTroveError",
    "FoundFaces",
    "FoundProbe",
    "HeadOptions",
    "HeldFaces",
    "Identification",
    "ImportedPeople",
    "IndexUpgrade",
    "JoinResult",
    "JointProbe",
    "ListColumn",
    "ListedFace",
    "Manifest",
    "Match",
    "Measurement",
    "MissingPhotos",
    "ModelCard",
    "ModelChoice",
    "ModelContract",
    "ModelUnavailableError",
    "NameLeft",
    "Pairs",
    "People",
    "PeopleEvaluation",
    "PeopleGrouping",
    "PeopleTable",
    "Photo",
    "PhotoLimits",
    "PhotosFound",
    "Probe",
    "ProbeFace",
    "Probes",
    "Progress",
    "Protocol",
    "PurgeReport",
    "Relocation",
    "Robustness",
    "ServiceClient",
    "ServiceDecision",
    "ServiceJob",
    "ServicePeople",
    "ServiceWatch",
    "SourceLimits",
    "StrangerRates",
    "TrainedClassifier",
    "TrainedEmbedder",
    "TrainedHead",
    "TrainingCard",
    "TrainingOptions",
    "UndoResult",
    "Verification",
    "VerificationResult",
    "WatchMatch",
    "WrongUsageError",
    "__version__",
    "allow_faces",
    "build_index",
    "calibrate_index",
    "compact_index",
    "compare",
    "copy_photos",
    "delete_faces",
    "drop_photos",
    "embed_photos",
    "evaluate_identification",
    "evaluate_pairs",
    "evaluate_people",
    "evaluate_robustness",
    "export_index",
    "find_faces",
    "find_held",
    "find_missing",
    "import_faces",
    "join_nearest",
    "list_columns",
    "list_deletions",
    "list_models",
    "measure_faces",
    "open_dataset",
    "open_index",
    "open_people",
    "plan_deletion",
    "plan_embedding",
    "plan_reembedding",
    "plan_relocation",
    "published_classifier",
    "purge",
    "read_pairs",
    "reembed",
    "relocate",
    "remove_column",
    "rename_column",
    "train_classifier",
    "train_embedder",
    "train_head",
    "undo",
    "upgrade",
    "verify_index",
    "write_contact_sheet",
]

_DEFINITIONS = {
    "Access": "faces.core.settings:Access",
    "Box": "faces.models.face:Box",
    "BusyError": "faces.core.errors:BusyError",
    "Calibration": "indexer.thresholds:Calibration",
    "CandidateList": "search.results:CandidateList",
    "CandidateLists": "search.results:CandidateLists",
    "ClassifierFigures": "facetrove.training.figures:ClassifierFigures",
    "ClassifierOptions": "facetrove.training.classifier_options:ClassifierOptions",
    "ComparedFace": "facetrove.comparison:ComparedFace",
    "Comparison": "facetrove.comparison:Comparison",
    "ContractMismatchError": "faces.core.errors:ContractMismatchError",
    "CopiedPhotos": "search.copies:CopiedPhotos",
    "CorruptFileError": "faces.core.errors:CorruptFileError",
    "Dataset": "faces.dataset.store:Dataset",
    "DatasetCounts": "faces.dataset.counts:DatasetCounts",
    "DatasetUpgrade": "faces.dataset.upgrade:DatasetUpgrade",
    "Decision": "faces.dataset.people_decisions:Decision",
    "Deletion": "faces.dataset.deletion_records:Deletion",
    "DeletionPlan": "indexer.delete:DeletionPlan",
    "DeletionRequest": "faces.dataset.deletion_records:DeletionRequest",
    "DeletionResult": "indexer.delete:DeletionResult",
    "Detection": "faces.models.face:Detection",
    "Doubtful": "facetrove.training.doubtful:Doubtful",
    "EmbedOptions": "beam_jobs.options:EmbedOptions",
    "EmbedSummary": "beam_jobs.summary:EmbedSummary",
    "EmbedderOptions": "facetrove.training.embedder_options:EmbedderOptions",
    "ExportResult": "facetrove.export.export:ExportResult",
    "ExportVerification": "facetrove.export.comparing:ExportVerification",
    "Face": "faces.models.face:Face",
    "FaceQuality": "faces.models.face:FaceQuality",
    "FaceSearcher": "search.searcher:FaceSearcher",
    "FaceSelection": "faces.core.settings:FaceSelection",
    "FaceTables": "faces.dataset.store:FaceTables",
    "FaceTroveError": "faces.core.errors:FaceTroveError",
    "FoundFaces": "facetrove.finding:FoundFaces",
    "FoundProbe": "facetrove.client_answers:FoundProbe",
    "HeadOptions": "facetrove.training.head_options:HeadOptions",
    "HeldFaces": "facetrove.held:HeldFaces",
    "Identification": "facetrove.evaluation.identify:Identification",
    "ImportedPeople": "facetrove.people.exchange:ImportedPeople",
    "IndexUpgrade": "indexer.upgrade:IndexUpgrade",
    "JoinResult": "indexer.join_files:JoinResult",
    "JointProbe": "search.results:JointProbe",
    "ListColumn": "faces.dataset.columns:ListColumn",
    "ListedFace": "search.listing:ListedFace",
    "Manifest": "indexer.manifest:Manifest",
    "Match": "search.results:Match",
    "Measurement": "beam_jobs.measure:Measurement",
    "MissingPhotos": "faces.dataset.missing:MissingPhotos",
    "ModelCard": "faces.models.catalog:ModelCard",
    "ModelChoice": "faces.models.choice:ModelChoice",
    "ModelContract": "faces.core.contract:ModelContract",
    "ModelUnavailableError": "faces.core.errors:ModelUnavailableError",
    "NameLeft": "faces.dataset.names:NameLeft",
    "Pairs": "facetrove.evaluation.pair_lists:Pairs",
    "People": "facetrove.people.people:People",
    "PeopleEvaluation": "facetrove.evaluation.people:PeopleEvaluation",
    "PeopleGrouping": "facetrove.people.grouping:PeopleGrouping",
    "PeopleTable": "facetrove.people.tables:PeopleTable",
    "Photo": "faces.photos.decoding:Photo",
    "PhotoLimits": "faces.core.settings:PhotoLimits",
    "PhotosFound": "beam_jobs.summary:PhotosFound",
    "Probe": "search.results:Probe",
    "ProbeFace": "search.results:ProbeFace",
    "Probes": "search.results:Probes",
    "Progress": "faces.core.progress:Progress",
    "Protocol": "facetrove.evaluation.protocol:Protocol",
    "PurgeReport": "indexer.purge:PurgeReport",
    "Relocation": "faces.dataset.relocation:Relocation",
    "Robustness": "facetrove.evaluation.robustness:Robustness",
    "ServiceClient": "facetrove.client:ServiceClient",
    "ServiceDecision": "facetrove.client_answers:ServiceDecision",
    "ServiceJob": "facetrove.client_answers:ServiceJob",
    "ServicePeople": "facetrove.client_people:ServicePeople",
    "ServiceWatch": "facetrove.client_watches:ServiceWatch",
    "SourceLimits": "faces.core.settings:SourceLimits",
    "StrangerRates": "indexer.stranger_rates:StrangerRates",
    "TrainedClassifier": "facetrove.training.classifier:TrainedClassifier",
    "TrainedEmbedder": "facetrove.training.embedder:TrainedEmbedder",
    "TrainedHead": "facetrove.training.heads:TrainedHead",
    "TrainingCard": "facetrove.training.card:TrainingCard",
    "TrainingOptions": "facetrove.training.options:TrainingOptions",
    "UndoResult": "indexer.undo:UndoResult",
    "Verification": "facetrove.evaluation.pairs:Verification",
    "VerificationResult": "indexer.verify:VerificationResult",
    "WatchMatch": "facetrove.client_watches:WatchMatch",
    "WrongUsageError": "faces.core.errors:WrongUsageError",
    "allow_faces": "faces.dataset.letting_in:allow_faces",
    "build_index": "facetrove.indexes:build_index",
    "calibrate_index": "facetrove.calibration:calibrate_index",
    "compact_index": "facetrove.indexes:compact_index",
    "compare": "facetrove.comparison:compare",
    "copy_photos": "search.copies:copy_photos",
    "delete_faces": "indexer.delete:delete_faces",
    "drop_photos": "faces.dataset.missing:drop_photos",
    "embed_photos": "beam_jobs.embed_photos:embed_photos",
    "evaluate_identification": "facetrove.evaluation.identify:evaluate_identification",
    "evaluate_pairs": "facetrove.evaluation.pairs:evaluate_pairs",
    "evaluate_people": "facetrove.evaluation.people:evaluate_people",
    "evaluate_robustness": "facetrove.evaluation.robustness:evaluate_robustness",
    "export_index": "facetrove.export.export:export_index",
    "find_faces": "facetrove.finding:find_faces",
    "find_held": "facetrove.held:find_held",
    "find_missing": "faces.dataset.missing:find_missing",
    "import_faces": "beam_jobs.import_faces:import_faces",
    "join_nearest": "beam_jobs.knn_join:join_nearest",
    "list_columns": "faces.dataset.columns:list_columns",
    "list_deletions": "indexer.undo:list_deletions",
    "list_models": "faces.models.catalog:list_models",
    "measure_faces": "beam_jobs.measure:measure_faces",
    "open_dataset": "faces.dataset.store:Dataset.open",
    "open_index": "search.searcher:FaceSearcher.open",
    "open_people": "facetrove.people.people:People.open",
    "plan_deletion": "indexer.delete:plan_deletion",
    "plan_embedding": "beam_jobs.embed_photos:plan_embedding",
    "plan_reembedding": "beam_jobs.reembed:plan_reembedding",
    "plan_relocation": "facetrove.relocation:plan_relocation",
    "published_classifier": "facetrove.training.published:published_classifier",
    "purge": "indexer.purge:purge",
    "read_pairs": "facetrove.evaluation.pair_lists:read_pairs",
    "reembed": "beam_jobs.reembed:reembed",
    "relocate": "facetrove.relocation:relocate",
    "remove_column": "faces.dataset.columns:remove_column",
    "rename_column": "faces.dataset.columns:rename_column",
    "train_classifier": "facetrove.training.classifier:train_classifier",
    "train_embedder": "facetrove.training.embedder:train_embedder",
    "train_head": "facetrove.training.heads:train_head",
    "undo": "indexer.undo:undo",
    "upgrade": "facetrove.upgrading:upgrade",
    "verify_index": "indexer.verify:verify_index",
    "write_contact_sheet": "search.contact_sheet:write_contact_sheet",
}
"""The module and attribute that define each public name, as `module:attribute`."""


def _require_own_package(name: str, error: ImportError) -> None:
    """Raise ImportError, saying what to do, if a module of the user's stands in for our package."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) or "an unknown file"
    if module is not None and not file.startswith(__file__.rsplit(os.sep, 2)[0] + os.sep):
        raise ImportError(
            f"{file} hides facetrove's own package {name}, as Python looks in a script's folder "
            "first; rename that file"
        ) from error


if not TYPE_CHECKING:  # a type checker would accept any attribute of a module with __getattr__

    def __getattr__(name: str) -> object:
        if name not in _DEFINITIONS:
            raise AttributeError(f"module 'facetrove' has no attribute {name!r}")
        module, _, attribute = _DEFINITIONS[name].partition(":")
        try:
            found = reduce(getattr, attribute.split("."), import_module(module))
        except ImportError as error:
            _require_own_package(module.partition(".")[0], error)
            raise
        globals()[name] = found  # so that the next access does not call __getattr__
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
