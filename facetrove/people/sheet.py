"""A contact sheet of people: a row for each, with the faces that are most doubtful marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from faces.core.errors import WrongUsageError
from faces.core.words import counted
from faces.models.face import Box
from facetrove.people.tables import PeoplesFaces
from search.contact_sheet import SheetCell, face_tile_of, write_bands
from search.sheet_files import require_picture_name
from search.shown_face import place_of

DOUBTFUL_SHOWN, OTHERS_SHOWN = 3, 3
"""Faces of a row beside the first: the most doubtful ones, then the least doubtful of the rest."""

MIN_DOUBT = 0.1
"""Doubt from which a face is marked: of others, a look is not worth the time."""


def write_people_sheet(faces: PeoplesFaces, path: Path, *, k: int) -> list[Path]:
    """Draw a contact sheet of people; see `People.write_sheet`."""
    require_picture_name(path)
    people = faces.people_table(hidden=False, ignored=False).slice(0, k).to_pylist()
    if not people:
        raise WrongUsageError(
            "there are no people to draw; `facetrove people group DATASET INDEX` finds them"
        )
    return write_bands(path, [_band(faces, person) for person in people])


def _band(faces: PeoplesFaces, person: dict[str, Any]) -> list[SheetCell]:
    """Return the cells of the row of a person, of whom `PeoplesFaces.people_table` has a row."""
    number_of, name_of = person["person_id"], person["person"]
    title = f"{number_of}" if name_of is None else f"{number_of}  {name_of}"
    photos = counted(person["num_photos"], "photo")
    size = f"{counted(person['num_faces'], 'face')}, {photos}"
    rows = np.flatnonzero(faces.people == number_of)
    table = faces.faces.take(rows)
    doubts = faces.doubts(table["face_id"]).to_numpy(zero_copy_only=False)
    doubts = np.where(np.isnan(doubts.astype(np.float64)), 0, doubts)
    order = np.argsort(doubts, kind="stable")
    first, rest = order[0], order[1:]
    doubtful = [n for n in rest[::-1][:DOUBTFUL_SHOWN].tolist() if doubts[n] >= MIN_DOUBT]
    others = [n for n in rest.tolist() if n not in doubtful][:OTHERS_SHOWN]
    cells = []
    for number in (int(first), *doubtful, *others):
        face = table.slice(number, 1).to_pylist()[0]
        name, folder = place_of(face["uri"])
        tile = face_tile_of(face["uri"], Box(*face["box"]))
        if number == first:
            cells.append(SheetCell(tile, title, (size, name), is_probe=True))
        else:
            doubt = f"doubt {doubts[number]:.2f}"
            cells.append(SheetCell(tile, doubt, (name, folder), is_marked=number in doubtful))
    return cells
