"""A dataset or an index whose folders or files are links costs no file elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faces.core.errors import FaceTroveError, LinkFoundError
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.manifest import read_current
from indexer.purge import purge
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.small_collections import CONTRACT, Collection, found_ids, many_photos

ID = "0123456789ab"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder with a dataset and its index, which nothing here may change."""
    collection = Collection(tmp_path / "victim" / "dataset")
    collection.embed(many_photos(20, faces=1))
    build_index(collection.path, tmp_path / "victim" / "index")
    return tmp_path / "victim"


@pytest.fixture
def hostile(victim: Path, tmp_path: Path) -> Path:
    """A copy of the folder, for links into the other one."""
    return Path(shutil.copytree(victim, tmp_path / "hostile"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def link(path: Path, target: Path) -> None:
    """Put a link in the place of a file or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def build(folder: Path) -> None:
    build_index(folder / "dataset", folder / "index")


def rebuild(folder: Path) -> None:
    build_index(folder / "dataset", folder / "index", rebuild=True)


def delete(folder: Path) -> None:
    delete_faces(folder / "dataset", folder / "index", "person = 'person 3'")


def embed(folder: Path) -> None:
    Collection(folder / "dataset").embed(many_photos(1, first=100))


OPERATIONS = [
    build,
    rebuild,
    delete,
    embed,
    lambda folder: compact_index(folder / "index"),
    lambda folder: purge(folder / "dataset", folder / "index"),
    lambda folder: FaceSearcher.open(folder / "index"),
    lambda folder: Dataset.open(folder / "dataset").faces().to_arrow(),
]


@pytest.mark.parametrize(
    "name",
    [
        *("dataset/photos", "dataset/faces", "dataset/runs", "dataset/work"),
        *("dataset/deletions.parquet", "dataset/dataset.json", "dataset/.lock"),
        *("index/segments", "index/deletions", "index/work", "index/CURRENT", "index/.lock"),
    ],
)
def test_whatever_is_a_link_no_file_elsewhere_is_changed(
    victim: Path, hostile: Path, name: str
) -> None:
    target = victim / name
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        target.mkdir() if "." not in name else target.write_bytes(b"theirs")
    for folder in ("deletions", "work"):
        if name == f"index/{folder}":
            (target / f"{ID}.arrow").write_bytes(b"theirs")
    # What the other index has is unused by this one, which would remove it.
    build_index(hostile / "dataset", hostile / "index", rebuild=True)
    before = files_of(victim)
    for operation in OPERATIONS:
        link(hostile / name, target)
        try:
            operation(hostile)
        except FaceTroveError as error:
            assert len(str(error).splitlines()) == 1
        assert files_of(victim) == before, operation
    assert len(found_ids(victim / "index")) == 20


def a_part(folder: Path) -> Path:
    return next((folder / "dataset" / "faces").iterdir())


def a_file_of_a_segment(folder: Path) -> Path:
    return next((folder / "index" / "segments").iterdir()) / "faces.arrow"


def a_file_of_nobody(folder: Path) -> Path:
    return folder / "dataset" / "notes"


def a_folder_of_nobody(folder: Path) -> Path:
    return folder / "index" / "segments" / "old"


@pytest.mark.parametrize(
    "place", [a_part, a_file_of_a_segment, a_file_of_nobody, a_folder_of_nobody]
)
def test_a_purge_that_meets_a_link_fails_and_says_so(
    hostile: Path, tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = place(hostile)
    if path.exists():
        shutil.move(path, elsewhere / "moved")
        path.symlink_to(elsewhere / "moved")
    else:
        path.symlink_to(elsewhere)
    before = files_of(hostile)
    with pytest.raises(LinkFoundError, match=f"{path} is a link"):
        purge(hostile / "dataset", hostile / "index")
    assert files_of(hostile) == before


def test_verify_tells_a_link_and_reads_nothing_outside(hostile: Path, tmp_path: Path) -> None:
    path = a_file_of_a_segment(hostile)
    shutil.move(path, tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    (problem,) = verify_index(hostile / "index").problems
    assert f"{path} is a link" in problem
    build_index(hostile / "dataset", hostile / "index", rebuild=True)
    assert verify_index(hostile / "index").problems == ()
    assert read_current(hostile / "index").contract == CONTRACT
