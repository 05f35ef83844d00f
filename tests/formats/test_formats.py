"""A dataset and an index of each format that ever was, written by the program of that time.

Those of the current format open, those of older formats are carried over by an upgrade. Faces are
random vectors of 8 dimensions. `expected.json` has what the program of that time found. Format 1
was written by the commit before 6937f2c, format 2 by the one before b1043ed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.core.errors import CorruptFileError, OlderFormatError, WrongUsageError
from faces.dataset.store import Dataset
from faces.dataset.upgrade import DatasetUpgrade
from facetrove.upgrading import upgrade
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.manifest import FORMAT_VERSION, read_current
from indexer.purge import purge
from indexer.upgrade import IndexUpgrade
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.command import run_facetrove
from tests.support.manifests import sign_current
from tests.support.small_collections import DIMENSION, Collection, Photo, files_with
from tests.support.vectors import unit_vectors

FORMATS = [1, 2, 3]
HERE = Path(__file__).parent


def copy_of(number: int, tmp_path: Path) -> Path:
    """Copy the folder of a format, with its dataset, index and expectations."""
    return Path(shutil.copytree(HERE / f"format-{number}", tmp_path / "released"))


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A copy of the folder of the current format."""
    return copy_of(FORMAT_VERSION, tmp_path)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of the folder of the first format."""
    return copy_of(1, tmp_path)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A copy of the folder of the second format."""
    return copy_of(2, tmp_path)


@pytest.fixture
def expected(released: Path) -> dict[str, Any]:
    return expectations(released)


def expectations(folder: Path) -> dict[str, Any]:
    """Read what the program of a format found."""
    return dict(json.loads((folder / "expected.json").read_text()))


def face_ids(dataset: Path) -> list[str]:
    """Return the sorted face_ids of a dataset."""
    return sorted(Dataset.open(dataset).faces(["face_id"]).to_arrow()["face_id"].to_pylist())


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file but locks, by the file's relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock") and path.name != ".lock"
    }


def found(index: Path) -> list[list[dict[str, Any]]]:
    """What the searches that the release made find now, with the columns it wrote down."""
    lists = FaceSearcher.open(index).search_embeddings(unit_vectors(5, DIMENSION, seed=1), 5)
    return [
        [
            {
                "face_id": match.face_id,
                "similarity": pytest.approx(match.similarity, abs=1e-6),
                "uri": match.uri,
                "also_at": list(match.also_at),
                "person": match.person,
                "year": match.metadata["year"],
                "fpir": pytest.approx(match.fpir),
            }
            for match in matches
        ]
        for matches in lists
    ]


def test_the_format_written_now_is_among_them() -> None:
    assert FORMATS[-1] == FORMAT_VERSION
    assert [path.name for path in sorted(HERE.glob("format-*"))] == [f"format-{n}" for n in FORMATS]


def test_a_released_dataset_opens(released: Path, expected: dict[str, Any]) -> None:
    dataset = Dataset.open(released / "faces.dataset")
    counts = dataset.counts()
    assert (counts.num_photos, counts.num_faces) == (expected["num_photos"], expected["num_faces"])
    assert counts.num_copies == 1
    assert counts.by_status == {"embedded": 42, "no_face": 1, "deleted": 4}
    assert dataset.metadata.names == ["person", "year"]
    assert len(dataset.runs()) == 1


def test_a_released_index_answers_as_it_did(released: Path, expected: dict[str, Any]) -> None:
    index = released / "faces.index"
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert found(index) == expected["matches"]
    assert verify_index(index, released / "faces.dataset").problems == ()


def test_a_released_index_is_up_to_date_and_needs_no_build(released: Path) -> None:
    index = released / "faces.index"
    before = read_current(index)
    build_index(released / "faces.dataset", index)
    assert read_current(index) == before


def test_a_released_index_is_compacted_and_built_anew(
    released: Path, expected: dict[str, Any]
) -> None:
    index = released / "faces.index"
    ids = [[match["face_id"] for match in matches] for matches in expected["matches"]]
    compact_index(index)
    assert len(read_current(index).segments) == 1
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    build_index(released / "faces.dataset", index, rebuild=True, recipe="exact")
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert [[match["face_id"] for match in matches] for matches in found(index)] == ids


def test_faces_are_deleted_and_purged_from_released_files(released: Path) -> None:
    dataset, index = released / "faces.dataset", released / "faces.index"
    (match, *_), *_ = FaceSearcher.open(index).search_embeddings(
        unit_vectors(1, DIMENSION, seed=1), 5
    )

    deleted = delete_faces(dataset, [index], f"face_id = '{match.face_id}'")
    assert deleted.num_faces == 1
    purge(dataset, [index])
    assert files_with(dataset, [match.face_id.encode()]) == {}
    assert files_with(index, [match.face_id.encode()]) == {}


def test_older_formats_are_refused_with_the_command_that_carries_them_over(
    first: Path, tmp_path: Path
) -> None:
    second = Path(shutil.copytree(HERE / "format-2", tmp_path / "second"))
    for dataset, number in ((first / "faces.dataset", 1), (second / "faces.dataset", 2)):
        with pytest.raises(
            OlderFormatError, match=f"format version {number}, .* `facetrove upgrade {dataset}`"
        ):
            Dataset.open(dataset)
    index = second / "faces.index"
    for use in (read_current, compact_index, lambda i: build_index(second / "faces.dataset", i)):
        with pytest.raises(OlderFormatError, match=r"`facetrove upgrade /"):
            use(index)
    with pytest.raises(OlderFormatError, match=f"`facetrove upgrade {index}`"):
        build_index(copy_of(3, tmp_path / "third") / "faces.dataset", index, rebuild=True)


@pytest.mark.parametrize("name", ["faces.dataset", "faces.index"])
def test_a_newer_format_says_to_update_the_program(
    released: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.manifest.FORMAT_VERSION", 2)
    monkeypatch.setattr("faces.dataset.header.FORMAT_VERSION", 2)
    before = contents_of(released)
    opened = Dataset.open if name == "faces.dataset" else read_current
    for use in (opened, upgrade):
        with pytest.raises(
            WrongUsageError, match=r"newer facetrove \(format.* 3.*update facetrove"
        ):
            use(released / name)
    assert contents_of(released) == before


def test_the_second_format_is_carried_over_with_all_that_it_has(second: Path) -> None:
    expected, dataset, index = (
        expectations(second),
        second / "faces.dataset",
        second / "faces.index",
    )
    of_dataset, of_index = upgrade(dataset), upgrade(index)
    assert isinstance(of_dataset, DatasetUpgrade)
    assert isinstance(of_index, IndexUpgrade)
    assert (of_dataset.format_before, of_dataset.format_version) == (2, FORMAT_VERSION)
    assert (of_dataset.num_deleted, of_dataset.is_current) == (4, True)
    assert of_index.has_calibration

    opened = Dataset.open(dataset)
    counts = opened.counts()
    assert (counts.num_photos, counts.num_faces) == (expected["num_photos"], expected["num_faces"])
    assert counts.by_status == expected["by_status"]
    assert opened.metadata.names == ["person", "year"]
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert found(index) == expected["matches"]  # with columns, and rates of the calibration
    assert verify_index(index, dataset).problems == ()
    norms = opened.faces(["embedding_norm"]).to_arrow()["embedding_norm"].to_numpy()
    assert np.isnan(norms).all()

    # NaN is greater than all numbers, so a filter by what was not measured loses no face.
    lists = FaceSearcher.open(index).search_embeddings(
        unit_vectors(1, DIMENSION, seed=1), 81, where="embedding_norm > 10"
    )
    assert [len(matches) for matches in lists] == [81]

    # Index and dataset still agree on what was deleted and read.
    before = read_current(index)
    assert build_index(dataset, index) == before
    build_index(dataset, index, rebuild=True, recipe="exact")
    assert len(FaceSearcher.open(index)) == expected["num_indexed"]
    assert [path.name for path in (index / "segments").iterdir()] != []


def test_deleted_faces_stay_deleted_in_the_second_format(second: Path) -> None:
    dataset, index = second / "faces.dataset", second / "faces.index"
    upgrade(dataset)
    upgrade(index)
    gone = Photo(10, num_faces=2).face_ids[1]
    assert gone not in face_ids(dataset)
    collection = Collection(dataset)
    collection.embed({"/photos/again.jpg": Photo(10, num_faces=2)}, again=True)
    assert gone not in face_ids(dataset)
    build_index(dataset, index)
    purge(dataset, [index])  # it raises if it finds a trace
    assert files_with(index, [gone.encode()]) == {}


def test_the_first_format_is_carried_over_with_one_set_of_faces_for_each_content(
    first: Path,
) -> None:
    expected, dataset, index = expectations(first), first / "faces.dataset", first / "faces.index"
    result = upgrade(dataset)
    assert isinstance(result, DatasetUpgrade)
    assert (result.format_before, result.preprocessing_version) == (1, 1)
    assert not result.is_current
    counts = Dataset.open(dataset).counts()
    assert counts.num_photos == expected["num_photos"]
    assert counts.by_status == expected["by_status"]
    assert counts.num_copies == 2
    assert counts.by_reason == {"truncated": 1}
    # Two copies of a photo with two faces had faces of their own.
    assert counts.num_faces == len(face_ids(dataset)) == expected["num_faces"] - 4
    assert set(face_ids(dataset)) < set(expected["face_ids"])
    faces = Dataset.open(dataset).faces(["uri", "also_at", "face_size", "sharpness"]).to_arrow()
    assert faces["face_size"].to_pylist() == [9.0] * len(faces)
    assert np.isnan(faces["sharpness"].to_numpy()).all()
    (copies,) = {tuple(row["also_at"]) for row in faces.to_pylist() if row["also_at"]}
    assert copies == ("/photos/copy.jpg", "/photos/second-copy.jpg")

    with pytest.raises(CorruptFileError, match=r"format version 1 .*build the index again"):
        upgrade(index)
    build_index(dataset, index)
    assert verify_index(index, dataset).problems == ()
    searcher = FaceSearcher.open(index)
    assert len(searcher) == counts.num_faces
    assert len(searcher.search_face(face_ids(dataset)[0], 3)) == 3


@pytest.mark.parametrize("number", [1, 2])
def test_an_upgrade_that_is_stopped_anywhere_is_finished_by_the_next_one(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped before each rename, where a killed process leaves its temporary file."""

    class Stopped(BaseException):
        pass

    undisturbed = copy_of(number, tmp_path)
    upgrade(undisturbed / "faces.dataset")
    expected = contents_of(undisturbed / "faces.dataset")
    rename = os.rename
    for writes in count():
        folder = copy_of(number, tmp_path / f"stopped-{writes}") / "faces.dataset"
        left = [writes]

        def stopping(source: str, target: str, left: list[int] = left, **folders: int) -> None:
            if not left[0]:
                raise Stopped
            left[0] -= 1
            rename(source, target, **folders)

        monkeypatch.setattr(os, "rename", stopping)
        monkeypatch.setattr(os, "unlink", lambda path, **folder: None)
        try:
            upgrade(folder)
            break
        except Stopped:
            with pytest.raises(OlderFormatError):
                Dataset.open(folder)
        finally:
            monkeypatch.undo()
        upgrade(folder)
        assert contents_of(folder) == expected
    # Format 1 lacked columns of photos and of faces, format 2 of faces alone; then the header.
    assert writes == {1: 2 + 2, 2: 3}[number] + 1


def test_an_upgrade_of_an_index_that_is_stopped_leaves_the_old_version(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def stopped(*_: object) -> None:
        raise Stopped

    index, expected = second / "faces.index", expectations(second)
    current = (index / "CURRENT").read_bytes()
    monkeypatch.setattr("indexer.upgrade.write_deletions", stopped)
    with pytest.raises(Stopped):
        upgrade(index)
    monkeypatch.undo()
    assert (index / "CURRENT").read_bytes() == current
    upgrade(index)
    assert found(index) == expected["matches"]
    assert len(list((index / "segments").iterdir())) == 2  # none is left over


def test_a_corrupt_file_of_an_older_index_is_not_carried_over(second: Path) -> None:
    index = second / "faces.index"
    (path, *_) = sorted(index.glob("segments/*/vectors.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"vectors\.npy differs from what was written"):
        upgrade(index)
    with pytest.raises(OlderFormatError):
        read_current(index)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(second: Path) -> None:
    index, outside = second / "faces.index", second / "outside"
    outside.write_text("not yours")
    path = index / "manifest-000006.json"
    document = json.loads(path.read_text())
    digest = {"num_bytes": 9, "sha256": hashlib.sha256(outside.read_bytes()).hexdigest()}
    document["segments"][0]["files"]["../../../outside"] = digest
    path.write_text(json.dumps(document))
    sign_current(index)
    with pytest.raises(CorruptFileError, match=r"'\.\./\.\./\.\./outside' is no name of a file"):
        upgrade(index)


def test_there_is_nothing_to_do_for_the_current_format(released: Path) -> None:
    before = contents_of(released)
    for name in ("faces.dataset", "faces.index"):
        assert not upgrade(released / name).has_changed
    assert contents_of(released) == before


def test_the_command_says_what_it_did_and_what_is_left_to_do(first: Path, tmp_path: Path) -> None:
    second = copy_of(2, tmp_path / "second")
    folders = [first / "faces.dataset", second / "faces.dataset", second / "faces.index"]
    done = run_facetrove("upgrade", *folders)
    assert done.returncode == 0
    said = [line.removeprefix(f"{tmp_path}/") for line in done.stdout.splitlines()]
    assert said[0] == (
        "released/faces.dataset: carried over from format 1 to 3: 39 faces of 24 photos, "
        "0 deleted faces"
    )
    assert said[2].startswith("  its embeddings are of preprocessing 1 and cannot be compared")
    assert "from format 2 to 3: 81 faces of 47 photos, 4 deleted faces" in said[3]
    assert said[5].endswith("version 7, 81 faces, with its calibration")
    again = run_facetrove("upgrade", *folders, "--json")
    document = json.loads(again.stdout)["upgraded"]
    assert [result["format_before"] for result in document] == [3, 3, 3]
    assert "nothing to do, it has format 3" in run_facetrove("upgrade", folders[2]).stdout
    missing = run_facetrove("upgrade", tmp_path / "nothing")
    assert missing.returncode == 2
    assert "does not exist; name the folder of one" in missing.stderr
