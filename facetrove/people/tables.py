"""Tables of the people of a dataset: its people, their faces, and the photos that show them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.tables import Tabular
from faces.core.words import counted
from faces.dataset.people_book import PeopleView
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.photos.metadata import TAKEN
from facetrove.people.questions import Embeddings, SimilarPeople
from facetrove.people.roster import Roster
from facetrove.people.roster_faces import RosterFaces, Rows
from facetrove.people.roster_pages import PeopleQuery, people_page
from facetrove.people.roster_photos import companions, photos_with, shown_in
from indexer.vectors import Vectors

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

    @cached_property
    def roster(self) -> Roster:
        """All people of these faces."""
        return Roster.of(RosterFaces.of(self.faces, self.view), self.faces["face_id"], self.view)

    def people_table(self, *, hidden: bool, ignored: bool) -> pa.Table:
        """Return a row for each person, largest first; see `People.list`."""
        roster, view = self.roster, self.view
        query = PeopleQuery(hidden=hidden, ignored=ignored, limit=len(roster.numbers))
        slots = np.array(people_page(roster, query).slots, np.int64)
        numbers, counts = roster.numbers[slots], roster.counts
        named_by = [view.named_by(number) for number in numbers.tolist()]
        return pa.table(
            {
                "person_id": numbers,
                "person": view.names_of(numbers),
                "named_by": pa.array(named_by, pa.string()),
                "num_faces": counts.num_faces[slots].astype(np.int64),
                "num_photos": counts.num_photos[slots].astype(np.int64),
                "first": roster.faces.times(counts.first[slots]),
                "last": roster.faces.times(counts.last[slots]),
                "hidden": roster.hidden[slots],
                "ignored": roster.ignored[slots],
            }
        )

    def faces_table(self, person: int | None) -> pa.Table:
        """Return a row for each face of a person, or of all; see `People.faces`."""
        rows = np.flatnonzero(self.people == person if person is not None else self.people >= 0)
        faces, people = self.faces.take(pa.array(rows)), self.people[rows]
        ids = faces["face_id"].to_pylist()
        placed = self.view.model.query("SELECT face, person, key FROM placed")
        root, by_key = self.view.state.root, self.view.by_key
        by_human = {
            face: (root(number), by_key[key].author)
            for face, number, key in placed
            if key in by_key  # others have come since this view was read
        }
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
        roster = self.roster
        slots = [roster.slot_of(number) for number in wanted]
        apart = [slot for number in unwanted if (slot := roster.slot_of(number)) is not None]
        there = [slot for slot in slots if slot is not None]
        photos = (
            shown_in(roster, photos_with(roster, there, apart)) if len(there) == len(slots) else []
        )
        return pa.table(
            {
                "uri": pa.array([photo.uri for photo in photos], pa.string()),
                "photo_id": pa.array([photo.photo_id for photo in photos], pa.string()),
                "person_ids": pa.array([p.person_ids for p in photos], pa.list_(pa.int64())),
                "people": pa.array(
                    [[*map(roster.shown_name, p.person_ids)] for p in photos], pa.list_(pa.string())
                ),
                "num_unknown": pa.array([photo.num_unknown for photo in photos], pa.int64()),
            }
        )

    def companions_table(self, wanted: Collection[int]) -> pa.Table:
        """Return a row for each person in photos with some people; see `People.companions`."""
        roster = self.roster
        slots = [roster.slot_of(number) for number in sorted(wanted)]
        found = [] if None in slots else companions(roster, [s for s in slots if s is not None])
        numbers = [int(roster.numbers[slot]) for slot, _ in found]
        return pa.table(
            {
                "person_id": pa.array(numbers, pa.int64()),
                "person": pa.array([roster.names.names.get(n) for n in numbers], pa.string()),
                "num_photos": pa.array([count for _, count in found], pa.int64()),
            }
        )

    def questions_table(self, dataset: Dataset, k: int) -> pa.Table:
        """Return a row for each pair of people who may be one; see `People.questions`."""
        roster, faces = self.roster, self.faces
        embeddings = _embeddings(dataset, roster)
        found = SimilarPeople.of(roster, embeddings).questions(roster, embeddings, k)
        table: dict[str, pa.Array] = {}
        for slots, rows, before in (
            ([q.one for q in found], [q.one_rows[0] for q in found], ""),
            ([q.other for q in found], [q.other_rows[0] for q in found], "other_"),
        ):
            numbers = roster.numbers[np.array(slots, np.int64)]
            shown = faces.take(pa.array(rows, pa.int64()))
            table |= {
                f"{before or 'person_'}id": numbers,
                before.rstrip("_") or "person": self.view.names_of(numbers),
                f"{before}face_id": shown["face_id"],
                f"{before}uri": shown["uri"],
            }
        sizes = [roster.counts.num_faces[[q.one, q.other]].min() for q in found]
        table["similarity"] = pa.array([q.similarity for q in found], pa.float64())
        table["num_faces"] = pa.array(sizes, pa.int64())
        return pa.table(table)

    def doubts(self, face_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return how doubtful the grouping is of each face; null where it does not have it."""
        table = self.view.groups.table.combine_chunks()
        row = pc.index_in(face_ids, value_set=table["face_id"].combine_chunks())
        return table["doubt"].take(row)


def _embeddings(dataset: Dataset, roster: Roster) -> Embeddings:
    """Return the embeddings of a roster's faces, as a dataset has them."""

    def blocks() -> Iterator[tuple[Rows, Vectors]]:
        for table in dataset.faces(["face_id", "embedding"]):
            rows = roster.faces.rows.of(table["face_id"].to_pylist())
            there = rows >= 0
            yield rows[there], embedding_matrix(table)[there]

    def of(wanted: Rows) -> Vectors:
        found = np.zeros((len(wanted), dataset.contract.dimension), np.float32)
        for rows, vectors in blocks():
            order = np.argsort(rows)
            places = np.minimum(np.searchsorted(rows[order], wanted), max(len(rows) - 1, 0))
            here = np.flatnonzero(rows[order][places] == wanted) if len(rows) else places[:0]
            found[here] = vectors[order[places[here]]]
        return found

    return Embeddings(dataset.contract.dimension, blocks, of)
