"""Random histories of a dataset and its index, compared with a plain model after every step."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from faces.dataset.deletion_records import DeletionRequest
from faces.dataset.deletions import face_digest
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from indexer.faiss_library import faiss
from indexer.purge import purge
from indexer.undo import list_deletions, undo
from indexer.verify import verify_index
from search.results import Match
from search.searcher import FaceSearcher
from tests.support.small_collections import DIMENSION, Collection, Face, Photo
from tests.support.vectors import unit_vectors

URIS = [f"/{folder}/{number}.jpg" for folder in "abc" for number in range(4)]
CONTENTS = {content: content % 4 for content in range(10)}  # number of faces of each

Filter = Callable[[Face], bool]

FILTERS: dict[str, Filter] = {
    "person = 'Ann'": lambda face: "Ann" in face.people,
    "person <> 'Ann'": lambda face: face.person is not None and "Ann" not in face.people,
    "NOT (person = 'Ann' AND year = 2)": lambda face: (
        (
            face.person is not None
            and face.year is not None
            and not ("Ann" in face.people and 2 in face.years)
        )
        or (face.person is not None and "Ann" not in face.people)
        or (face.year is not None and 2 not in face.years)
    ),
    "person IS NULL OR year >= 2": lambda face: face.person is None or 2 in face.years,
    "starts_with(uri, '/a')": lambda face: face.uri.startswith("/a"),
    "len(also_at) > 0": lambda face: bool(face.also_at),
    "year = 77": lambda face: False,
}

uris = st.sampled_from(URIS)
photos = st.builds(
    lambda content, person, year: Photo(content, CONTENTS[content], person, year),
    st.sampled_from(sorted(CONTENTS)),
    st.sampled_from(["Ann", "Bob", None]),
    st.sampled_from([1, 2, None]),
)


class IndexHistory(RuleBasedStateMachine):
    """The operations on a dataset and an index, which happen in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.dataset = Path(self.folder.name) / "dataset"
        self.index = Path(self.folder.name) / "index"
        self.collection = Collection(self.dataset)
        self.indexed: dict[str, Face] = {}
        self.reader: tuple[FaceSearcher, dict[str, Face]] | None = None
        self.seed = 0
        self.undoable: dict[str, tuple[DeletionRequest, set[str]]] = {}
        self.final: set[str] = set()

    def teardown(self) -> None:
        self.reader = None
        self.folder.cleanup()

    @initialize(first=st.dictionaries(uris, photos, min_size=1, max_size=6))
    def begin(self, first: dict[str, Photo]) -> None:
        self.collection.embed({**first, "/kept.jpg": Photo(1000, 1, "Ann", 1)})
        self.build()

    @rule(new=st.dictionaries(uris, photos, min_size=1, max_size=4), again=st.booleans())
    def embed(self, new: dict[str, Photo], again: bool) -> None:
        self.collection.embed(new, again=again)

    @rule(data=st.data(), person=st.sampled_from(["Ann", "Cy", None]))
    def change_the_person(self, data: st.DataObject, person: str | None) -> None:
        uri = self.draw_uri(data)
        before = self.collection.photos[uri]
        photo = Photo(before.content, before.num_faces, person, before.year)
        self.collection.embed({uri: photo})

    @rule(data=st.data(), new_uri=uris)
    def copy(self, data: st.DataObject, new_uri: str) -> None:
        photo = self.collection.photos[self.draw_uri(data)]
        self.collection.embed({new_uri: Photo(photo.content, photo.num_faces, "Bob", 2)})

    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        self.collection.embed({}, gone=[self.draw_uri(data)])

    @rule(data=st.data(), other=photos)
    def vanish_and_change_another(self, data: st.DataObject, other: Photo) -> None:
        gone, changed = self.draw_uri(data), self.draw_uri(data)
        self.collection.embed({changed: other}, gone=[gone])

    @rule()
    def build(self) -> None:
        build_index(self.dataset, self.index)
        self.indexed = self.collection.faces()
        self.check_index()
        verified = verify_index(self.index, self.dataset)
        assert verified.problems == ()
        assert verified.num_faces == len(self.indexed)

    @rule()
    def build_anew(self) -> None:
        if self.collection.faces():
            build_index(self.dataset, self.index, rebuild=True)
            self.indexed = self.collection.faces()
            self.check_index()

    @rule()
    def compact(self) -> None:
        manifest = compact_index(self.index)
        assert (len(manifest.segments), manifest.deletions) == (1, None)
        self.check_index()

    @rule(data=st.data(), named=st.booleans())
    def delete_a_face(self, data: st.DataObject, named: bool) -> None:
        faces = sorted({**self.collection.faces(), **self.indexed})
        if faces:
            face_id = data.draw(st.sampled_from(faces))
            self.delete(lambda face: face.face_id == face_id, named, faces=[face_id])

    @rule(data=st.data(), named=st.booleans())
    def delete_a_photo(self, data: st.DataObject, named: bool) -> None:
        uri = self.draw_uri(data)
        self.delete(lambda face: uri in (face.uri, *face.also_at), named, photos=[uri])

    @rule(data=st.data(), named=st.booleans())
    def delete_a_content(self, data: st.DataObject, named: bool) -> None:
        photo_id = self.collection.photos[self.draw_uri(data)].photo_id
        self.delete(lambda face: face.photo_id == photo_id, named, photos=[photo_id])

    @rule(where=st.sampled_from(sorted(FILTERS)), named=st.booleans())
    def delete_by_filter(self, where: str, named: bool) -> None:
        self.delete(FILTERS[where], named, where=where)

    def delete(self, is_selected: Filter, named: bool, **selection: Any) -> None:
        in_index = {i for i, face in self.indexed.items() if named and is_selected(face)}
        in_dataset = {
            face_id for face_id, face in self.collection.faces().items() if is_selected(face)
        }
        indexes = [self.index] if named else []
        deleted = delete_faces(self.dataset, indexes, **selection)
        assert deleted.num_faces == len(in_index | in_dataset)
        asked = DeletionRequest(
            **{name: tuple(given) for name, given in selection.items() if name != "where"},
            where=selection.get("where"),
        )
        self.record(deleted.deletion_id, asked, in_index | in_dataset)
        if named:
            lost = self.indexed.keys() & (in_index | in_dataset)
            assert deleted.num_faces_of_index == {str(self.index): len(lost)}
            # The index loses what was deleted before without naming it, too.
            withheld = lost.union(*(ids for _, ids in self.undoable.values()))
            self.indexed = {i: face for i, face in self.indexed.items() if i not in withheld}
        self.check_index()

    def record(self, deletion_id: str | None, request: DeletionRequest, face_ids: set[str]) -> None:
        """Note that a deletion can be taken back, but for faces whose deletion is final."""
        same = [ids for asked, ids in self.undoable.values() if asked == request]
        new = face_ids - self.final - set().union(*same)
        self.collection.deleted |= face_ids
        if new:
            assert deletion_id is not None and deletion_id not in self.undoable
            self.undoable[deletion_id] = (request, new)
        else:
            assert (deletion_id is not None) == bool(same)

    @rule(data=st.data(), named=st.booleans())
    @precondition(lambda self: self.undoable)
    def undo(self, data: st.DataObject, named: bool) -> None:
        deletion_id = data.draw(st.integers(0, len(self.undoable) - 1))
        found = {deletion.deletion_id: deletion for deletion in list_deletions(self.dataset)}
        assert found.keys() == self.undoable.keys()
        name = list(self.undoable)[deletion_id]  # ids are random, and would not repeat
        request, face_ids = self.undoable.pop(name)
        assert (found[name].num_faces, found[name].request) == (len(face_ids), request)
        undo(self.dataset, name, [self.index] if named else [])
        others = set().union(*(ids for _, ids in self.undoable.values()))
        self.collection.deleted -= face_ids - others
        if named:
            self.indexed = self.collection.faces()
            assert verify_index(self.index, self.dataset).problems == ()
        self.check_index()
        assert_dataset_holds(self.dataset, self.collection)

    @rule(data=st.data(), named=st.booleans())
    @precondition(lambda self: self.undoable)
    def purge_one(self, data: st.DataObject, named: bool) -> None:
        number = data.draw(st.integers(0, len(self.undoable) - 1))
        name = list(self.undoable)[number]
        _, face_ids = self.undoable.pop(name)
        report = purge(self.dataset, [self.index] if named else [], deletions=[name])
        assert set(report.deleted_face_digests) == set(map(face_digest, face_ids))
        self.final |= face_ids
        left = {name: (asked, ids - face_ids) for name, (asked, ids) in self.undoable.items()}
        self.undoable = {name: entry for name, entry in left.items() if entry[1]}
        self.after_purge(named)

    @rule(named=st.booleans())
    def purge(self, named: bool) -> None:
        purge(self.dataset, [self.index] if named else [])
        self.final |= set().union(*(ids for _, ids in self.undoable.values()))
        self.undoable = {}
        self.after_purge(named)

    def after_purge(self, named: bool) -> None:
        if named:
            self.indexed = self.collection.faces()
            assert verify_index(self.index, self.dataset).problems == ()
        self.check_index()
        assert_dataset_holds(self.dataset, self.collection)

    @rule(moved_on=st.booleans())
    @precondition(lambda self: self.reader is not None)
    def read_with_an_old_reader(self, moved_on: bool) -> None:
        assert self.reader is not None
        searcher, faces = self.reader
        if moved_on:
            searcher.refresh()
            faces = self.indexed
        self.reader = (searcher, faces)
        self.check(searcher, faces)

    def check_index(self) -> None:
        searcher = FaceSearcher.open(self.index)
        self.check(searcher, self.indexed)
        if self.reader is None or self.seed % 3 == 0:
            self.reader = (searcher, self.indexed)

    def check(self, searcher: FaceSearcher, faces: dict[str, Face]) -> None:
        self.seed += 1
        assert_answers(searcher, faces, seed=self.seed)

    def draw_uri(self, data: st.DataObject) -> str:
        if not self.collection.photos:
            self.collection.embed({"/kept.jpg": Photo(1000, 1, "Ann", 1)})
        return data.draw(st.sampled_from(sorted(self.collection.photos)))


def assert_dataset_holds(dataset: Path, collection: Collection) -> None:
    found: set[str] = set()
    for table in Dataset.open(dataset).faces(["face_id"]):
        found |= set(table["face_id"].to_pylist())
    assert found == set(collection.faces())


def assert_answers(searcher: FaceSearcher, faces: dict[str, Face], *, seed: int) -> None:
    """Search in several ways, and compare the matches with the faces of the model."""
    assert len(searcher) == len(faces)
    chance = random.Random(seed)
    probes = unit_vectors(2, DIMENSION, seed=seed)
    everything = searcher.search_embeddings(probes, min_similarity=-1)
    for probe, matches in zip(probes, everything, strict=True):
        assert_matches(matches, faces.values(), probe, len(faces))
    where = chance.choice(sorted(FILTERS))
    selected = [face for face in faces.values() if FILTERS[where](face)]
    if faces:
        k = chance.randint(1, len(faces))
        for probe, matches in zip(probes, searcher.search_embeddings(probes, k), strict=True):
            assert_matches(matches, faces.values(), probe, k)
        found = searcher.search_embeddings(probes, k, where=where)
        for probe, matches in zip(probes, found, strict=True):
            assert_matches(matches, selected, probe, k)
    min_similarity = round(chance.uniform(-1, 1), 3)
    for one_per in (None, "photo", "person"):
        found = searcher.search_embeddings(
            probes, min_similarity=min_similarity, one_per=one_per, where=where
        )
        for probe, matches in zip(probes, found, strict=True):
            best = best_of_each(selected, one_per, probe)
            above = [face for face in best if face.vector @ probe >= min_similarity]
            assert_matches(matches, above, probe, len(above))


def best_of_each(faces: Iterable[Face], group: str | None, probe: np.ndarray) -> list[Face]:
    best: dict[Any, Face] = {}
    for face in sorted(faces, key=lambda face: -float(face.vector @ probe)):
        key = {None: None, "photo": face.photo_id, "person": face.person}[group]
        best.setdefault(face.face_id if key is None else key, face)
    return list(best.values())


def assert_matches(matches: Iterable[Match], faces: Iterable[Face], probe: Any, k: int) -> None:
    """Check that matches are the k most similar faces; ties may be in any order."""
    expected = {face.face_id: face for face in faces}
    matches = list(matches)
    for match in matches:
        assert as_face(match) == expected[match.face_id]
        assert match.similarity == pytest.approx(
            float(expected[match.face_id].vector @ probe), abs=1e-5
        )
    assert len({match.face_id for match in matches}) == len(matches)
    similarities = sorted((float(face.vector @ probe) for face in expected.values()), reverse=True)
    found = [match.similarity for match in matches]
    assert found == pytest.approx(similarities[:k], abs=1e-5)
    assert [match.rank for match in matches] == list(range(1, len(matches) + 1))


def as_face(match: Match) -> Face:
    assert match.metadata.keys() == {"year"}
    return Face(
        match.face_id,
        match.photo_id,
        match.uri,
        match.also_at,
        match.person,
        match.metadata["year"],
        np.empty(0),
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run FAISS on one thread, which is faster for so few faces."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.mark.lasting
@pytest.mark.slow
def test_an_index_answers_as_a_plain_model_whatever_happened_before(one_thread: None) -> None:
    run_state_machine_as_test(
        IndexHistory,
        settings=settings(
            derandomize=True,
            phases=[Phase.generate],  # shrinking a history takes minutes
            database=None,
            deadline=None,
            max_examples=20,
            stateful_step_count=15,
            suppress_health_check=list(HealthCheck),
        ),
    )
