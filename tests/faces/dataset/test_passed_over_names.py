"""The names of what a run passed over: moved by a relocation, removed by a purge."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from faces.core.errors import CorruptFileError
from faces.dataset.passed_over_names import move_passed_over, write_passed_over
from faces.dataset.store import Dataset
from faces.photos.passed_over import PASSED_OVER_SCHEMA
from faces.photos.places import Place
from facetrove.cli.info_lists import ROWS_AT_ONCE
from indexer.purge import purge
from tests.support.command import require_message, run_facetrove
from tests.support.small_collections import Collection, Photo


def passed_over(*uris: str) -> pa.Table:
    rows = [("other_ending", ".nef", uri) for uri in uris]
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table(list(map(pa.array, columns)), schema=PASSED_OVER_SCHEMA)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    collection = Collection(tmp_path / "d")
    collection.embed({"/old/a.jpg": Photo(1)})
    dataset = Dataset.open(collection.path)
    uris = ("/old/b.nef", "/older/c.nef", "tar://d.nef::/old/e.tar", "/old/f.nef")
    write_passed_over(dataset.folder, passed_over(*uris))
    return dataset


def named(dataset: Dataset) -> list[str] | None:
    table = dataset.passed_over()
    return None if table is None else table["uri"].to_pylist()


def test_a_relocation_renames_what_lies_in_the_place(dataset: Dataset) -> None:
    for _ in range(2):  # a relocation that was stopped is repeated
        move_passed_over(dataset.folder, Place("/old"), Place("/new"))
        assert named(dataset) == [
            *("/new/b.nef", "/new/f.nef", "/older/c.nef"),
            "tar://d.nef::/new/e.tar",
        ]


def test_the_command_that_relocates_renames_them(dataset: Dataset) -> None:
    assert run_facetrove("relocate", dataset.path, "/old", "/new").returncode == 0
    assert "/new/b.nef" in (named(dataset) or [])


def test_a_purge_removes_the_names_and_knows_the_file(dataset: Dataset) -> None:
    report = purge(dataset.path, [])
    assert report.unknown_files == ()
    assert named(dataset) is None
    require_message(
        "info", dataset.path, "--list", "passed-over", exit_code=2, says=["does not say"]
    )


def test_a_corrupt_file_of_names_is_refused_by_name(dataset: Dataset) -> None:
    path = dataset.path / "passed_over.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match=r"passed_over\.parquet is corrupt"):
        dataset.passed_over()


def test_a_list_longer_than_what_is_read_at_once_is_printed_whole(dataset: Dataset) -> None:
    names = [f"/x/{number:06d}.nef" for number in range(ROWS_AT_ONCE + 3)]
    write_passed_over(dataset.folder, passed_over(*names))
    asked = ("info", dataset.path, "--list", "passed-over")
    text = run_facetrove(*asked).stdout.splitlines()
    assert text == [f"other_ending\t.nef\t{name}" for name in names]
    rows = json.loads(run_facetrove(*asked, "--json").stdout)["passed_over"]
    assert [row["uri"] for row in rows] == names
    assert len(run_facetrove(*asked, "--csv").stdout.splitlines()) == len(names) + 1
    write_passed_over(dataset.folder, passed_over())
    assert json.loads(run_facetrove(*asked, "--json").stdout)["passed_over"] == []
