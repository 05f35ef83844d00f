"""People as files: CSV out and in, XMP sidecars, and contact sheets."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import PIL.Image
import pytest

import facetrove as ft
from faces.core.errors import WrongUsageError
from facetrove.people.sidecars import NamedFace, sidecar_text
from tests.support.command import require_message, run_facetrove
from tests.support.people import album, face_id, group

pytestmark = pytest.mark.usefixtures("own_folders")

PHOTOS = [(None, [0]), (None, [0, 1]), (None, [1]), (None, [2]), (None, [2])]
FACES = {
    face_id(n, k): who + 1 for n, (_, faces) in enumerate(PHOTOS) for k, who in enumerate(faces)
}
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
MWG = "{http://www.metadataworkinggroup.com/schemas/regions/}"
AREA = "{http://ns.adobe.com/xmp/sType/Area#}"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Faces of people 1 to 3, of whom two have names and one is confirmed."""
    dataset = album(tmp_path / "d", PHOTOS)
    group(dataset, FACES)
    people = ft.open_people(dataset, author="ann")
    people.name(1, '=Ann, "A" Lee')
    people.name(2, "Bob <Ray>")
    people.confirm(1)
    people.split(3, face_id(4))
    return dataset


def who(dataset: Path) -> dict[str, tuple[int, str | None, str | None]]:
    rows = ft.open_people(dataset).faces().to_list()
    return {row["face_id"]: (row["person_id"], row["person"], row["said_by"]) for row in rows}


def test_an_export_imports_into_a_dataset_without_a_book(dataset: Path, tmp_path: Path) -> None:
    finished = run_facetrove("people", "export", dataset, tmp_path / "people.csv")
    assert finished.stdout == f"{tmp_path}/people.csv: 6 faces\n"
    assert "'=Ann" in (tmp_path / "people.csv").read_text()  # no formula
    bare = tmp_path / "bare"
    shutil.copytree(dataset, bare)
    shutil.rmtree(bare / "people")
    finished = run_facetrove("people", "import", bare, tmp_path / "people.csv", "--author", "ann")
    assert finished.stdout.startswith("3 faces said by people, and 3 by a machine, of 4 people\n")
    assert who(bare) == who(dataset)
    again = ft.open_people(bare).import_csv(tmp_path / "people.csv")
    assert (again.num_faces, again.num_grouped, again.decision) == (0, 0, None)


def test_an_import_by_name_is_one_decision(dataset: Path, tmp_path: Path) -> None:
    before = who(dataset)
    path = tmp_path / "list.csv"
    path.write_text(f"person,face_id\nbob <ray>,{face_id(3)}\nCy Ott,{face_id(4)}\n,{face_id(0)}\n")
    done = ft.open_people(dataset, author="eve").import_csv(path)
    assert done.decision is not None
    assert (done.num_faces, done.num_people) == (2, 2)
    found = who(dataset)
    assert found[face_id(3)] == (2, "Bob <Ray>", "eve")
    assert found[face_id(4)][1:] == ("Cy Ott", "eve")
    assert found[face_id(4)][0] > 4
    assert {f: w for f, w in found.items() if f not in {face_id(3), face_id(4)}} == {
        f: w for f, w in before.items() if f not in {face_id(3), face_id(4)}
    }
    ft.undo(dataset, done.decision.decision_id)
    assert who(dataset) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("face,person\na,b\n", "needs a column face_id"),
        ("face_id,person\n", "names the person of no face"),
        ("face_id,person\nnobody,Ann\n", "has no face 'nobody'"),
        ("face_id,person_id\n{face},0\n", "line 2: '0' is no number of a person"),
        ("face_id,person_id\n{face},1e9\n", "'1e9' is no number of a person"),
        ("face_id,person\n{face},a\x07b\n", "is no name"),
        ('face_id,person\n{face},"a\n', "cannot be read as CSV"),
        ("face_id,person\n{face},\udcff\n", "cannot be read as CSV"),
    ],
)
def test_a_list_that_cannot_be_imported_changes_nothing(
    dataset: Path, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text.format(face=face_id(0)).encode(errors="surrogateescape"))
    before = who(dataset)
    require_message("people", "import", dataset, path, exit_code=2, says=[says])
    assert who(dataset) == before


def test_sidecars_name_the_regions_of_faces(dataset: Path, tmp_path: Path) -> None:
    finished = run_facetrove("people", "export", dataset, "--xmp", tmp_path / "xmp")
    assert finished.stdout == f"{tmp_path}/xmp: 3 sidecars\n"
    assert sorted(p.name for p in (tmp_path / "xmp").iterdir()) == [
        f"{number}.jpg.xmp" for number in range(3)
    ]
    root = ElementTree.parse(tmp_path / "xmp" / "1.jpg.xmp").getroot()
    regions = root.findall(f".//{RDF}li/{RDF}Description")
    assert [r.get(f"{MWG}Name") for r in regions] == ['=Ann, "A" Lee', "Bob <Ray>"]
    area = regions[1].find(f"{MWG}Area")
    assert area is not None  # the box is 10, 10, 8, 8 of 100 x 100
    assert [float(area.get(f"{AREA}{side}", "")) for side in "xywh"] == [0.14, 0.14, 0.08, 0.08]
    require_message(
        *("people", "export", dataset, "--xmp", tmp_path / "xmp"),
        exit_code=2,
        says=["is not empty"],
    )


def test_a_region_ends_with_the_photo() -> None:
    text = sidecar_text(100, 50, [NamedFace("Ann", (-10, 40, 30, 30))])
    assert 'stArea:x="0.100000" stArea:y="0.900000" stArea:w="0.200000" stArea:h="0.200000"' in text


def test_a_sheet_has_a_row_for_each_person(dataset: Path, tmp_path: Path) -> None:
    ft.open_people(dataset).hide(2)
    finished = run_facetrove("people", "sheet", dataset, tmp_path / "people.html")
    assert finished.stdout == f"contact sheet: {tmp_path}/people.html\n"
    page = (tmp_path / "people.html").read_text()
    assert page.count("<section>") == 3
    assert page.count("class=doubt") == 1
    assert "1  =Ann, &quot;A&quot; Lee" in page
    assert "Bob" not in page
    (path,) = ft.open_people(dataset).write_sheet(tmp_path / "people.png", k=1)
    with PIL.Image.open(path) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(0xD9, 0x77, 0x06), (0x0A, 0x5F, 0xB4)} <= colours  # a doubtful face, and the first
    with pytest.raises(WrongUsageError, match="does not name a picture format"):
        ft.open_people(dataset).write_sheet(tmp_path / "people.txt")
    bare = album(tmp_path / "bare", PHOTOS)
    with pytest.raises(WrongUsageError, match="there are no people to draw"):
        ft.open_people(bare).write_sheet(tmp_path / "bare.png")
