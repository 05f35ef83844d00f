"""`facetrove columns`, and what embed, info and delete say of labels that differ."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from faces.dataset.columns import ListColumn
from facetrove.cli.columns import _alike
from facetrove.cli.csv_text import as_csv
from facetrove.cli.terminal import show_first
from tests.support.command import ONE_WORKER, require_message, run_facetrove


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """A folder with one photo at two places, differently labelled, and its dataset."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "photos").mkdir()
    for name in ("one.jpg", "two.jpg"):
        shutil.copy(demo_photos / "biden.jpg", folder / "photos" / name)
    rows = ["Path,Person,=Album", "photos/one.jpg,Ann,x", "photos/two.jpg,Bea,x"]
    (folder / "people.csv").write_text("\n".join(rows))
    finished = run_facetrove("embed", folder / "people.csv", folder / "d", *ONE_WORKER)
    assert finished.returncode == 0, finished.stderr
    assert "1 photo at several places with different values of person" in finished.stdout
    return folder


def test_columns_that_mean_one_are_told_as_lists_are_read() -> None:
    names = ("Caf\u00e9", "cafe\u0301", "album", "STRASSE", "stra\u00dfe ")
    found = [ListColumn(name, "string", 1, 1) for name in names]
    assert _alike(found) == [("Caf\u00e9", "cafe\u0301"), ("STRASSE", "stra\u00dfe ")]


@pytest.mark.parametrize(("limit", "last"), [(1, ["2 more"]), (3, []), (5, [])])
def test_the_first_of_many_items_are_printed(
    capsys: pytest.CaptureFixture[str], limit: int, last: list[str]
) -> None:
    show_first("abc", str.upper, limit, rest=lambda count: f"{count} more")
    assert capsys.readouterr().out.splitlines() == [*"ABC"[:limit], *last]


@pytest.mark.slow
def test_contradictory_labels_are_listed_as_text_json_and_csv(labelled: Path) -> None:
    info = ("info", labelled / "d", "--list", "contradictory")
    text = run_facetrove(*info).stdout.splitlines()
    assert [line.split("\t")[3] for line in text] == ["Ann", "Bea"]
    rows = json.loads(run_facetrove(*info, "--json").stdout)["contradictory"]
    assert [(row["column"], Path(row["uri"]).name, row["value"]) for row in rows] == [
        ("person", "one.jpg", "Ann"),
        ("person", "two.jpg", "Bea"),
    ]
    table = list(csv.DictReader(io.StringIO(run_facetrove(*info, "--csv").stdout)))
    assert [row["value"] for row in table] == ["Ann", "Bea"]
    require_message(
        *("info", labelled / "d", "--csv"), exit_code=2, says=["--list NAME"], json_too=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["person = 'Ann'", "person = 'Bea'"])
def test_delete_lists_contradictory_labels_first(labelled: Path, where: str) -> None:
    delete = ("delete", labelled / "d", "--where", where, "--dry-run")
    finished = run_facetrove(*delete)
    assert "would delete 1 face" in finished.stdout
    assert "labelled differently" in finished.stderr
    assert "person Ann: " in finished.stderr and "person Bea: " in finished.stderr
    rows = json.loads(run_facetrove(*delete, "--json").stdout)["contradictory"]
    assert [row["value"] for row in rows] == ["Ann", "Bea"]


def test_columns_are_listed_renamed_and_removed(labelled: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "d"
    shutil.copytree(labelled / "d", dataset)
    listed = json.loads(run_facetrove("columns", dataset, "--json").stdout)["columns"]
    assert [(column["name"], column["num_photos"]) for column in listed] == [
        ("person", 2),
        ("=Album", 2),
        ("taken", 2),
    ]
    require_message("columns", dataset, "--remove", "=Album", exit_code=2, says=["give --yes"])
    removed = run_facetrove("columns", dataset, "--remove", "=album", "--yes")
    assert removed.returncode == 0 and "=Album" not in removed.stdout
    assert "who" in run_facetrove("columns", dataset, "--rename", "person=who").stdout
    refused = run_facetrove("columns", dataset, "--rename", "who=\udcff")
    assert refused.returncode == 2 and "no valid Unicode" in refused.stderr
    require_message(
        *("columns", dataset, "--remove", "person", "--yes"), exit_code=2, says=["it has who"]
    )


def test_a_row_that_was_removed_takes_its_values_away_if_lists_are_complete(
    labelled: Path, tmp_path: Path
) -> None:
    shorter = tmp_path / "people.csv"
    shorter.write_text(f"path,person\n{labelled}/photos/one.jpg,Ann\n")
    embed = ("embed", labelled / "photos", shorter, labelled / "d", "--dry-run", "--json")
    assert json.loads(run_facetrove(*embed).stdout)["num_changed"] == 0
    assert json.loads(run_facetrove(*embed, "--complete-lists").stdout)["num_changed"] == 1


def test_photos_of_the_same_content_are_listed(labelled: Path) -> None:
    listing = run_facetrove("info", labelled / "d", "--list", "copies", "--json")
    rows = json.loads(listing.stdout)["copies"]
    assert [Path(row["uri"]).name for row in rows] == ["one.jpg", "two.jpg"]
    assert run_facetrove("info", labelled / "d", "--list", "deleted").stdout == ""


def test_cells_of_a_csv_are_no_formulas() -> None:
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]
    text = as_csv(["=x", "n"], [{"=x": value, "n": -1} for value in dangerous])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["'=x", "n"]
    assert [row[0] for row in rows[1:]] == [f"'{value}" for value in dangerous]
    assert {row[1] for row in rows[1:]} == {"-1"}
    assert as_csv(["a"], [{"a": ["=x", "y"]}, {}]) == 'a\r\n\'=x; y\r\n""\r\n'
