from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import BusyError, ContractMismatchError, CorruptFileError, WrongUsageError
from faces.core.settings import FaceSelection
from faces.core.storage import Folder
from faces.dataset import store
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import embedding_matrix, face_schema
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from tests.support.parts import part_tables, write
from tests.support.small_collections import Collection, Photo
from tests.support.vectors import unit_vectors

TEMPORARIES = (
    ".dataset.json.1.tmp",
    ".deletions.parquet.1.tmp",
    ".passed_over.parquet.1.tmp",
    "faces/.part.parquet.1.tmp",
    "photos/.part.parquet.1.tmp",
    "runs/.part.json.1.tmp",
)
"""Temporary files that processes leave in a dataset when they are killed while they write."""


def face_ids(dataset: Dataset) -> list[str]:
    return [name for table in dataset.faces(["face_id"]) for name in table["face_id"].to_pylist()]


def test_what_was_written_is_read_back(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 2, "b": 0}, {"c": 1})
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.contract == contract
    assert dataset.photos()["uri"].to_pylist() == ["a", "b", "c"]
    assert face_ids(dataset) == ["a-0-0", "a-1-0", "c-0-0"]
    (first, _) = dataset.faces(["embedding"])
    assert np.array_equal(embedding_matrix(first), unit_vectors(2, 8, 0))
    counts = dataset.counts()
    assert (counts.num_photos, counts.num_faces) == (3, 3)
    assert counts.by_status == {"embedded": 2, "rejected": 1}
    assert counts.by_reason == {"corrupt": 1}


@pytest.mark.parametrize("rows_at_once", [1, 2, 5])
def test_faces_are_the_same_however_many_parts_are_read_at_once(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    write(tmp_path / "d", contract, {"a": 2, "b": 0}, {"c": 1}, {"d": 1, "e": 3}, {"f": 2})
    dataset = Dataset.open(tmp_path / "d")
    tables = list(dataset.faces())
    assert [len(table) for table in tables] == [2, 1, 4, 2]
    monkeypatch.setattr(store, "CONTENT_ROWS", rows_at_once)
    assert [table.equals(other) for table, other in zip(tables, dataset.faces(), strict=True)] == (
        [True] * 4
    )


def test_the_newest_row_of_a_photo_is_current(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 2, "b": 1}, seed=0)
    write(tmp_path / "d", contract, {"a": 1}, seed=1)
    write(tmp_path / "d", contract, {"b": 0}, seed=2)
    dataset = Dataset.open(tmp_path / "d")
    assert sorted(dataset.photos()["uri"].to_pylist()) == ["a", "b"]
    assert face_ids(dataset) == ["a-0-1"]


def test_a_part_without_its_commit_mark_is_ignored_and_removed(
    tmp_path: Path, contract: ModelContract
) -> None:
    path = tmp_path / "d"
    write(path, contract, {"a": 1}, {"b": 1})
    kept, lost = Dataset.open(path).committed_parts()
    (path / "photos" / f"{lost}.parquet").unlink()
    for name in TEMPORARIES:
        (path / name).write_bytes(b"half")
    assert face_ids(Dataset.open(path)) == ["a-0-0"]
    write(path, contract)
    assert [p.name for p in (path / "faces").iterdir()] == [f"{kept}.parquet"]
    assert not list(path.rglob("*.tmp"))


def test_temporary_files_of_an_active_writer_are_kept(
    tmp_path: Path, contract: ModelContract
) -> None:
    path = tmp_path / "d"
    write(path, contract, {"a": 1})
    with Folder(path).lease(what="", name=".deletions.lock"):
        with Folder(path).put("deletions.parquet") as file:
            file.write(b"half")
            (temporary,) = Folder(path).temporary_files()
            write(path, contract, {"b": 1})
            assert (path / temporary).exists()
        (path / "deletions.parquet").unlink()


def test_a_lost_faces_file_is_named_and_its_photos_are_to_do_again(
    tmp_path: Path, contract: ModelContract
) -> None:
    path = tmp_path / "d"
    write(path, contract, {"a": 1}, {"b": 1})
    lost = Dataset.open(path).committed_parts()[1]
    (path / "faces" / f"{lost}.parquet").unlink()
    with pytest.raises(CorruptFileError, match=lost):
        Dataset.open(path).require_whole()
    write(path, contract)
    dataset = Dataset.open(path)
    dataset.require_whole()
    assert dataset.photos()["uri"].to_pylist() == ["a"]


@pytest.mark.parametrize("whole_part", [False, True])
def test_faces_that_are_lost_are_named_where_a_copy_of_their_photo_is_left(
    tmp_path: Path, whole_part: bool
) -> None:
    collection = Collection(tmp_path / "d")
    collection.embed({"/a.jpg": Photo(1), "/b.jpg": Photo(2)})
    collection.embed({"/copy.jpg": Photo(1)})
    (lost, _) = Dataset.open(collection.path).committed_parts()
    for kind in ("photos", "faces") if whole_part else ("faces",):
        (collection.path / kind / f"{lost}.parquet").unlink()
    named = "no part with the faces of /copy.jpg" if whole_part else f"faces/{lost}.parquet is miss"
    with pytest.raises(CorruptFileError, match=named):
        face_ids(Dataset.open(collection.path))


def test_a_selection_says_all_that_differs_from_the_default() -> None:
    assert str(FaceSelection()) == "none"
    assert str(FaceSelection(min_face=0, min_score=0.0)) == "min_face 0, min_score 0.0"
    assert str(FaceSelection(max_faces=2, min_sharpness=0.1)) == "max_faces 2, min_sharpness 0.1"


@pytest.mark.parametrize("kind", ["photos", "faces"])
def test_a_corrupt_part_is_named(tmp_path: Path, contract: ModelContract, kind: str) -> None:
    path = tmp_path / "d"
    write(path, contract, {f"photo {n}": 1 for n in range(100)})
    (part,) = (path / kind).glob("*.parquet")
    whole = part.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-4], b"", b"PAR1" + whole[8:]):
        part.write_bytes(content)
        with pytest.raises(CorruptFileError, match=f"{kind}/part-.*corrupt"):
            list(Dataset.open(path).faces())
    flipped = bytearray(whole)
    flipped[60] ^= 0x40  # inside the first data page
    part.write_bytes(flipped)
    with pytest.raises(CorruptFileError, match=f"{kind}/part-.*corrupt"):
        list(Dataset.open(path).faces()), Dataset.open(path).photos()


def test_a_part_of_other_columns_is_refused(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 1})
    (part,) = (tmp_path / "d" / "photos").glob("*.parquet")
    pq.write_table(pa.table({"uri": ["a"]}), part)
    with pytest.raises(CorruptFileError, match="photos/part-"):
        Dataset.open(tmp_path / "d").photos()


def test_writing_a_part_again_replaces_it(tmp_path: Path, contract: ModelContract) -> None:
    with DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)) as writer:
        for seed in (0, 1):
            writer.write_part(writer.part_name(0), *part_tables({"a": 1}, seed=seed), {})
    assert face_ids(Dataset.open(tmp_path / "d")) == ["a-0-1"]


def test_a_worker_of_an_earlier_run_cannot_commit(tmp_path: Path, contract: ModelContract) -> None:
    with DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)) as first:
        left_over = DatasetWriter(first.dataset, first.run)
    with (
        DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)),
        pytest.raises(BusyError, match="taken over"),
    ):
        left_over.write_part(left_over.part_name(0), *part_tables({"a": 1}), {})
    assert face_ids(Dataset.open(tmp_path / "d")) == []
    assert not [p for p in (tmp_path / "d").rglob("*") if "part" in p.name]


def test_two_runs_never_write_at_once(tmp_path: Path, contract: ModelContract) -> None:
    with (
        DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)),
        pytest.raises(BusyError, match="another process is writing dataset"),
        DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)),
    ):
        pass


def test_another_model_s_dataset_is_refused(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 1})
    with pytest.raises(ContractMismatchError, match="other"):
        write(tmp_path / "d", replace(contract, embedder="other"), {"a": 1})
    assert Dataset.open(tmp_path / "d").contract == contract


def test_only_a_dataset_or_an_empty_folder_is_written_to(
    tmp_path: Path, contract: ModelContract
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(WrongUsageError, match="not a facetrove dataset"):
        write(tmp_path / "letters", contract)
    assert [p.name for p in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    with pytest.raises(WrongUsageError, match="does not exist; make one with"):
        Dataset.open(tmp_path / "nowhere")
    # A folder that a run left when it was killed while it created a dataset is accepted.
    (tmp_path / "d" / "photos").mkdir(parents=True)
    (tmp_path / "d" / ".dataset.json.ab.tmp").write_text("{")
    write(tmp_path / "d", contract, {"a": 1})
    assert face_ids(Dataset.open(tmp_path / "d")) == ["a-0-0"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 0}', "\x00\xff"])
def test_a_corrupt_header_is_named(tmp_path: Path, contract: ModelContract, content: str) -> None:
    write(tmp_path / "d", contract, {"a": 1})
    (tmp_path / "d" / "dataset.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CorruptFileError, match=r"dataset\.json"):
        Dataset.open(tmp_path / "d")


HEAVY = ("cv2", "openvino", "onnxruntime", "onnx", "PIL", "apache_beam", "faiss")

OPEN_AND_READ = """
import sys
import faces.dataset.deletions, faces.dataset.rewrite, faces.dataset.schema, faces.dataset.writing
from faces.dataset.store import Dataset

dataset = Dataset.open(sys.argv[1])
assert [len(table) for table in dataset.faces()] == [dataset.counts().num_faces] == [1]
print([name for name in sys.argv[2:] if name in sys.modules])
"""


def test_opening_a_dataset_loads_no_engine_nor_opencv(
    tmp_path: Path, contract: ModelContract
) -> None:
    write(tmp_path / "d", contract, {"a": 1})
    finished = subprocess.run(
        [sys.executable, "-c", OPEN_AND_READ, tmp_path / "d", *HEAVY],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == "[]"


def test_a_dataset_is_opened_by_its_path_as_text(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 1})
    assert face_ids(Dataset.open(str(tmp_path / "d"))) == ["a-0-0"]


def test_faces_turn_into_one_table(tmp_path: Path, contract: ModelContract) -> None:
    write(tmp_path / "d", contract, {"a": 2, "b": 0}, {"c": 1})
    dataset = Dataset.open(tmp_path / "d")
    faces = dataset.faces()
    assert faces.to_pandas()["face_id"].tolist() == ["a-0-0", "a-1-0", "c-0-0"]
    assert [row["uri"] for row in faces.to_list()] == ["a", "a", "c"]  # the files are read again
    embeddings = dataset.embeddings()
    assert embeddings.shape == (3, 8)
    assert np.array_equal(embeddings, embedding_matrix(faces.to_arrow()))


def test_a_dataset_without_faces_is_a_table_without_rows(
    tmp_path: Path, contract: ModelContract
) -> None:
    write(tmp_path / "d", contract, {"b": 0})
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.faces().to_arrow().column_names == [*face_schema(8).names, "also_at"]
    assert dataset.embeddings().shape == (0, 8)
