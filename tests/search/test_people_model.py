"""Random histories of a people book, its dataset and its index, compared with a plain model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from faces.core.errors import WrongUsageError
from faces.dataset import people_verbs as verbs
from faces.dataset.people_book import PeopleBook
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.purge import purge
from indexer.undo import list_deletions, undo
from search.searcher import FaceSearcher
from tests.support.people import group
from tests.support.small_collections import Collection, Photo, files_with

NAMES = ("Ann Lee", "Bob Ray", "Cy Ott")
CONTENTS = {content: 1 + content % 3 for content in range(6)}

numbers = st.integers(0, 10**6)


@dataclass(frozen=True)
class Said:
    """A decision in the model: a verb with its people and faces, and whether it is in force."""

    verb: str
    people: tuple[int, ...] = ()
    faces: tuple[str, ...] = ()
    name: str | None = None
    decision_id: str = ""
    in_force: bool = True


@dataclass
class Model:
    """What the book should say, worked out anew from all that was said, in the plainest way."""

    said: list[Said] = field(default_factory=list)
    grouped: dict[str, int] = field(default_factory=dict)

    def active(self) -> list[Said]:
        return [one for one in self.said if one.in_force]

    def roots(self) -> dict[int, int]:
        """The number of the person who stayed, of each who was merged."""
        root: dict[int, int] = {}
        for one in self.active():
            if one.verb == "merge":
                into, *others = (root.get(person, person) for person in one.people)
                for other in others:
                    root[other] = into
                    root |= {person: into for person, above in root.items() if above == other}
        return {person: above for person, above in root.items() if person != above}

    def root(self, person: int) -> int:
        return self.roots().get(person, person)

    def apart(self) -> set[frozenset[int]]:
        return {
            frozenset(map(self.root, one.people))
            for one in self.active()
            if one.verb in ("apart", "split")
        }

    def names(self) -> dict[int, str]:
        names: dict[int, str | None] = {}
        before = Model()
        for one in self.active():
            if one.verb == "merge":
                into, *others = dict.fromkeys(map(before.root, one.people))
                for other in others:
                    found = names.pop(other, "unsaid")
                    if found != "unsaid" and into not in names:
                        names[into] = found
            before.said.append(one)
            if one.verb == "name":
                names[before.root(one.people[0])] = one.name
        return {person: name for person, name in names.items() if name is not None}

    def person_of(self, face: str) -> int | None:
        placed: tuple[int, int] | None = None
        rejected: dict[int, int] = {}
        for number, one in enumerate(self.active()):
            if face not in one.faces:
                continue
            if one.verb == "reject":
                rejected[self.root(one.people[0])] = number
            else:
                placed = (number, self.root(one.people[-1]))
        if placed is not None and rejected.get(placed[1], -1) < placed[0]:
            return placed[1]
        person = self.grouped.get(face)
        return None if person is None or self.root(person) in rejected else self.root(person)

    def people(self) -> list[int]:
        mentioned = {person for one in self.active() for person in one.people}
        return sorted({*mentioned, *self.grouped.values()})

    def with_reach(self, decision_id: str, *, on: bool) -> Model:
        said = [replace(o, in_force=on) if o.decision_id == decision_id else o for o in self.said]
        return Model(said, self.grouped)

    def contradicts(self) -> bool:
        """Whether people are merged who are said to be different, one after the other."""
        so_far = Model()
        for one in self.active():
            roots = {so_far.root(person) for person in one.people}
            if one.verb == "merge" and any(pair <= roots for pair in so_far.apart()):
                return True
            if one.verb in ("apart", "split") and len(roots) < 2:
                return True
            so_far.said.append(one)
        return False

    def faces_contradict(self, people: list[int]) -> bool:
        """Whether a face is placed at one of some people, and rejected from another of them."""
        roots = set(map(self.root, people))
        for face in {face for one in self.active() for face in one.faces}:
            words = [one for one in self.active() if face in one.faces]
            placed = [self.root(one.people[-1]) for one in words if one.verb != "reject"][-1:]
            rejected = {self.root(one.people[0]) for one in words if one.verb == "reject"}
            if placed and placed[0] in roots and (rejected & roots) - {placed[0]}:
                return True
        return False


class Book(RuleBasedStateMachine):
    """Decisions, groupings, undos, new photos, deletions and purges in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.index = self.folder / "index"
        self.collection = Collection(self.folder / "dataset")
        self.model = Model()
        self.book = PeopleBook(self.collection.path, "somebody")
        self.next_person = 1
        self.gone: set[str] = set()

    def teardown(self) -> None:
        self.book.model.close()
        self.temporary.cleanup()

    @initialize()
    def begin(self) -> None:
        photos = {f"/{c}.jpg": Photo(c, CONTENTS[c], f"listed {c}") for c in range(3)}
        self.collection.embed(photos)
        build_index(self.collection.path, self.index, recipe="exact")
        self.searcher = FaceSearcher.open(self.index)

    def faces(self) -> list[str]:
        return sorted(self.collection.faces())

    def pick(self, number: int) -> str:
        faces = self.faces()  # mostly the same few, so that decisions meet
        return faces[number % (len(faces) if number % 4 == 0 else min(2, len(faces)))]

    def person(self, number: int) -> int:
        people = self.model.people()
        return people[number % (len(people) if number % 3 == 0 else min(3, len(people)))]

    def say(self, verb: str, work: Callable[[], object], said: Said, *, allowed: bool) -> None:
        """Decide something, which must be refused unless it is allowed."""
        if not allowed:
            with pytest.raises(WrongUsageError):
                work()
            return
        decision = work()
        self.model.said.append(replace(said, verb=verb, decision_id=decision.decision_id))  # type: ignore[attr-defined]

    @rule(seed=numbers, people=st.integers(1, 5))
    def group_again(self, seed: int, people: int) -> None:
        ids = self.faces()
        self.model.grouped = {
            face: 1 + crc32(f"{seed} {face}".encode()) % people
            for face in ids
            if crc32(f"{face} {seed}".encode()) % 7
        }
        group(self.collection.path, self.model.grouped)
        top = max([0, *self.model.grouped.values()]) + 1
        self.next_person = max(self.next_person, top)

    has_people = precondition(lambda self: bool(self.model.people()) and bool(self.faces()))

    @has_people
    @rule(person=numbers, name=st.sampled_from((*NAMES, None)))
    def name(self, person: int, name: str | None) -> None:
        number = self.person(person)
        said = Said("", (self.model.root(number),), name=name)
        self.say("name", lambda: verbs.name_person(self.book, number, name), said, allowed=True)

    @has_people
    @rule(people=st.lists(numbers, min_size=2, max_size=3))
    def merge(self, people: list[int]) -> None:
        chosen = [self.person(number) for number in people]
        roots = list(dict.fromkeys(map(self.model.root, chosen)))
        apart = any(pair <= set(roots) for pair in self.model.apart())
        allowed = len(roots) > 1 and not apart and not self.model.faces_contradict(roots)
        said = Said("", tuple(roots))
        self.say("merge", lambda: verbs.merge_people(self.book, chosen), said, allowed=allowed)

    @has_people
    @rule(one=numbers, other=numbers)
    def separate(self, one: int, other: int) -> None:
        a, b = (self.model.root(self.person(number)) for number in (one, other))
        said = Said("", (a, b))
        self.say("apart", lambda: verbs.separate_people(self.book, a, b), said, allowed=a != b)

    @has_people
    @rule(face=numbers)
    def split(self, face: int) -> None:
        chosen = self.pick(face)
        person = self.model.person_of(chosen)
        old = person or self.person(face)
        said = Said("", (self.model.root(old), self.next_person), (chosen,))
        allowed = person is not None
        self.say(
            "split", lambda: verbs.split_person(self.book, old, [chosen]), said, allowed=allowed
        )
        self.next_person += allowed

    @has_people
    @rule(face=numbers, person=numbers, verb=st.sampled_from(["move", "reject"]))
    def place(self, face: int, person: int, verb: str) -> None:
        chosen, number = self.pick(face), self.person(person)
        decide = verbs.move_faces if verb == "move" else verbs.reject_faces
        said = Said("", (self.model.root(number),), (chosen,))
        self.say(verb, lambda: decide(self.book, [chosen], number), said, allowed=True)

    @has_people
    @rule(face=numbers, person=numbers, again=st.booleans())
    def change_one_s_mind(self, face: int, person: int, again: bool) -> None:
        self.place(face, person, "move")
        self.place(face, person, "reject")
        if again:
            self.place(face, person, "move")

    @precondition(lambda self: bool(self.model.said))
    @rule(number=numbers)
    def take_back_or_restore(self, number: int) -> None:
        one = self.model.said[number % len(self.model.said)]
        after = self.model.with_reach(one.decision_id, on=not one.in_force)
        target = one.decision_id
        if not one.in_force:  # the undo of it is undone
            target = next(
                d.decision_id
                for d in reversed(self.book.view().seen.decisions)
                if d.undoes == one.decision_id
            )
        rests = (
            one.in_force
            and one.verb == "split"
            and any(
                one.people[1] in later.people
                for later in self.model.active()
                if later is not one and self.model.said.index(later) > self.model.said.index(one)
            )
        )
        if rests or after.contradicts():
            with pytest.raises(WrongUsageError):
                verbs.undo_decision(self.book, target)
            return
        verbs.undo_decision(self.book, target)
        self.model = after

    @rule(content=st.sampled_from(sorted(CONTENTS)))
    def add_photo(self, content: int) -> None:
        if f"/{content}.jpg" not in self.collection.photos:
            self.collection.embed({f"/{content}.jpg": Photo(content, CONTENTS[content])})
            build_index(self.collection.path, self.index)

    @precondition(lambda self: len(self.faces()) > 2)
    @rule(face=numbers)
    def delete(self, face: int) -> None:
        chosen = self.pick(face)
        delete_faces(self.collection.path, self.index, faces=chosen)
        self.collection.deleted.add(chosen)

    @precondition(lambda self: bool(list_deletions(self.collection.path)))
    @rule()
    def restore(self) -> None:
        deletion = list_deletions(self.collection.path)[-1]
        undo(self.collection.path, deletion.deletion_id, self.index)
        self.collection.deleted -= set(deletion.request.faces)

    @rule(name=st.sampled_from((*NAMES, None)))
    def purge(self, name: str | None) -> None:
        gone = set(self.collection.deleted)
        purge(self.collection.path, self.index, names=[] if name is None else [name])
        self.gone |= gone
        said = self.model.said
        if name is not None:
            said = [replace(one, name=None if one.name == name else one.name) for one in said]
        self.model.said = [
            replace(one, faces=tuple(face for face in one.faces if face not in gone))
            for one in said
        ]
        for face in gone:
            self.model.grouped.pop(face, None)
        traces = [face.encode() for face in self.gone]
        traces += [] if name is None else [name.encode()]
        assert files_with(self.folder, traces) == {}

    @rule()
    def compact(self) -> None:
        compact_index(self.index)

    @rule()
    def open_elsewhere(self) -> None:
        """Another process has a read model of its own."""
        self.book.model.close()
        self.book = PeopleBook(self.collection.path, "somebody else")

    @invariant()
    def no_decision_is_lost_or_contradicted(self) -> None:
        if not hasattr(self, "searcher"):
            return
        faces = self.faces()
        expected = {face: self.model.person_of(face) for face in faces}
        view = self.book.view()
        assert dict(zip(faces, view.people_of(faces), strict=True)) == expected
        names = self.model.names()
        assert view.names == names
        assert view.state.void == {}
        if view.is_empty:
            return
        self.searcher.refresh()
        found = {face.face_id: face for face in self.searcher.list_faces("score > 0")}
        assert {f: (m.person_id, m.person) for f, m in found.items()} == {
            face: (person, names.get(person or 0)) for face, person in expected.items()
        }
        for name in NAMES:
            where = f"person = '{name}'"
            assert {face.face_id for face in self.searcher.list_faces(where)} == {
                face for face, person in expected.items() if names.get(person or 0) == name
            }


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.usefixtures("own_folders")
def test_a_people_book_says_what_a_plain_model_says() -> None:
    run_state_machine_as_test(
        Book,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
