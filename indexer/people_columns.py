"""The people of an index's faces, as the people book of its dataset has them.

The index itself stores who is in the *photo*, by photo lists. Where a dataset has a people book,
the columns of a face are

    person         the name of the person whose face it is; null: unnamed, or nobody knows
    person_id      the number of that person; null: nobody knows
    photo_person   who is in the photo, as its list says

"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.dataset.people_book import PeopleView
from faces.photos.metadata import PERSON, places_column
from indexer.faces_file import with_columns

PERSON_ID, PHOTO_PERSON = "person_id", "photo_person"

COLUMNS = (PERSON, PERSON_ID, PHOTO_PERSON)
"""The columns of a face that are of the people book, or make way for it."""


@dataclass(frozen=True, eq=False)
class GroupedRows:
    """The numbers of people by the machine's grouping, of whole tables of faces.

    Attributes:
        by_table: (n,) numbers of n faces, by the name of the table and the grouping's file.
    """

    by_table: dict[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)

    def of(self, view: PeopleView, face_ids: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
        """Return the numbers of the faces of a table, which are kept for the next time.

        Args:
            view: what the people book says.
            face_ids: (n,) string.
            name: name of the table, such as the id of a segment; "": nothing is kept.
        """
        groups = "" if view.seen.groups is None else view.seen.groups.name
        found = self.by_table.get((name, groups))
        if found is None:
            found = view.grouped_numbers(face_ids)
            if name:
                for old in [key for key in self.by_table if key[1] != groups]:
                    del self.by_table[old]
                self.by_table[name, groups] = found
        return found


@dataclass(frozen=True, eq=False)
class PeopleColumns:
    """The columns about people of faces, by one read of the people book.

    Attributes:
        view: what the people book said.
        grouped: what was computed of the grouping before.
    """

    view: PeopleView
    grouped: GroupedRows = field(default_factory=GroupedRows)
    _known: dict[str, int] = field(default_factory=dict)

    def metadata(self, stored: pa.Schema) -> pa.Schema:
        """Return the metadata columns of faces, of those that an index or a dataset stores."""
        kind = stored.field(PERSON).type if PERSON in stored.names else pa.string()
        ours = [(PERSON, pa.string()), (PERSON_ID, pa.int64()), (PHOTO_PERSON, kind)]
        others = [column for column in stored if column.name not in COLUMNS]
        return pa.schema([*(pa.field(*column) for column in ours), *others])

    def table(self, faces: pa.Table, name: str = "") -> pa.Table:
        """Return faces with the columns of the people book.

        Args:
            faces: n faces, with the columns that are stored of them.
            name: name of the table, see `GroupedRows.of`.
        """
        renamed = {PERSON: PHOTO_PERSON, places_column(PERSON): places_column(PHOTO_PERSON)}
        faces = faces.rename_columns([renamed.get(n, n) for n in faces.column_names])
        faces = with_columns(faces, pa.schema([(PHOTO_PERSON, pa.string())]))
        grouped = self.grouped.of(self.view, faces["face_id"], name)
        numbers = self.view.numbers_of(faces["face_id"], grouped)
        faces = faces.append_column(PERSON, self.view.names_of(numbers))
        return faces.append_column(PERSON_ID, pa.array(numbers, mask=numbers == 0))

    def look_up(self, face_ids: Iterable[str]) -> None:
        """Read the people of faces of which `values` will be asked one by one."""
        new = [face for face in dict.fromkeys(face_ids) if face not in self._known]
        if new:
            numbers = self.view.numbers_of(pa.chunked_array([pa.array(new, pa.string())]))
            self._known.update(zip(new, numbers.tolist(), strict=True))

    def values(self, column: str, face_ids: Sequence[str]) -> list[str | None] | list[int | None]:
        """Return the names (`person`) or the numbers (`person_id`) of the people of faces."""
        self.look_up(face_ids)
        numbers = [self._known[face] or None for face in face_ids]
        if column == PERSON_ID:
            return numbers
        names = {number: self.view.name_of(number) for number in {*numbers} if number is not None}
        return [None if number is None else names[number] for number in numbers]


def mentions_people(where: str) -> bool:
    """Return whether a filter may use one of `COLUMNS`."""
    return PERSON in where.casefold()
