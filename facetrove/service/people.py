"""Who is who in the gallery: the roster of its people, and the decisions about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from faces.dataset.people_book import PeopleBook
from faces.dataset.people_decisions import Decision
from faces.photos.metadata import TAKEN
from facetrove.people.questions import Embeddings, SimilarPeople
from facetrove.people.roster import Roster
from facetrove.people.roster_faces import RosterFaces, Rows
from facetrove.service.gallery import Gallery
from facetrove.service.refusals import RefusedError, no_such_face
from indexer.snapshot import Snapshot
from indexer.vectors import Vectors
from search.searcher import FaceSearcher

ATTEMPTS = 5
"""How often the people book is read again when it has changed meanwhile."""

BLOCK_ROWS = 1 << 15
"""Embeddings that are read at once."""

MAX_TOLD = 100
"""People whom a decision was about that are told as they are now."""

Decide = Callable[[PeopleBook], Decision]
"""A function that decides, such as one of `faces.dataset.people_verbs`."""


@dataclass(frozen=True, eq=False)
class PeopleNow:
    """The people of one version of the index, by one state of the people book.

    Attributes:
        searcher: the version.
        roster: the people; its rows are the positions of faces in the version.
    """

    searcher: FaceSearcher
    roster: Roster

    @cached_property
    def snapshot(self) -> Snapshot:
        """The version with the people of its faces."""
        return self.searcher.snapshot

    @property
    def state(self) -> str:
        """A text that changes whenever the people do."""
        seen = self.roster.view.seen
        last = seen.decisions[-1].key if seen.decisions else ""
        groups = "" if seen.groups is None else seen.groups.name
        return f"{self.searcher.manifest.version} {len(seen.decisions)} {last} {groups}"

    def slot(self, person: int) -> int:
        """Return the slot of the person whom a number means.

        Raises:
            RefusedError: there is no such person.
        """
        slot = self.roster.slot_of(person)
        if slot is None:
            raise no_such_person(person)
        return slot


class ServedPeople:
    """The people of the gallery. Its methods may be called from any thread.

    Args:
        gallery: the gallery, whose dataset is here.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._making = threading.Lock()
        self._deciding = threading.Lock()
        self._kept: PeopleNow | None = None
        self._comparing = threading.Lock()
        self._similar: tuple[RosterFaces, SimilarPeople] | None = None

    def now(self) -> PeopleNow:
        """Return the people as they are now.

        It takes milliseconds, but once for each version of the index and each grouping, when it
        takes about two seconds for a million faces.

        Raises:
            CorruptFileError: a file of the people book is corrupt.
        """
        with self._making:
            for _ in range(ATTEMPTS - 1):
                now = self._now()
                if _book_of(now.searcher).view() is now.roster.view:
                    return now
            return self._now()

    def _now(self) -> PeopleNow:
        searcher, kept = self._gallery.current, self._kept
        book = _book_of(searcher)
        if kept is None or kept.searcher is not searcher:
            kept = PeopleNow(searcher, _made(searcher, book))
        roster = kept.roster.updated(book.view())
        if roster is not kept.roster:
            kept = PeopleNow(searcher, roster or _made(searcher, book))
        self._kept = kept
        return kept

    def questions(self, now: PeopleNow, k: int) -> list[dict[str, Any]]:
        """Return questions about who is the same, as documents.

        The first time for each version of the index and each grouping, all embeddings are read.

        Args:
            now: the people.
            k: maximum number of pairs.

        Raises:
            CorruptFileError: a file of the index is corrupt.
        """
        roster, embeddings = now.roster, _embeddings(now)
        with self._comparing:
            if self._similar is None or self._similar[0] is not roster.faces:
                self._similar = roster.faces, SimilarPeople.of(roster, embeddings)
            similar = self._similar[1]
        found = similar.questions(roster, embeddings, k)
        people = people_json(now, [slot for one in found for slot in (one.one, one.other)])
        return [
            {
                "one": one,
                "other": other,
                "similarity": question.similarity,
                "one_faces": now.snapshot.values("face_id", question.one_rows),
                "other_faces": now.snapshot.values("face_id", question.other_rows),
            }
            for question, one, other in zip(found, people[::2], people[1::2], strict=True)
        ]

    def decide(
        self,
        decide: Decide,
        author: str | None,
        *,
        next_id: str = "",
        people: Sequence[int] = (),
        faces: Sequence[str] = (),
    ) -> tuple[Decision, PeopleNow, list[int]]:
        """Have somebody decide something.

        Args:
            decide: a function that decides.
            author: who decides; None: the user of this process.
            next_id: id of the decision; one that stands in the book by now is not made again. "": a
                new one.
            people: numbers of the people that it is about.
            faces: face_ids of the faces that it is about.

        Returns:
            The decision, which is on the disk; the people as they are then; and the slots of the
            people whom it was about.

        Raises:
            RefusedError: a person or a face is not there.
            WrongUsageError: see `faces.dataset.people_verbs`.
            BusyError: another process keeps writing the people book.
        """
        with self._deciding:
            before = self.now()
            made = before.roster.view.by_id.get(next_id)
            if made is not None:
                return made, before, _about(made, before.roster, before.roster)
            for person in people:
                before.slot(person)
            rows = before.roster.faces.rows.of(faces)
            if (rows < 0).any():
                raise no_such_face()
            book = _book_of(before.searcher).by(author, next_id=next_id, known=_Known(before))
            decision = decide(book)
            after = self.now()
        return decision, after, _about(decision, before.roster, after.roster)


@dataclass(frozen=True)
class _Known:
    """Tells which faces there are, by the index."""

    people: PeopleNow

    def __call__(self, face_ids: Collection[str]) -> Collection[str]:
        ids = list(face_ids)
        rows = self.people.roster.faces.rows.of(ids)
        return [face for face, row in zip(ids, rows.tolist(), strict=True) if row >= 0]


def no_such_person(person: int) -> RefusedError:
    """Return the refusal of a number that is no person's."""
    return RefusedError(
        404, "no_such_person", f"there is no person {person}; POST /v1/people/list lists the people"
    )


def _book_of(searcher: FaceSearcher) -> PeopleBook:
    book = searcher.people_book
    if book is None:
        raise RefusedError(409, "no_dataset", "the dataset of the index has been moved away")
    return book


def _made(searcher: FaceSearcher, book: PeopleBook) -> Roster:
    """Make the roster of all faces of a version."""
    snapshot = searcher.snapshot
    names = ["face_id", "photo_id", "uri"]
    tables = [
        segment.faces.table.select(
            [*names, TAKEN] if TAKEN in segment.faces.schema.names else names
        )
        for segment in snapshot.segments
    ]
    empty = pa.schema([(name, pa.string()) for name in names]).empty_table()
    faces = pa.concat_tables([empty, *tables], promote_options="default")
    for _ in range(ATTEMPTS):
        view = book.view()
        found = RosterFaces.of(faces, view, snapshot.live())
        if book.view().seen.groups == view.seen.groups:
            break
    return Roster.of(found, faces["face_id"], view)


def _embeddings(now: PeopleNow) -> Embeddings:
    """Return the embeddings of the faces, as the index has them."""

    def blocks() -> Iterator[tuple[Rows, Vectors]]:
        start = 0
        for segment in now.snapshot.segments:
            for first in range(0, len(segment.vectors), BLOCK_ROWS):
                vectors = segment.vectors[first : first + BLOCK_ROWS]
                yield np.arange(start + first, start + first + len(vectors)), vectors
            start += len(segment.vectors)

    dimension = now.searcher.contract.dimension
    return Embeddings(dimension, blocks, now.snapshot.embeddings)


def _about(decision: Decision, before: Roster, after: Roster) -> list[int]:
    """Return the slots of the people whom a decision was about, those whom it names first."""
    view, told = after.view, [decision]
    while told[-1].verb == "undo" and told[-1].undoes in view.by_id:
        told.append(view.by_id[told[-1].undoes])
    people: dict[int, None] = dict.fromkeys(n for one in told for n in one.people)
    sql = "SELECT DISTINCT face FROM word WHERE key IN (*)"
    faces = [face for (face,) in view.model.query_many(sql, [one.key for one in told])]
    rows = after.faces.rows.of(faces)
    for roster in (before, after):
        if roster.faces is after.faces:
            slots = np.unique(roster.people_of(rows[rows >= 0]))
            people |= dict.fromkeys(roster.numbers[slots[slots >= 0]].tolist())
    slots_now = dict.fromkeys(after.slot_of(number) for number in people)
    return [slot for slot in slots_now if slot is not None][:MAX_TOLD]


def people_json(people: PeopleNow, slots: Sequence[int]) -> list[dict[str, Any]]:
    """Return people as documents."""
    roster, counts = people.roster, people.roster.counts
    covers = counts.cover[np.array(slots, np.int64)]
    shown = iter(people.snapshot.values("face_id", covers[covers >= 0]))
    return [
        {
            "person_id": number,
            "person": roster.names.names.get(number),
            "named_by": roster.view.named_by(number),
            "num_faces": int(counts.num_faces[slot]),
            "num_photos": int(counts.num_photos[slot]),
            "num_doubtful": int(counts.num_doubtful[slot]),
            "first": _time(roster, counts.first[slot]),
            "last": _time(roster, counts.last[slot]),
            "cover_face_id": next(shown) if cover >= 0 else None,
            "is_hidden": bool(roster.hidden[slot]),
            "is_ignored": bool(roster.ignored[slot]),
            "conflict": _conflict(roster, number),
        }
        for slot, number, cover in zip(
            slots, roster.numbers[np.array(slots, np.int64)].tolist(), covers, strict=True
        )
    ]


def _time(roster: Roster, taken: np.int64) -> str | None:
    time = roster.faces.time(int(taken))
    return None if time is None else str(time.isoformat())


def _conflict(roster: Roster, person: int) -> dict[str, Any] | None:
    """Return the last contradiction about a person as a document."""
    found = roster.conflicts.get(person)
    if found is None:
        return None
    earlier, later = (roster.view.by_key[key] for key in (found.earlier, found.later))
    return {
        "kind": found.kind,
        "earlier_id": earlier.decision_id,
        "earlier_author": earlier.author,
        "later_id": later.decision_id,
        "later_author": later.author,
        "face_id": found.face_id or None,
    }
