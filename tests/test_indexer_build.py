from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.contract import ModelContract
from faces.dataset import Dataset
from faces.errors import BusyError, ContractMismatchError, DamagedFileError, WrongUsageError
from faces.files import writer_lock
from indexer import build_index
from indexer.manifest import read_current
from search import FaceSearcher
from tests.conftest import unit_vectors
from tests.test_faces_dataset import part_tables, write


@pytest.fixture
def dataset(tmp_path: Path, contract: ModelContract) -> Path:
    write(tmp_path / "dataset", contract, {"a": 2, "b": 1}, {"c": 1, "d": 0})
    return tmp_path / "dataset"


def indexed_ids(index: Path) -> set[str]:
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(unit_vectors(1, 8, seed=9), k=len(searcher))
    return {match.face_id for match in matches}


def test_an_index_holds_every_face_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    manifest = build_index(dataset, tmp_path / "i")
    assert manifest == read_current(tmp_path / "i")
    assert (manifest.version, manifest.num_faces) == (1, 4)
    assert indexed_ids(tmp_path / "i") == {"a-0-0", "a-1-0", "b-0-0", "c-0-0"}


def test_building_again_does_nothing_until_the_dataset_or_the_recipe_changes(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    first = build_index(dataset, index)
    stamps = {path: path.stat().st_mtime_ns for path in index.rglob("*")}
    assert build_index(dataset, index) == first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    write(dataset, contract, {"a": 1}, seed=7)
    assert build_index(dataset, index).version == 2
    assert indexed_ids(index) == {"a-0-7", "b-0-0", "c-0-0"}
    assert build_index(dataset, index, recipe="ivf").recipe.name == "ivf"


def test_a_reader_keeps_its_version_while_others_are_published(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    reader = FaceSearcher.open(index)
    for seed in (1, 2, 3):
        write(dataset, contract, {"a": 1}, seed=seed)
        build_index(dataset, index)
    (matches,) = reader.search_embeddings(unit_vectors(1, 8, seed=9), k=4)
    assert {match.face_id for match in matches} == {"a-0-0", "a-1-0", "b-0-0", "c-0-0"}
    assert indexed_ids(index) == {"a-0-3", "b-0-0", "c-0-0"}
    assert len(list((index / "segments").iterdir())) == 2  # the newest and the one before
    assert len(list(index.glob("manifest-*.json"))) == 2


def test_a_damaged_index_is_built_anew(dataset: Path, tmp_path: Path) -> None:
    build_index(dataset, tmp_path / "whole")
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    damaged = 0
    for number, path in enumerate(files):
        if path.name == ".lock":
            continue
        index = tmp_path / f"copy-{number}"
        shutil.copytree(tmp_path / "whole", index)
        copied = index / path.relative_to(tmp_path / "whole")
        copied.write_bytes(copied.read_bytes()[:-1])
        with pytest.raises(DamagedFileError, match=path.name):
            FaceSearcher.open(index)
        build_index(dataset, index)
        assert len(indexed_ids(index)) == 4
        damaged += 1
    assert damaged == 4


def test_what_is_embedded_during_a_build_waits_for_the_next(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"

    def embed_meanwhile(step: str) -> None:
        if step.startswith("writing"):
            write(dataset, contract, {"a": 2, "new": 1}, seed=5)

    manifest = build_index(dataset, index, on_progress=embed_meanwhile)
    assert manifest.num_faces == 4
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(unit_vectors(2, 8, 0)[:1], k=1)
    assert (matches[0].face_id, round(matches[0].similarity, 4)) == ("a-0-0", 1.0)
    build_index(dataset, index)
    assert indexed_ids(index) == {"a-0-5", "a-1-5", "b-0-0", "c-0-0", "new-0-5"}


def test_folders_of_others_are_left_alone(dataset: Path, tmp_path: Path) -> None:
    strangers = {"CURRENT": "MANIFEST-000002", "segments/video1": "v", "manifest-hd.json": "{}"}
    for name, content in strangers.items():
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
        (folder / "other").write_text("other")
        with pytest.raises(WrongUsageError, match="not a facetrove index"):
            build_index(dataset, folder)
        assert (folder / name).read_text() == content
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "segments").symlink_to(tmp_path)
    with pytest.raises(WrongUsageError, match="not a facetrove index"):
        build_index(dataset, tmp_path / "linked")


def test_an_embedding_that_is_none_is_not_indexed(tmp_path: Path, contract: ModelContract) -> None:
    photos, faces = part_tables({"a": 1})
    column = faces.schema.get_field_index("embedding")
    long = pa.FixedSizeListArray.from_arrays(pa.array(np.full(8, 9, np.float32)), 8)
    with Dataset(tmp_path / "d", contract).open_for_writing() as writer:
        faces = faces.set_column(column, faces.schema.field(column), long)
        writer.write_part(writer.part_name(0), photos, faces, {})
    with pytest.raises(DamagedFileError, match="does not have length 1"):
        build_index(tmp_path / "d", tmp_path / "i")


def test_another_model_s_index_is_left_alone(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    from dataclasses import replace

    build_index(dataset, tmp_path / "i")
    write(tmp_path / "other", replace(contract, embedder="other"), {"z": 1})
    with pytest.raises(ContractMismatchError, match="name a new index"):
        build_index(tmp_path / "other", tmp_path / "i")
    assert len(indexed_ids(tmp_path / "i")) == 4


def test_wrong_usage_says_what_to_do(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    with pytest.raises(WrongUsageError, match="facetrove embed"):
        build_index(tmp_path / "nowhere", tmp_path / "i")
    write(tmp_path / "faceless", contract, {"z": 0})
    with pytest.raises(WrongUsageError, match="holds no face"):
        build_index(tmp_path / "faceless", tmp_path / "i")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(WrongUsageError, match="not a facetrove index"):
        build_index(dataset, tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    with pytest.raises(WrongUsageError, match="choose from"):
        build_index(dataset, tmp_path / "j", recipe="magic")


def test_one_writer_at_a_time(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    with writer_lock(tmp_path / "i", what="it"), pytest.raises(BusyError, match="another process"):
        build_index(dataset, tmp_path / "i")
    build_index(dataset, tmp_path / "i")


def test_a_dataset_that_lost_a_file_is_not_indexed_in_part(dataset: Path, tmp_path: Path) -> None:
    part = Dataset.open(dataset).committed_parts()[0]
    (dataset / "faces" / f"{part}.parquet").unlink()
    with pytest.raises(DamagedFileError, match=part):
        build_index(dataset, tmp_path / "i")


def test_leftovers_of_a_killed_build_are_cleared(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    (kept,) = (index / "segments").iterdir()
    shutil.copytree(kept, index / "segments" / ("0" * 12))
    (index / ".CURRENT.1.tmp").write_text("manifest")
    write(dataset, contract, {"e": 1}, seed=3)
    build_index(dataset, index)
    assert not (index / "segments" / ("0" * 12)).exists()
    assert not list(index.rglob("*.tmp"))
