from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import BusyError, ContractMismatchError, CorruptFileError, WrongUsageError
from faces.core.progress import Progress
from faces.core.storage import Folder
from faces.dataset.header import DatasetSettings
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.folder import GRACE_SECONDS
from indexer.manifest import FORMAT_VERSION, read_current
from indexer.purge import purge
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.manifests import sign_current
from tests.support.parts import part_tables, write
from tests.support.vectors import unit_vectors


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
    write(dataset, contract, {f"more {n}": 1 for n in range(40)}, seed=8)
    manifest = build_index(dataset, index, recipe="SQ8")
    assert [segment.recipe.factory for segment in manifest.segments] == ["SQ8"]
    assert build_index(dataset, index) == manifest  # given options are kept


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
    assert len(list(index.glob("manifest-*.json"))) == 4  # some readers are still opening them


def test_a_corrupt_index_is_built_anew(dataset: Path, tmp_path: Path) -> None:
    build_index(dataset, tmp_path / "whole")
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    corrupt = 0
    for number, path in enumerate(files):
        if path.name == ".lock":
            continue
        index = tmp_path / f"copy-{number}"
        shutil.copytree(tmp_path / "whole", index)
        copied = index / path.relative_to(tmp_path / "whole")
        copied.write_bytes(copied.read_bytes()[:-1])
        with pytest.raises(CorruptFileError, match=path.name):
            FaceSearcher.open(index)
        build_index(dataset, index)
        assert len(indexed_ids(index)) == 4
        corrupt += 1
    assert corrupt == 5


def test_photos_embedded_during_a_build_wait_for_the_next_build(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"

    def embed_meanwhile(progress: Progress) -> None:
        if progress.step == "reading faces":
            write(dataset, contract, {"a": 2, "new": 1}, seed=5)

    manifest = build_index(dataset, index, on_progress=embed_meanwhile)
    assert manifest.num_faces == 4
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(unit_vectors(2, 8, 0)[:1], k=1)
    assert (matches[0].face_id, round(matches[0].similarity, 4)) == ("a-0-0", 1.0)
    build_index(dataset, index)
    assert indexed_ids(index) == {"a-0-5", "a-1-5", "b-0-0", "c-0-0", "new-0-5"}


def test_folders_that_are_not_an_index_are_left_alone(dataset: Path, tmp_path: Path) -> None:
    foreign_files = {"CURRENT": "MANIFEST-000002", "segments/video1": "v", "manifest-hd.json": "{}"}
    for name, content in foreign_files.items():
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


def test_files_that_a_file_manager_leaves_in_an_index_are_not_touched(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    strays = [index / ".DS_Store", index / "segments" / ".DS_Store", index / "notes.txt"]
    for stray in strays:
        stray.write_text("x")
    write(dataset, contract, {"new": 1}, seed=3)
    assert build_index(dataset, index).num_faces == 5
    delete_faces(dataset, [index], "uri = 'new'")
    report = purge(dataset, [index])
    assert len(indexed_ids(index)) == 4
    assert report.unknown_files == tuple(sorted(map(str, strays)))


def test_an_embedding_without_unit_length_is_not_indexed(
    tmp_path: Path, contract: ModelContract
) -> None:
    photos, faces = part_tables({"a": 1})
    column = faces.schema.get_field_index("embedding")
    long = pa.FixedSizeListArray.from_arrays(pa.array(np.full(8, 9, np.float32)), 8)
    with DatasetWriter.open(tmp_path / "d", DatasetSettings(contract)) as writer:
        faces = faces.set_column(column, faces.schema.field(column), long)
        writer.write_part(writer.part_name(0), photos, faces, {})
    with pytest.raises(CorruptFileError, match="does not have length 1"):
        build_index(tmp_path / "d", tmp_path / "i")


def test_another_model_s_index_is_left_alone(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
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
    with pytest.raises(WrongUsageError, match="FAISS cannot make an index 'magic'"):
        build_index(dataset, tmp_path / "j", recipe="magic")


def test_one_writer_at_a_time(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    with Folder(tmp_path / "i").lease(what="it"), pytest.raises(BusyError, match="another process"):
        build_index(dataset, tmp_path / "i")
    build_index(dataset, tmp_path / "i")


def test_a_dataset_that_lost_a_file_is_not_indexed_in_part(dataset: Path, tmp_path: Path) -> None:
    part = Dataset.open(dataset).committed_parts()[0]
    (dataset / "faces" / f"{part}.parquet").unlink()
    with pytest.raises(CorruptFileError, match=part):
        build_index(dataset, tmp_path / "i")


def test_leftovers_of_a_killed_build_are_cleared(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    (kept,) = (index / "segments").iterdir()
    shutil.copytree(kept, index / "segments" / ("0" * 12))
    (index / "deletions").mkdir()
    for name in (".CURRENT.1.tmp", "deletions/.0.arrow.1.tmp"):
        (index / name).write_text("half")
    write(dataset, contract, {"e": 1}, seed=3)
    build_index(dataset, index)
    assert not (index / "segments" / ("0" * 12)).exists()
    assert not list(index.rglob("*.tmp"))


def test_older_versions_are_removed_after_their_grace(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    for seed in (1, 2):
        write(dataset, contract, {"a": 1}, seed=seed)
        build_index(dataset, index)
    long_ago = time.time() - 2 * GRACE_SECONDS
    os.utime(index / "manifest-000002.json", (long_ago, long_ago))  # which superseded version 1
    build_index(dataset, index)
    assert {path.name for path in index.glob("manifest-*.json")} == {
        "manifest-000002.json",
        "manifest-000003.json",
    }
    assert indexed_ids(index) == {"a-0-2", "b-0-0", "c-0-0"}


def test_an_update_reads_the_new_parts_alone(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    write(dataset, contract, {f"old {n}": 1 for n in range(50)}, seed=5)
    first = build_index(dataset, index)
    for part in Dataset.open(dataset).committed_parts():  # indexed parts are not read
        (dataset / "faces" / f"{part}.parquet").write_bytes(b"")
        (dataset / "photos" / f"{part}.parquet").write_bytes(b"")
    write(dataset, contract, {"new": 2}, seed=6)
    manifest = build_index(dataset, index)
    assert manifest.num_faces == first.num_faces + 2
    assert manifest.segments[0] == first.segments[0]
    assert [segment.num_faces for segment in manifest.segments] == [54, 2]


def test_there_are_never_many_segments(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    counts = []
    for seed in range(1, 33):
        write(dataset, contract, {f"{seed}": 3}, seed=seed)
        counts.append(len(build_index(dataset, index).segments))
    assert max(counts) <= 6
    assert len(indexed_ids(index)) == 4 + 32 * 3


def test_faces_of_a_photo_that_moved_follow_it(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    write(dataset, contract, {f"other {n}": 1 for n in range(20)}, seed=5)
    build_index(dataset, index)
    photos, faces = part_tables({"a": 2})
    copy = photos.set_column(0, "uri", pa.array(["elsewhere"]))
    copy = copy.set_column(copy.schema.get_field_index("is_copy"), "is_copy", pa.array([True]))
    gone = photos.set_column(photos.schema.get_field_index("status"), "status", pa.array(["gone"]))
    with DatasetWriter.open(dataset, Dataset.open(dataset).settings) as writer:
        rows = pa.concat_tables([copy.cast(photos.schema), gone.cast(photos.schema)])
        writer.write_part(writer.part_name(0), rows, faces.slice(0, 0), {})
    manifest = build_index(dataset, index)
    (match,) = FaceSearcher.open(index).search_embeddings(unit_vectors(2, 8, 0)[1:], k=1)[0]
    assert (match.face_id, match.uri, match.also_at) == ("a-1-0", "elsewhere", ())
    assert manifest.num_faces == 24
    assert verify_index(index, dataset).problems == ()


def test_compacting_leaves_one_segment_without_deleted_faces(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    write(dataset, contract, {f"other {n}": 1 for n in range(20)}, seed=5)
    build_index(dataset, index)
    write(dataset, contract, {"a": 1}, seed=6)
    before = build_index(dataset, index)
    assert (len(before.segments), before.deletions.num_faces) == (2, 2)
    after = compact_index(index)
    (segment,) = after.segments
    assert (segment.num_faces, after.deletions, after.num_faces) == (23, None, 23)
    assert compact_index(index) == after
    assert build_index(dataset, index) == after
    assert verify_index(index, dataset).problems == ()


def test_an_index_of_a_newer_facetrove_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    path = index / "manifest-000001.json"
    newer = f'"format_version": {FORMAT_VERSION + 1}'
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', newer))
    sign_current(index)
    with pytest.raises(WrongUsageError, match="update facetrove"):
        build_index(dataset, index)
    assert newer in path.read_text()


def test_a_first_build_that_fails_leaves_no_folder(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    write(dataset, contract, {f"more {n}": 1 for n in range(40)}, seed=8)
    with pytest.raises(WrongUsageError, match="cannot be trained on 44 faces"):
        build_index(dataset, tmp_path / "i", recipe="IVF4096,Flat")
    assert not (tmp_path / "i").exists()
    with pytest.raises(WrongUsageError, match="no GPU"):
        build_index(dataset, tmp_path / "i", device="cuda")
    assert not (tmp_path / "i").exists()


def test_what_is_added_to_an_index_that_was_opened_to_a_group_is_open_to_it(
    dataset: Path, tmp_path: Path, contract: ModelContract
) -> None:
    index = tmp_path / "i"
    build_index(dataset, index)
    for folder in (dataset, index, *(path for path in index.rglob("*") if path.is_dir())):
        folder.chmod(0o2750)
    write(dataset, contract, {"e": 2}, seed=7)
    build_index(dataset, index)
    delete_faces(dataset, [index], where="face_id = 'b-0-0'")
    folders = [path for path in index.rglob("*") if path.is_dir()]
    assert {path.name for path in folders} >= {"segments", "deletions"}
    assert {oct(path.stat().st_mode & 0o7777) for path in folders} == {"0o2750"}
