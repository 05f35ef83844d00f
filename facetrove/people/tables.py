"""Tables of the people of a dataset: its people, their faces, and the photos that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.tables import Tabular
from faces.core.words import counted
from faces.dataset.people_book import PeopleView
from faces.dataset.store import Dataset
from faces.photos.metadata import TAKEN

FACE_COLUMNS = ("face_id", "photo_id", "uri", "box")


@dataclass(frozen=True, eq=False)
class PeopleTable(Tabular):
    """Rows about people, as `People` returns them.

    Attributes:
        table: the rows.
    """

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<{counted(len(self.table), 'row')}: {', '.join(self.table.column_names)}>"

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.table


@dataclass(frozen=True, eq=False)
class PeoplesFaces:
    """The faces of a dataset that are not deleted, with their people. Use `of`.

    Attributes:
        view: what the people book says.
        faces: n faces: face_id, photo_id, uri, box, and taken where photos have it.
        people: (n,) number of each face's person; 0 where nobody knows.
    """

    view: PeopleView
    faces: pa.Table
    people: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, view: PeopleView, *more: str) -> PeoplesFaces:
        """Read the faces of a dataset.

        Args:
            dataset: the dataset.
            view: what its people book says.
            more: further columns to read.
        """
        taken = [TAKEN] if TAKEN in dataset.metadata.names else []
        faces = dataset.faces([*FACE_COLUMNS, *taken, *more]).to_arrow()
        return cls(view, faces, view.numbers_of(faces["face_id"]))

    def people_table(self, *, hidden: bool, ignored: bool) -> pa.Table:
        """Return a row for each person, largest first; see `People.list`."""
        faces = self.faces.select(["photo_id"]).append_column("person_id", pa.array(self.people))
        taken = self._taken()
        faces = faces.append_column("taken", taken)
        faces = faces.filter(pc.greater(faces["person_id"], 0))
        found = faces.group_by("person_id").aggregate(
            [
                ("photo_id", "count"),
                ("photo_id", "count_distinct"),
                ("taken", "min"),
                ("taken", "max"),
            ]
        )
        found = found.rename_columns(["person_id", "num_faces", "num_photos", "first", "last"])
        numbers = found["person_id"].to_numpy()
        said = [self.view.state.said_of(number) for number in numbers.tolist()]
        named_by = [
            self.view.named_by(n) if n in self.view.names else None for n in numbers.tolist()
        ]
        columns = {
            "person": self.view.names_of(numbers),
            "named_by": pa.array(named_by, pa.string()),
            "hidden": pa.array([one.hidden for one in said], pa.bool_()),
            "ignored": pa.array([one.ignored for one in said], pa.bool_()),
        }
        for name, values in columns.items():
            found = found.append_column(name, values)
        if not hidden:
            found = found.filter(pc.invert(found["hidden"]))
        if not ignored:
            found = found.filter(pc.invert(found["ignored"]))
        names = ["person_id", "person", "named_by", "num_faces", "num_photos", "first", "last"]
        found = found.select([*names, "hidden", "ignored"])
        return found.sort_by([("num_faces", "descending"), ("person_id", "ascending")])

    def faces_table(self, person: int | None) -> pa.Table:
        """Return a row for each face of a person, or of all; see `People.faces`."""
        rows = np.flatnonzero(self.people == person if person is not None else self.people >= 0)
        faces, people = self.faces.take(pa.array(rows)), self.people[rows]
        ids = faces["face_id"].to_pylist()
        placed = self.view.model.query("SELECT face, person, key FROM placed")
        authors = {d.key: d.author for d in self.view.seen.decisions}
        root = self.view.state.root
        by_human = {face: (root(number), authors[key]) for face, number, key in placed}
        said_by = [
            by_human[face][1]
            if face in by_human and by_human[face][0] == number
            else ("machine" if number else None)
            for face, number in zip(ids, people.tolist(), strict=True)
        ]
        numbers = pa.array(people, mask=people == 0)
        table = faces.select(["face_id"])
        table = table.append_column("person_id", numbers)
        table = table.append_column("person", self.view.names_of(people))
        table = table.append_column("said_by", pa.array(said_by, pa.string()))
        table = table.append_column("doubt", self.doubts(faces["face_id"]))
        for name in ("uri", "box"):
            table = table.append_column(name, faces[name])
        return table

    def photos_table(self, wanted: Collection[int], unwanted: Collection[int]) -> pa.Table:
        """Return a row for each photo that shows all of some people and none of others."""
        order = pc.sort_indices(self.faces.select(["uri", "face_id"]), [("uri", "ascending")])
        uris = self.faces["uri"].take(order).to_pylist()
        photo_ids = self.faces["photo_id"].take(order).to_pylist()
        shown: dict[str, list[int]] = {}
        of_photo: dict[str, str] = {}
        for uri, photo, person in zip(
            uris, photo_ids, self.people[order.to_numpy()].tolist(), strict=True
        ):
            shown.setdefault(uri, []).append(person)
            of_photo[uri] = photo
        need, avoid = set(wanted), set(unwanted)
        found = {
            uri: people
            for uri, people in shown.items()
            if need <= set(people) and not avoid & set(people)
        }
        numbers = [sorted({person for person in people if person}) for people in found.values()]
        names = [[self.view.names.get(n) or str(n) for n in people] for people in numbers]
        return pa.table(
            {
                "uri": pa.array(list(found), pa.string()),
                "photo_id": pa.array([of_photo[uri] for uri in found], pa.string()),
                "person_ids": pa.array(numbers, pa.list_(pa.int64())),
                "people": pa.array(names, pa.list_(pa.string())),
                "num_unknown": pa.array([p.count(0) for p in found.values()], pa.int64()),
            }
        )

    def _taken(self) -> pa.ChunkedArray:
        """Return when each face's photo was taken; null where that is no date or time."""
        if TAKEN in self.faces.column_names and pa.types.is_temporal(self.faces[TAKEN].type):
            return self.faces[TAKEN]
        return pa.chunked_array([pa.nulls(len(self.faces), pa.timestamp("us"))])

    def doubts(self, face_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return how doubtful the grouping is of each face; null where it does not have it."""
        table = self.view.groups.table.combine_chunks()
        row = pc.index_in(face_ids, value_set=table["face_id"].combine_chunks())
        return table["doubt"].take(row)


def companions(photos: pa.Table, wanted: Collection[int], view: PeopleView) -> pa.Table:
    """Return who else is in photos, most often first: person_id, person, num_photos.

    Args:
        photos: rows of `PeoplesFaces.photos_table`.
        wanted: numbers of people who are left out.
        view: what the people book says.
    """
    counts = Counter(n for people in photos["person_ids"].to_pylist() for n in people)
    rows: Sequence[tuple[int, int]] = [
        (number, count)
        for number, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if number not in wanted
    ]
    return pa.table(
        {
            "person_id": pa.array([number for number, _ in rows], pa.int64()),
            "person": pa.array([view.names.get(number) for number, _ in rows], pa.string()),
            "num_photos": pa.array([count for _, count in rows], pa.int64()),
        }
    )
