from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.core.errors import WrongUsageError
from indexer import model_variances
from indexer.delete import delete_faces
from indexer.face_groups import GROUPS_SCHEMA, NEXT_NUMBER, group_index, group_new_faces
from indexer.group_decisions import Decisions
from indexer.model_variances import ModelVariances
from indexer.snapshot import Snapshot
from tests.support.labelled_faces import labelled_index
from tests.support.small_collections import photo_id_of
from tests.support.vectors import unit_vectors

DIMENSION = 32
PEOPLE, FACES_EACH = 6, 5
COUNT = PEOPLE * FACES_EACH


@pytest.fixture(scope="module", autouse=True)
def known_models() -> Iterator[None]:
    """Make the imaginary model of tests one whose figures are known."""
    with pytest.MonkeyPatch.context() as patch:
        figures = ModelVariances(0.7 / DIMENSION, 0.2 / DIMENSION, 1.0)
        patch.setitem(model_variances.VARIANCES, "namer", figures)
        patch.setattr(model_variances, "MEASURED_WITH", (("finder", "template"),))
        patch.setattr(model_variances, "NORMS", (0.3, 2.0))
        patch.setattr(model_variances, "DIMENSIONS", float(DIMENSION))
        patch.setattr(model_variances, "GAINS", ((0.9, 0.0), (0.99, 2.0), (0.999, 6.0)))
        yield


def gallery(
    folder: Path, seed: int, *, photos: list[int] | None = None, quality: list[float] | None = None
) -> Path:
    """Build an index of `COUNT` faces of `PEOPLE` people in random order.

    Args:
        folder: where it is built.
        seed: of the faces.
        photos: number of each face's photo; by default each has its own.
        quality: of each face, its norm too; by default 0.9 to 1.
    """
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat(np.arange(PEOPLE), FACES_EACH))
    identities = unit_vectors(PEOPLE, DIMENSION, seed=seed)
    scatter = rng.normal(size=(COUNT, DIMENSION)) * 0.5 / DIMENSION**0.5
    vectors = identities[people] + scatter
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return labelled_index(
        folder,
        vectors,
        [str(person) for person in people],
        quality=np.array(quality) if quality else np.linspace(0.9, 1, COUNT),
        uris=None if photos is None else [f"/photos/{photo}.jpg" for photo in photos],
        photo_ids=None if photos is None else [photo_id_of(photo) for photo in photos],
    )


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> list[Snapshot]:
    """Three galleries: of photos of their own, of a few photos, and with many poor faces."""
    folder = tmp_path_factory.mktemp("galleries")
    rng = np.random.default_rng(5)
    quality = np.where(rng.random(COUNT) < 0.4, 0.5, rng.uniform(0.9, 1.0, COUNT)).tolist()
    made = [
        gallery(folder / "own", 1),
        gallery(folder / "few", 2, photos=rng.integers(0, 14, COUNT).tolist()),
        gallery(folder / "poor", 3, quality=quality),
    ]
    return [Snapshot.open(index, "cpu") for index in made]


def ids_of(version: Snapshot) -> list[str]:
    return [str(face) for face in version.values("face_id", np.arange(COUNT))]


def numbers_of(groups: pa.Table) -> dict[str, int]:
    return dict(zip(groups["face_id"].to_pylist(), groups["group"].to_pylist(), strict=True))


def partition(groups: pa.Table) -> set[frozenset[str]]:
    numbers = numbers_of(groups)
    members: dict[int, set[str]] = {}
    for face, number in numbers.items():
        members.setdefault(number, set()).add(face)
    return {frozenset(faces) for faces in members.values()}


class Told:
    """A plain model of what decisions say: who is together, who is apart, and who is whom."""

    def __init__(self, decisions: Decisions, faces: list[str]) -> None:
        named = [face for pair in (*decisions.together, *decisions.apart) for face in pair]
        self.of = {face: {face} for face in (*faces, *named, *decisions.fixed)}
        for one, other in decisions.together:
            self._join(one, other)
        by_number: dict[int, str] = {}
        for face, number in decisions.fixed.items():
            self._join(by_number.setdefault(number, face), face)
        self.decisions = decisions

    def _join(self, one: str, other: str) -> None:
        joined = self.of[one] | self.of[other]
        for face in joined:
            self.of[face] = joined

    @property
    def contradicts_itself(self) -> bool:
        apart = any(other in self.of[one] for one, other in self.decisions.apart)
        numbers = [
            {self.decisions.fixed[face] for face in group if face in self.decisions.fixed}
            for group in self.of.values()
        ]
        return apart or any(len(number) > 1 for number in numbers)

    def check(self, groups: pa.Table, photos: dict[str, str]) -> None:
        """Check that groups are as decisions say."""
        numbers = numbers_of(groups)
        for face, number in numbers.items():
            assert all(numbers.get(other, number) == number for other in self.of[face])
            for other in self.of[face] & self.decisions.fixed.keys():
                assert number == self.decisions.fixed[other]
        for one, other in self.decisions.apart:
            for a, b in itertools.product(self.of[one], self.of[other]):
                if a in numbers and b in numbers:
                    assert numbers[a] != numbers[b]
        for one, other in itertools.combinations(numbers, 2):
            if photos[one] == photos[other] and other not in self.of[one]:
                # Groups that were joined by hand may have two faces of one photo, others not.
                same = numbers[one] == numbers[other]
                assert not same or photos[one] in self.decisions.repeated_photos


@st.composite
def decisions_about(draw: st.DrawFn, faces: list[str]) -> Decisions:
    face = st.sampled_from([*faces, "deleted-1", "deleted-2"])
    pairs = st.lists(st.tuples(face, face).filter(lambda pair: pair[0] != pair[1]), max_size=5)
    fixed = st.dictionaries(face, st.integers(3, 6), max_size=6)
    return Decisions(tuple(draw(pairs)), tuple(draw(pairs)), draw(fixed))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_what_people_said_holds_always(galleries: list[Snapshot], data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(galleries))
    faces = ids_of(version)
    photos = dict(zip(faces, version.values("photo_id", np.arange(COUNT)), strict=True))
    decisions = data.draw(decisions_about(faces))
    precision = data.draw(st.sampled_from([0.9, 0.99, 0.999]))
    told = Told(decisions, faces)
    if told.contradicts_itself:
        with pytest.raises(WrongUsageError, match="take one of these back"):
            group_index(version, decisions=decisions)
        return
    groups = group_index(version, precision=precision, decisions=decisions)
    assert groups.schema.equals(GROUPS_SCHEMA)
    assert groups["face_id"].to_pylist() == faces
    told.check(groups, photos)
    named = {numbers_of(groups)[face] for face in faces if told.of[face] & decisions.fixed.keys()}
    assert set(decisions.fixed.values()) & set(groups["group"].to_pylist()) == named
    doubt = groups["doubt"].to_numpy()
    assert (doubt >= 0).all() and (doubt <= 1).all()
    assert not any(doubt[faces.index(face)] for face in decisions.fixed if face in photos)
    again = group_index(version, precision=precision, decisions=decisions)
    assert again.equals(groups, check_metadata=True)
    # Others are decided later, and only new faces are looked up: this holds in the same way.
    later = data.draw(decisions_about(faces))
    known = data.draw(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
    kept = groups.filter(pa.array(known))
    if Told(later, faces).contradicts_itself:
        with pytest.raises(WrongUsageError, match="take one of these back"):
            group_new_faces(version, kept, decisions=later)
    else:
        found = group_new_faces(version, kept, precision=precision, decisions=later)
        Told(later, faces).check(found, photos)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_numbers_are_stable_and_never_used_again(
    galleries: list[Snapshot], data: st.DataObject
) -> None:
    version = galleries[0]
    faces = ids_of(version)
    first = group_index(version, precision=data.draw(st.sampled_from([0.9, 0.99])))
    assert set(first["group"].to_pylist()) == set(range(1, len(partition(first)) + 1))
    decisions = data.draw(decisions_about(faces))
    if Told(decisions, faces).contradicts_itself:
        return
    second = group_index(version, decisions=decisions, previous=first)
    before, after = numbers_of(first), numbers_of(second)
    ever = set(before.values()) | set(decisions.fixed.values())
    new = set(after.values()) - ever
    assert all(number > max(ever) for number in new)
    assert int(second.schema.metadata[NEXT_NUMBER]) > max(ever | new)
    for faces_of_group in partition(second):
        number = after[next(iter(faces_of_group))]
        if number in decisions.fixed.values():
            continue
        shared: dict[int, int] = {}
        for face in faces_of_group:
            shared[before[face]] = shared.get(before[face], 0) + 1
        if number in new:  # others that share as many faces or more have the numbers of these
            for earlier, count in shared.items():
                others = sum(before[face] == earlier == after[face] for face in faces)
                assert others >= count or earlier in decisions.fixed.values()
        else:
            assert number in shared
    third = group_index(version, decisions=decisions, previous=second)
    assert third.equals(second, check_metadata=True)


def test_a_number_of_a_group_that_vanished_is_not_used_again(galleries: list[Snapshot]) -> None:
    version = galleries[0]
    faces = ids_of(version)
    apart = group_index(version, precision=0.99)
    highest = max(numbers_of(apart).values())
    last = [face for face, number in numbers_of(apart).items() if number == highest]
    gone = group_index(
        version, decisions=Decisions(fixed={faces[0]: 1, **dict.fromkeys(last, 1)}), previous=apart
    )
    assert highest not in numbers_of(gone).values()
    back = group_index(version, previous=gone)
    assert max(numbers_of(back).values()) == highest + 1
    told = group_index(version, decisions=Decisions(fixed={"deleted-1": 700}), previous=apart)
    assert int(told.schema.metadata[NEXT_NUMBER]) == 701


def test_larger_groups_have_smaller_numbers_at_first(galleries: list[Snapshot]) -> None:
    numbers = list(numbers_of(group_index(galleries[2], precision=0.999)).values())
    sizes = [numbers.count(number) for number in range(1, max(numbers) + 1)]
    assert sizes == sorted(sizes, reverse=True)


def test_faces_of_one_photo_are_one_person_only_where_that_is_allowed(tmp_path: Path) -> None:
    vectors = np.repeat(unit_vectors(3, DIMENSION, seed=1), 3, axis=0)
    photos = [0, 0, 1, 2, 3, 4, 5, 6, 7]
    index = labelled_index(
        tmp_path,
        vectors,
        ["somebody"] * 9,
        quality=np.linspace(0.9, 1, 9),
        uris=[f"/photos/{photo}.jpg" for photo in photos],
        photo_ids=[photo_id_of(photo) for photo in photos],
    )
    faces = Snapshot.open(index, "cpu").values("face_id", np.arange(9))
    one, other, third = faces[:3]

    def together(decisions: Decisions | None = None) -> bool:
        numbers = numbers_of(group_index(index, decisions=decisions))
        return numbers[one] == numbers[other]

    assert not together()
    assert together(Decisions([(one, third), (third, other)]))
    assert together(Decisions(fixed={one: 5, other: 5}))
    assert together(Decisions(repeated_photos=[photo_id_of(0)]))
    assert not together(Decisions(repeated_photos=[photo_id_of(1)]))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_the_groups_of_good_faces_are_the_same_with_and_without_poor_ones(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    quality = np.where(rng.random(COUNT) < share, 0.5, rng.uniform(0.9, 1.0, COUNT))
    version = Snapshot.open(
        gallery(tmp_path_factory.mktemp("poor"), seed, quality=quality.tolist()), "cpu"
    )
    norms = version.values("embedding_norm", np.arange(COUNT))
    good = {face for face, norm in zip(ids_of(version), norms, strict=True) if norm > 0.6}
    together = {frozenset(faces & good) for faces in partition(group_index(version))} - {
        frozenset()
    }
    some = np.flatnonzero(np.array(norms) > 0.6)
    folder = tmp_path_factory.mktemp("good")
    ids = np.array(ids_of(version))[some]
    alone = labelled_index(
        folder,
        version.embeddings(some),
        ["somebody"] * len(some),
        quality=np.array(norms)[some],
        photo_ids=[f"{face}{face}" for face in ids],
    )
    assert {frozenset(faces) for faces in partition(group_index(alone))} == together


def test_new_faces_join_the_groups_there_are_or_are_groups_of_their_own(
    galleries: list[Snapshot],
) -> None:
    version = galleries[0]
    everything = group_index(version)
    people = dict(zip(ids_of(version), version.values("person", np.arange(COUNT)), strict=True))
    without = everything.filter(pa.array([person != "3" for person in people.values()]))
    without = without.slice(0, len(without) - 4)  # nobody of a new person, and four others
    found = group_new_faces(version, without)
    before, after = numbers_of(without), numbers_of(found)
    assert all(after[face] == number for face, number in before.items())
    assert partition(found) == partition(everything)
    new = {after[face] for face, person in people.items() if person == "3"}
    assert min(new) > max(before.values())
    nothing = group_new_faces(version, found)
    assert nothing.equals(found, check_metadata=True)


def test_a_face_that_was_said_to_be_another_leaves_its_group(galleries: list[Snapshot]) -> None:
    version = galleries[0]
    before = group_index(version)
    group = max(partition(before), key=len)
    moved, reference, *_ = sorted(group)
    for decisions in (Decisions(fixed={moved: 900}), Decisions(apart=[(moved, reference)])):
        after = numbers_of(group_new_faces(version, before, decisions=decisions))
        assert after[moved] != after[reference]
        others = set(numbers_of(before)) - group
        assert all(after[face] == numbers_of(before)[face] for face in others)


def test_an_empty_index_has_no_groups(tmp_path: Path) -> None:
    index = labelled_index(tmp_path, unit_vectors(1, DIMENSION, seed=1), ["somebody"])
    delete_faces(tmp_path / "d.dataset", index, faces=group_index(index)["face_id"].to_pylist())
    groups = group_index(index)
    assert len(groups) == 0 and groups.schema.equals(GROUPS_SCHEMA)
    assert len(group_new_faces(index, groups)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": 0.9999}, "a precision of 0.9999 cannot be promised; give 0.9 to 0.999"),
        ({"decisions": Decisions(together=[("a", "\udc80")])}, "is no face_id"),
        ({"previous": pa.table({"face_id": ["a"]})}, "the previous groups have other columns"),
    ],
)
def test_what_cannot_be_is_refused(
    galleries: list[Snapshot], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(WrongUsageError, match=message):
        group_index(galleries[0], **arguments)  # type: ignore[arg-type]


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(WrongUsageError, match="-1 is no number of a person"):
        Decisions(fixed={"a": -1})
