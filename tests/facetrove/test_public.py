"""The public names: that there are these, that they are typed, and that importing them is quick."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import facetrove as ft
from facetrove import beam
from tests.support.command import ROOT

ROOMS = {"faces", "indexer", "beam_jobs", "search"}

PUBLIC = """
    Access Box BusyError Calibration CandidateList CandidateLists ClassifierFigures
    ClassifierOptions ComparedFace Comparison ContractMismatchError CopiedPhotos
    CorruptFileError Dataset DatasetCounts DatasetUpgrade Decision Deletion DeletionPlan
    DeletionRequest DeletionResult Detection Doubtful EmbedOptions EmbedSummary
    EmbedderOptions ExportResult ExportVerification Face FaceQuality FaceSearcher
    FaceSelection FaceTables FaceTroveError FoundFaces FoundProbe HeadOptions HeldFaces
    Identification ImportedPeople IndexUpgrade JoinResult JointProbe ListColumn ListedFace
    Manifest Match Measurement MissingPhotos ModelCard ModelChoice ModelContract
    ModelUnavailableError NameLeft Pairs People PeopleEvaluation PeopleGrouping PeopleTable
    Photo PhotoLimits PhotosFound Probe ProbeFace Probes Progress Protocol PurgeReport
    Relocation Robustness ServiceClient ServiceDecision ServiceJob ServicePeople
    ServiceWatch SourceLimits StrangerRates TrainedClassifier TrainedEmbedder TrainedHead
    TrainingCard TrainingOptions UndoResult Verification VerificationResult WatchMatch
    WrongUsageError __version__ allow_faces build_index calibrate_index compact_index
    compare copy_photos delete_faces drop_photos embed_photos evaluate_identification
    evaluate_pairs evaluate_people evaluate_robustness export_index find_faces find_held
    find_missing import_faces join_nearest list_columns list_deletions list_models
    measure_faces open_dataset open_index open_people plan_deletion plan_embedding
    plan_reembedding plan_relocation published_classifier purge read_pairs reembed relocate
    remove_column rename_column train_classifier train_embedder train_head undo upgrade
    verify_index write_contact_sheet
"""


def test_the_public_names_are_these() -> None:
    assert sorted(ft.__all__) == sorted(PUBLIC.split())
    assert sorted(ft.__all__) == dir(ft)


@pytest.mark.parametrize("name", ft.__all__)
def test_every_public_name_exists_and_has_a_docstring(name: str) -> None:
    found = getattr(ft, name)
    if name != "__version__":
        assert found.__doc__ and "(" not in found.__doc__[:1], name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'facetrove' has no attribute 'nonsense'"):
        _ = ft.nonsense  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse((ROOT / "facetrove" / "__init__.py").read_text())
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.asname: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assigned = {
        node.targets[0].id: ast.unparse(node.value)
        for node in block.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert assigned == {
        "open_dataset": "Dataset.open",
        "open_index": "FaceSearcher.open",
        "open_people": "People.open",
    }
    definitions = ft._DEFINITIONS
    assert {**seen, **{name: definitions[name] for name in assigned}} == definitions
    assert {"__version__", *definitions} == set(ft.__all__)


@pytest.mark.lasting
@pytest.mark.slow
def test_type_checkers_know_the_names_and_no_others(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import facetrove as ft\n"
        "reveal_type(ft.open_index('i').search('p.jpg').to_list())\n"
        "reveal_type(ft.compare('a.jpg', 'b.jpg').decision)\n"
        "ft.nonsense\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(script)]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert 'Revealed type is "list[dict[str, Any]]"' in checked.stdout.replace("builtins.", "")
    assert 'Revealed type is "bool | None"' in checked.stdout.replace("builtins.", "")
    assert 'Module has no attribute "nonsense"' in checked.stdout
    assert "Found 1 error" in checked.stdout


def test_the_version_is_the_package_s() -> None:
    assert ft.__version__ == version("facetrove")


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "facetrove" / "py.typed").is_file()


def test_importing_facetrove_loads_only_what_python_has() -> None:
    script = (
        "import sys; before = set(sys.modules); import facetrove;"
        "print(sorted(set(sys.modules) - before - set(sys.stdlib_module_names)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert {name for name in ast.literal_eval(loaded.stdout) if "." not in name} == {"facetrove"}


def test_transforms_are_public_in_a_module_of_their_own() -> None:
    assert sorted(beam.__all__) == ["EmbedPhotos", "EmbeddedPhotos", "build_index_in_pieces"]


def imported(source: str) -> set[str]:
    """Return the top-level packages of all modules that a piece of Python imports."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
    return modules


def test_documents_and_examples_import_nothing_of_ours_but_facetrove() -> None:
    sources = {str(path): path.read_text() for path in (ROOT / "examples").glob("*.py")}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.S)):
            sources[f"{path}, block {number}"] = block
    assert len(sources) >= 10
    for name, source in sources.items():
        assert not imported(source) & ROOMS, name


def test_documents_use_public_names_only() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *example_files()]:
        for name in re.findall(r"\bft\.(\w+)", path.read_text()):
            assert name in ft.__all__, (path, name)


def example_files() -> list[Path]:
    return sorted((ROOT / "examples").glob("*.py"))
