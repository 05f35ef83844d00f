"""The rules of the people book: what decisions say together, as pure functions.

Decisions are applied in their order, which is time, then id. A later word about a name, a flag or a
face counts before an earlier one. A merge of people whom somebody said are different, and the word
that two people are different who were merged, contradict what stands: they are *void* until the
earlier decision is taken back, and shown as conflicts. So are words of two different authors about
one name or one face, of which the later one counts.

A person who was merged into another keeps the number and can be named by it; the *root* is the
person who stayed. Taking a merge back brings the numbers apart again, also when there have been
groupings since: the machine's groups keep the numbers that they have without merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from faces.dataset.people_decisions import Decision


@dataclass(frozen=True)
class Person:
    """What humans said of one person.

    Attributes:
        name: the name; None: there is none.
        named_by: key of the decision that says the name, or that there is none; "": nobody said.
        hidden: whether the person is left out of lists and sheets.
        ignored: whether the person is a stranger, who is not listed or asked about.
    """

    name: str | None = None
    named_by: str = ""
    hidden: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class Conflict:
    """Two decisions that contradict each other.

    Attributes:
        kind: `name`: two authors give a person two names; `face`: two authors say different people
            of one face; `merge`: people are merged whom somebody said are different; `apart`:
            people are said to be different who are merged.
        earlier, later: keys of the two decisions. The later one counts of `name` and `face`, and
            the earlier one of the others.
        people: numbers of the people.
        face_id: the face that it is about; "": it is about people.
    """

    kind: Literal["name", "face", "merge", "apart"]
    earlier: str
    later: str
    people: tuple[int, ...]
    face_id: str = ""


class FaceWords(NamedTuple):
    """What humans said of one face, by decisions that are in force.

    Attributes:
        placed: number of the person whose face it is, and the key of the decision; None: unsaid.
        rejected: numbers of people whose face it is not, each with the key of the last decision.
    """

    placed: tuple[int, str] | None
    rejected: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, eq=False)
class PeopleState:
    """What the decisions of a people book say of people. Use `resolve_people`.

    Attributes:
        in_force: keys of the decisions that nobody has taken back, void ones included.
        void: key of the earlier decision that a void decision contradicts, by its key.
        people: what was said of each root.
        conflicts: contradictions about people, by the order of the later decision.
        mentioned: all numbers in decisions that are in force.
        apart: keys of the decisions by which a root is not another root.
        members: numbers of all people who were merged into a root, itself first.
        roots: the root of each person who was merged.
        resolved: the decisions applied so far, by which further ones are applied.
    """

    in_force: frozenset[str]
    void: Mapping[str, str]
    people: Mapping[int, Person]
    conflicts: tuple[Conflict, ...]
    mentioned: frozenset[int]
    apart: Mapping[int, Mapping[int, str]]
    members: Mapping[int, tuple[int, ...]]
    roots: Mapping[int, int]
    resolved: _Resolved

    def extended(self, decisions: Sequence[Decision]) -> PeopleState:
        """Return the state after further decisions, which is much less work than all of them.

        Args:
            decisions: decisions that come after all others, none of which takes one back.
        """
        resolved = self.resolved.copied()
        for decision in decisions:
            assert decision.verb != "undo", "what an undo takes back has been applied"
            resolved.apply(decision)
        return resolved.state(self.in_force.union(decision.key for decision in decisions))

    def root(self, person: int) -> int:
        """Return the number of the person who stayed of those that a person was merged with."""
        return self.roots.get(person, person)

    def numbers(self, person: int) -> tuple[int, ...]:
        """Return all numbers of a person: its own, and those of the people merged into it."""
        root = self.root(person)
        return self.members.get(root, (root,))

    def said_of(self, person: int) -> Person:
        """Return what humans said of a person, whoever it was merged with."""
        return self.people.get(self.root(person), Person())

    def person_of(self, words: FaceWords, grouped: int | None) -> int | None:
        """Return the root of the person whose face a face is; None: nobody knows.

        Args:
            words: what humans said of the face.
            grouped: number of the person by the machine's grouping; None: it says none.
        """
        number = self.number_of(words, grouped)
        return None if number is None else self.root(number)

    def number_of(self, words: FaceWords, grouped: int | None) -> int | None:
        """Return the number that a face was given itself, whoever that person was merged into.

        Args:
            words, grouped: as in `person_of`.
        """
        rejected: dict[int, str] = {}
        for person, key in words.rejected:
            rejected[self.root(person)] = max(key, rejected.get(self.root(person), ""))
        if words.placed is not None:
            number, said = words.placed
            if rejected.get(self.root(number), "") < said:
                return number
        if grouped is None or self.root(grouped) in rejected:
            return None
        return grouped


class _Roots:
    """People and what was said of them, while decisions are applied one by one."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.members: dict[int, list[int]] = {}
        self.merged_by: dict[int, str] = {}
        self.people: dict[int, Person] = {}
        self.apart: dict[int, dict[int, str]] = {}

    def copied(self) -> _Roots:
        copy = _Roots()
        copy.parent, copy.merged_by = dict(self.parent), dict(self.merged_by)
        copy.people = dict(self.people)
        copy.members = {root: list(members) for root, members in self.members.items()}
        copy.apart = {root: dict(foes) for root, foes in self.apart.items()}
        return copy

    def root(self, person: int) -> int:
        while (above := self.parent.get(person, person)) != person:
            self.parent[person] = self.parent.get(above, above)
            person = above
        return person

    def reason_against(self, people: Iterable[int]) -> str | None:
        """Return the key of a decision by which two of some roots are different."""
        roots = set(people)
        keys = [
            key
            for root in roots
            for other, key in self.apart.get(root, {}).items()
            if other in roots
        ]
        return min(keys, default=None)

    def merge(self, people: Sequence[int], key: str) -> None:
        """Merge roots into the first of them, who keeps what was said or takes what is not."""
        into, *others = people
        for other in others:
            self.parent[other] = into
            self.members.setdefault(into, [into]).extend(self.members.pop(other, [other]))
            for foe, reason in self.apart.pop(other, {}).items():
                self.apart.setdefault(into, {}).setdefault(foe, reason)
                against = self.apart[foe]
                del against[other]
                against.setdefault(into, reason)
            theirs, ours = self.people.pop(other, Person()), self.people.get(into, Person())
            if not ours.named_by and theirs.named_by:
                ours = replace(ours, name=theirs.name, named_by=theirs.named_by)
            self.people[into] = ours
        self.merged_by[into] = key

    def set_apart(self, one: int, other: int, key: str) -> None:
        """Note that two roots are different; the first decision that says so counts."""
        self.apart.setdefault(one, {}).setdefault(other, key)
        self.apart.setdefault(other, {}).setdefault(one, key)


def keys_in_force(decisions: Sequence[Decision]) -> frozenset[str]:
    """Return the keys of the decisions that nobody has taken back.

    Args:
        decisions: decisions in their order. An undo takes back earlier ones only, also other undos.
    """
    taken_back: set[str] = set()
    kept = []
    for decision in reversed(decisions):
        if decision.decision_id in taken_back:
            continue
        kept.append(decision.key)
        if decision.verb == "undo":
            taken_back.add(decision.undoes)
    return frozenset(kept)


def resolve_people(decisions: Sequence[Decision]) -> PeopleState:
    """Return what decisions say of people.

    Args:
        decisions: decisions in their order; their faces may be left out.
    """
    in_force = keys_in_force(decisions)
    resolved = _Resolved()
    for decision in decisions:
        if decision.key in in_force:
            resolved.apply(decision)
    return resolved.state(in_force)


@dataclass(frozen=True, eq=False)
class _Resolved:
    """What decisions say together, while they are applied one by one.

    Attributes:
        roots: people, and what was said of them.
        authors: who made each decision, by key.
        conflicts: contradictions so far.
        mentioned: numbers so far.
    """

    roots: _Roots = field(default_factory=_Roots)
    authors: dict[str, str] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    mentioned: set[int] = field(default_factory=set)

    def copied(self) -> _Resolved:
        return _Resolved(
            self.roots.copied(), dict(self.authors), list(self.conflicts), set(self.mentioned)
        )

    def apply(self, decision: Decision) -> None:
        """Apply a decision that comes after all others."""
        self.authors[decision.key] = decision.author
        self.mentioned.update(decision.people)
        self.conflicts.extend(_apply(self.roots, decision, self.authors))

    def state(self, in_force: frozenset[str]) -> PeopleState:
        """Return what the decisions say, which these copies of the people do not change."""
        roots = self.roots
        return PeopleState(
            in_force,
            {c.later: c.earlier for c in self.conflicts if c.kind in ("merge", "apart")},
            roots.people,
            tuple(self.conflicts),
            frozenset(self.mentioned),
            roots.apart,
            {root: tuple(members) for root, members in roots.members.items()},
            {person: roots.root(person) for person in list(roots.parent)},
            self,
        )


def _apply(roots: _Roots, decision: Decision, authors: Mapping[str, str]) -> list[Conflict]:
    """Apply a decision to people, and return what it contradicts."""
    key = decision.key
    people = list(dict.fromkeys(map(roots.root, decision.people)))
    match decision.verb:
        case "name":
            return _name(roots, people[0], decision.name, decision, authors)
        case "assign":
            named = zip(decision.people, decision.names, strict=True)
            return [
                conflict
                for person, name in named
                if name is not None
                for conflict in _name(roots, roots.root(person), name, decision, authors)
            ]
        case "merge":
            if reason := roots.reason_against(people):
                return [Conflict("merge", reason, key, decision.people)]
            roots.merge(people, key)
        case "apart" | "split":
            if len(people) < 2:
                return [Conflict("apart", roots.merged_by[people[0]], key, decision.people)]
            roots.set_apart(people[0], people[1], key)
        case "hide" | "ignore":
            for root in people:
                said = roots.people.get(root, Person())
                hidden = decision.on if decision.verb == "hide" else said.hidden
                ignored = decision.on if decision.verb == "ignore" else said.ignored
                roots.people[root] = replace(said, hidden=hidden, ignored=ignored)
    return []


def _name(
    roots: _Roots, root: int, name: str | None, decision: Decision, authors: Mapping[str, str]
) -> list[Conflict]:
    """Give a root a name, and return the conflict if another author gave it another one."""
    before = roots.people.get(root, Person())
    roots.people[root] = replace(before, name=name, named_by=decision.key)
    by_other = before.named_by and authors[before.named_by] != decision.author
    if by_other and before.name not in (None, name):
        return [Conflict("name", before.named_by, decision.key, (root,))]
    return []


def face_conflicts(
    state: PeopleState, face_id: str, words: Sequence[tuple[str, str, int, bool]]
) -> list[Conflict]:
    """Return the contradictions of two authors about one face.

    Args:
        state: what is said of people.
        face_id: the face.
        words: what decisions in force say of it, in their order: the decision's key, its author,
            the person's number, and whether it is this person's face or is not.
    """
    found, before = [], None
    for key, author, person, is_theirs in words:
        root = state.root(person)
        if before is not None and before[1] != author:
            other, was_theirs = before[2], before[3]
            same = root == other
            if (is_theirs and was_theirs and not same) or (is_theirs != was_theirs and same):
                found.append(Conflict("face", before[0], key, (other, root), face_id))
        before = (key, author, root, is_theirs)
    return found
