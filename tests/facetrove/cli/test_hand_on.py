"""What `facetrove search` hands on: listings, CSV, sheets and copies of photos."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import PIL.Image
import pytest

from tests.support.command import ONE_WORKER, require_message, run_facetrove


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Path:
    """An index of three labelled photos."""
    folder = tmp_path_factory.mktemp("hand-on")
    rows = [
        "path,person,Album,taken",
        *(
            f"{demo_photos / name},{person},{album},{taken}"
            for name, person, album, taken in (
                ("biden.jpg", "=Joe", "Wahl Österreich", "2013-01-20"),
                ("obama2.jpg", "Barack", "Wahl Österreich", "2012-06-01"),
                ("obama3.jpg", "Barack", "Other", "2012-12-06"),
            )
        ),
    ]
    (folder / "people.csv").write_text("\n".join(rows))
    for words in (
        ("embed", folder / "people.csv", folder / "d", *ONE_WORKER),
        ("index", folder / "d", folder / "i"),
    ):
        finished = run_facetrove(*words)
        assert finished.returncode == 0, finished.stderr
    return folder / "i"


@pytest.mark.slow
def test_faces_are_listed_by_a_filter_alone(index: Path, tmp_path: Path) -> None:
    words = ("search", index, "--where", "person = 'Barack'", "--columns", "album,Taken")
    finished = run_facetrove(*words)
    assert finished.returncode == 0, finished.stderr
    title, head, *rows = finished.stdout.splitlines()
    assert title == "2 faces match the filter"
    assert head.split()[-5:] == ["size", "person", "Album", "taken", "photo"]
    assert "Barack  Wahl Österreich  2012-06-01  " in rows[0] and rows[0].endswith("obama2.jpg")
    faces = json.loads(run_facetrove(*words, "--json").stdout)["faces"]
    assert [face["metadata"]["taken"] for face in faces] == ["2012-06-01", "2012-12-06"]
    out = tmp_path / "out"
    handed = run_facetrove(*words, "--copy-to", out, "--sheet", tmp_path / "sheet.html")
    assert f"copied 2 photos to {out}" in handed.stdout
    assert sorted(path.name for path in out.iterdir()) == ["obama2.jpg", "obama3.jpg"]
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "<span>Wahl Österreich</span><span>2012-06-01</span>" in page
    assert page.count("<figure>") == 2


def test_matches_are_handed_on_as_csv_sheet_and_copies(
    index: Path, probe_photo: Path, tmp_path: Path
) -> None:
    sheet, out = tmp_path / "sheet.png", tmp_path / "out"
    words = ("search", index, probe_photo, "-k", "3")
    finished = run_facetrove(*words, "--csv", "--sheet", sheet, "--copy-to", out)
    assert finished.returncode == 0, finished.stderr
    rows = list(csv.DictReader(io.StringIO(finished.stdout)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert {row["person"] for row in rows} == {"Barack", "'=Joe"}
    assert all(Path(row["folder"], row["name"]) == Path(row["uri"]) for row in rows)
    assert float(rows[0]["similarity"]) > 0.3
    assert len(list(out.iterdir())) == 3
    with PIL.Image.open(sheet) as picture:
        assert picture.width > 4 * 160
    only = run_facetrove(*words, "--csv", "--columns", "album").stdout.splitlines()[0]
    assert only.endswith("photo_id,Album")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--where true --columns nothing", "no column 'nothing'; the photos have person"),
        ("--where true --csv --json", "leave one of them out"),
        ("--where true --fpir 0.1", "--fpir compares with a face"),
        ("--where true --together", "--together compares with a face"),
        ("--where true --copy-to OUT", "is no empty folder"),
        ("--where true --sheet OUT/photo.jpg", "is no contact sheet"),
        ("--where true --copy-to s3://bucket/out", "is an address"),
        ("", "give either a photo to search for"),
    ],
)
def test_what_cannot_be_handed_on_is_said_first(
    index: Path, tmp_path: Path, words: str, says: str
) -> None:
    (tmp_path / "photo.jpg").touch()
    named = [word.replace("OUT", str(tmp_path)) for word in words.split()]
    require_message("search", index, *named, exit_code=2, says=[says], json_too=False)


@pytest.mark.lasting
@pytest.mark.slow
def test_a_photo_of_a_crowd_has_a_sheet(index: Path, demo_photos: Path, tmp_path: Path) -> None:
    tile = PIL.Image.open(demo_photos / "biden.jpg").convert("RGB")
    tile.thumbnail((250, 250))
    crowd = PIL.Image.new("RGB", (10 * tile.width, 8 * tile.height))
    for place in range(80):
        crowd.paste(tile, (place % 10 * tile.width, place // 10 * tile.height))
    crowd.save(tmp_path / "crowd.jpg", quality=92)
    words = ("search", index, tmp_path / "crowd.jpg", "-k", "1", "--sheet", tmp_path / "s.jpg")
    finished = run_facetrove(*words)
    assert finished.returncode == 0, finished.stderr
    with PIL.Image.open(tmp_path / "s.jpg") as picture:
        assert max(picture.size) <= 8000
