"""The people book of a dataset: who is who, by what humans decided and the machine grouped."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.storage import TEMPORARY_SUFFIX
from faces.core.words import counted
from faces.dataset.layout import PEOPLE_DIR, BookFile, dataset_folder
from faces.dataset.people_decisions import (
    Decision,
    checked_name,
    new_key,
    write_decision,
)
from faces.dataset.people_groups import Groups, remove_old_groups, write_groups
from faces.dataset.people_model import ModelState, PeopleModel
from faces.dataset.people_rules import Conflict, FaceWords, PeopleState, face_conflicts
from faces.dataset.store import Dataset

LEASE_SECONDS = 10.0
"""Seconds to wait for another decision to be written, which takes some milliseconds."""

MAX_DIGITS = 18
"""Digits of a person's number that are looked at: no person has a number of more."""

MANY_FACES = 20_000
"""From this number of faces on, their people are read from the file of the grouping at once, in
half a second for a million faces, and not face by face from the read model."""


KnownFaces = Callable[[Collection[str]], Collection[str]]
"""Returns which of some face_ids are faces of a dataset."""


@dataclass(frozen=True, eq=False)
class PeopleView:
    """The people of a dataset as one read of the book has them.

    Attributes:
        model: the read model, which is asked about faces.
        seen: what the read model had seen.
    """

    model: PeopleModel
    seen: ModelState

    @property
    def state(self) -> PeopleState:
        """What decisions say of people."""
        return self.seen.people

    @property
    def is_empty(self) -> bool:
        """Whether nobody has decided anything, and there has been no grouping."""
        return self.seen.groups is None and not self.seen.decisions

    @property
    def groups(self) -> Groups:
        """The machine's grouping."""
        return self.model.groups()

    def name_of(self, person: int) -> str | None:
        """Return a person's name: what humans decided, else what photo lists say; or None."""
        said = self.state.said_of(person)
        if said.named_by:
            return said.name
        listed = (self.seen.listed.get(number) for number in self.state.numbers(person))
        return next((name for name in listed if name is not None), None)

    def named_by(self, person: int) -> str | None:
        """Return who gave a person its name: the author, `list` for a photo list, or None."""
        said = self.state.said_of(person)
        if said.named_by:
            return self.by_key[said.named_by].author if said.name is not None else None
        return None if self.name_of(person) is None else "list"

    @cached_property
    def by_key(self) -> dict[str, Decision]:
        """The decisions, without their faces, by key."""
        return {decision.key: decision for decision in self.seen.decisions}

    @cached_property
    def by_id(self) -> dict[str, Decision]:
        """The decisions, without their faces, by id."""
        return {decision.decision_id: decision for decision in self.seen.decisions}

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each person who has one, by number; numbers of merged people are left out."""
        numbers = {*self.state.people, *map(self.state.root, self.seen.listed)}
        found = ((number, self.name_of(number)) for number in sorted(numbers))
        return {number: name for number, name in found if name is not None}

    def exists(self, person: int) -> bool:
        """Return whether a number is that of a person, who may be merged into another."""
        if person in self.state.mentioned or person in self.seen.listed:
            return True
        sql = "SELECT 1 FROM grouped WHERE person = ? LIMIT 1"
        return bool(self.model.query(sql, (min(person, 1 << 62),)))  # an integer of SQLite

    def find(self, person: int | str) -> int:
        """Return the number of the person who is named by number or name.

        Args:
            person: a number, of which a merged person's stands for the one who stayed; or a name,
                in any case.

        Raises:
            WrongUsageError: there is no such person, or several have the name.
        """
        if isinstance(person, int) or person.isdecimal():
            number = int(str(person)[:MAX_DIGITS])
            if not self.exists(number):
                raise WrongUsageError(
                    f"there is no person {number}; `facetrove people list` lists the people"
                )
            return self.state.root(number)
        found = self.with_name(person)
        if len(found) != 1:
            which = f"{len(found)} people are" if found else "nobody is"
            numbers = f": {', '.join(map(str, found[:20]))}; name one by number" if found else ""
            hint = numbers or "; `facetrove people list` lists the people"
            raise WrongUsageError(f"{which} called {person[:100]!r}{hint}")
        return found[0]

    def with_name(self, name: str) -> list[int]:
        """Return the numbers of the people who have a name, in any case, ascending."""
        key = _name_key(name)
        return [number for number, found in self.names.items() if _name_key(found) == key]

    def people_of(self, face_ids: Sequence[str]) -> list[int | None]:
        """Return the number of the person of each face; None where nobody knows."""
        numbers = self.own_numbers_of(face_ids)
        return [None if number is None else self.state.root(number) for number in numbers]

    def own_numbers_of(self, face_ids: Sequence[str]) -> list[int | None]:
        """Return the number that each face was given itself; see `PeopleState.number_of`."""
        words, grouped = self.model.words_about(face_ids), self.model.grouped(face_ids)
        unsaid = FaceWords(None)
        return [
            self.state.number_of(words.get(face, unsaid), grouped.get(face, (None,))[0])
            for face in face_ids
        ]

    def grouped_numbers(self, face_ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return (n,) the number of each face's person in the grouping; 0 where it has none.

        Args:
            face_ids: (n,) string.
        """
        if len(face_ids) < MANY_FACES:
            found = self.model.grouped(face_ids.to_pylist())
            numbers = [found.get(face, (0,))[0] for face in face_ids.to_pylist()]
            return np.array(numbers, np.int64)
        table = self.groups.table.combine_chunks()
        row = pc.index_in(face_ids, value_set=table["face_id"].combine_chunks())
        people = table["person"].take(row)
        return np.asarray(pc.fill_null(people, 0).to_numpy(), dtype=np.int64)

    def numbers_of(
        self, face_ids: pa.ChunkedArray, grouped: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return (n,) the number of each face's person; 0 where nobody knows.

        Args:
            face_ids: (n,) string.
            grouped: the result of `grouped_numbers`; None: it is computed.
        """
        return self._to_roots(self.all_own_numbers(face_ids, grouped))

    def all_own_numbers(
        self, face_ids: pa.ChunkedArray, grouped: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return (n,) the number that each face was given itself; 0 where nobody knows.

        Args:
            face_ids, grouped: as in `numbers_of`.
        """
        if len(face_ids) < MANY_FACES and grouped is None:
            found = self.own_numbers_of(face_ids.to_pylist())
            return np.array([number or 0 for number in found], np.int64)
        raw = (self.grouped_numbers(face_ids) if grouped is None else grouped).copy()
        placed, people, rejected = self._words
        if len(placed):
            row = pc.index_in(face_ids, value_set=placed)
            here = np.flatnonzero(pc.is_valid(row).to_numpy())
            raw[here] = people[row.drop_null().to_numpy()]
        if rejected:
            ids = pa.array(rejected, pa.string())
            row = pc.index_in(face_ids, value_set=ids)
            here = np.flatnonzero(pc.is_valid(row).to_numpy())
            faces = [ids[number].as_py() for number in row.drop_null().to_pylist()]
            raw[here] = [number or 0 for number in self.own_numbers_of(faces)]
        return raw

    def names_of(self, numbers: NDArray[np.int64]) -> pa.Array:
        """Return (n,) string, the name of each of n people; null for 0 and where there is none."""
        known = pa.array(list(self.names), pa.int64())
        names = pa.array(list(self.names.values()), pa.string())
        return names.take(pc.index_in(pa.array(numbers), value_set=known))

    def faces_of(self, person: int) -> list[str]:
        """Return the face_ids of a person, sorted; deleted ones may be among them."""
        numbers = self.state.numbers(person)
        grouped = self.model.query_many("SELECT face FROM grouped WHERE person IN (*)", numbers)
        placed = self.model.query_many("SELECT face FROM placed WHERE person IN (*)", numbers)
        ids = sorted({face for (face,) in [*grouped, *placed]})
        root = self.state.root(person)
        people = self.people_of(ids)
        return [face for face, number in zip(ids, people, strict=True) if number == root]

    def conflicts(self) -> list[Conflict]:
        """Return the contradictions between decisions, in the order of the later ones."""
        authors = {decision.key: decision.author for decision in self.seen.decisions}
        found = list(self.state.conflicts)
        if len(set(authors.values())) > 1:
            sql = (
                "SELECT face, key, person, theirs FROM word JOIN decision USING (key) WHERE "
                "in_force AND face IN (SELECT face FROM word GROUP BY face HAVING count(*) > 1) "
                "ORDER BY face, key"
            )
            words: dict[str, list[tuple[str, str, int, bool]]] = {}
            for face, key, person, theirs in self.model.query(sql):
                if key in authors:  # others have come since this view was read
                    words.setdefault(face, []).append((key, authors[key], person, bool(theirs)))
            for face, said in words.items():
                found += face_conflicts(self.state, face, said)
        return sorted(found, key=lambda c: (c.later, c.earlier, c.face_id))

    @cached_property
    def _words(self) -> tuple[pa.Array, NDArray[np.int64], list[str]]:
        """The faces that humans placed, the numbers of their people, and the faces rejected."""
        placed = self.model.query("SELECT face, person FROM placed")
        rejected = self.model.query("SELECT DISTINCT face FROM rejected")
        faces = pa.array([face for face, _ in placed], pa.string())
        return faces, np.array([p for _, p in placed], np.int64), [face for (face,) in rejected]

    @cached_property
    def _merged(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        merged = sorted(self.state.roots)
        roots = [self.state.roots[number] for number in merged]
        return np.array(merged, np.int64), np.array(roots, np.int64)

    def _to_roots(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) numbers with those of merged people replaced by the ones who stayed."""
        merged, roots = self._merged
        if not len(merged):
            return numbers
        place = np.minimum(np.searchsorted(merged, numbers), len(merged) - 1)
        return np.where(merged[place] == numbers, roots[place], numbers)


class PeopleBook:
    """The people book of a dataset, read and written.

    Args:
        dataset_dir: the dataset's folder.
        author: who decides; None: the user of this process.
    """

    def __init__(self, dataset_dir: Path, author: str | None = None) -> None:
        self.dataset_dir = dataset_dir
        self._author = author
        self._next_id = ""
        self._known: KnownFaces | None = None
        self.model = PeopleModel(dataset_dir)
        self._view: PeopleView | None = None

    def by(self, author: str | None, *, next_id: str = "", known: KnownFaces) -> PeopleBook:
        """Return the same book for one decision of somebody else; the read model is shared.

        Args:
            author: who decides; None: the user of this process.
            next_id: id of the decision; "": a new one.
            known: returns which of some face_ids are faces of the dataset, without reading it.
        """
        book = copy(self)
        book._author, book._next_id, book._known = author, next_id, known
        return book

    def faces_among(self, face_ids: Collection[str]) -> Collection[str]:
        """Return those of some face_ids that are faces of the dataset.

        Raises:
            CorruptFileError: a file of the dataset is corrupt.
        """
        if self._known is not None:
            return self._known(face_ids)
        wanted, found = set(face_ids), set()
        for table in Dataset.open(self.dataset_dir).faces(["face_id"]) if wanted else ():
            found |= wanted & set(table["face_id"].to_pylist())
        return found

    @property
    def author(self) -> str:
        """Who decides."""
        return checked_name(_user() if self._author is None else self._author, "author")

    def view(self) -> PeopleView:
        """Read the book.

        Raises:
            CorruptFileError: a file of the book cannot be read.
            FaceTroveError: a newer facetrove wrote a file of the book.
        """
        seen = self.model.refresh()
        view = self._view
        if view is None or view.seen is not seen:
            view = self._view = PeopleView(self.model, seen)
        return view

    @contextmanager
    def writing(self) -> Iterator[PeopleView]:
        """Hold the right of the one writer of the book, and yield what it says.

        Raises:
            BusyError: other processes keep it.
        """
        folder = dataset_folder(self.dataset_dir)
        if not folder.exists(PEOPLE_DIR):
            folder.make_folder(PEOPLE_DIR)
        book = self.model.folder
        what = f"the people book of {self.dataset_dir}"
        with book.lease(what=what, wait_seconds=LEASE_SECONDS):
            if any(name.endswith(TEMPORARY_SUFFIX) for name in book.names()):
                book.remove_temporary_files()  # which a killed writer left
                remove_old_groups(book)
            yield self.view()

    def write(self, decision: Decision) -> Decision:
        """Write a decision that has been checked; the caller is in `writing`."""
        write_decision(self.model.folder, decision)
        return decision

    def replace_groups(self, groups: Groups, view: PeopleView) -> None:
        """Replace the machine's grouping as a whole; no number that a person has had comes free.

        Args:
            groups: the new grouping.
            view: what `writing` yields.
        """
        groups = replace(groups, next_person=max(groups.next_person, self.next_person(view)))
        write_groups(self.model.folder, groups, BookFile(self.next_key(view), 0, "groups"))

    def next_key(self, view: PeopleView) -> str:
        """Return the key of something that comes after all that the book has."""
        keys = [d.key for d in view.seen.decisions[-1:]]
        keys += [view.seen.groups.key] if view.seen.groups is not None else []
        return new_key(max(keys, default=""), self._next_id)

    def next_person(self, view: PeopleView) -> int:
        """Return the smallest number that no person has had."""
        undone = (number for d in view.seen.decisions for number in d.people)
        return max([view.seen.next_person, *(number + 1 for number in undone)])


def shown_person(view: PeopleView, person: int) -> str:
    """Return a person's number and name, for messages."""
    name = view.name_of(person)
    return f"person {person}" if name is None else f"person {person} ({name})"


def decisions_in_words(keys: Iterable[str], view: PeopleView) -> str:
    """Return who made some decisions and when, for messages."""
    found = {decision.key: decision for decision in view.seen.decisions}
    texts = [
        f"{found[key].decision_id} ({found[key].verb} by {found[key].author or 'somebody'}, "
        f"{found[key].decided_at[:16].replace('T', ' ')})"
        for key in keys
    ]
    more = len(texts) - 5
    return ", ".join(texts[:5]) + (f" and {counted(more, 'more')}" if more > 0 else "")


def _name_key(name: str) -> str:
    return normalize("NFC", " ".join(name.split())).casefold()


def _user() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
