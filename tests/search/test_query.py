"""The conditions of a search: filters, thresholds, one match per photo or person."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.dataset.header import DatasetSettings
from faces.dataset.picture_hash import hash_pictures
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.delete import delete_faces
from search import one_per
from search.results import Match
from search.searcher import FaceSearcher
from tests.support.parts import part_tables, write
from tests.support.small_collections import Collection, Photo
from tests.support.vectors import unit_vectors

METADATA = pa.schema([("person", pa.string()), ("taken", pa.date32())])
PEOPLE = ("Ann", "Bob", None)


def write_people(path: Path, contract: ModelContract, count: int, *, seed: int = 0) -> None:
    """Write photos with three faces each, labelled Ann, Bob and not at all in turn."""
    photos, faces = part_tables({f"/{seed}/{n}.jpg": 3 for n in range(count)}, seed=seed)
    person = pa.array([PEOPLE[n % 3] for n in range(count)], pa.string())
    taken = pa.array([date(2000 + n % 20, 1, 1) for n in range(count)], pa.date32())
    photos = photos.append_column("person", person).append_column("taken", taken)
    with DatasetWriter.open(path, DatasetSettings(contract, metadata=METADATA)) as writer:
        writer.write_part(writer.part_name(0), photos, faces, {})


@pytest.fixture
def index(tmp_path: Path, contract: ModelContract) -> Path:
    """An exact index of 120 faces in two segments, some of them deleted."""
    write_people(tmp_path / "d", contract, 30)
    build_index(tmp_path / "d", tmp_path / "i")
    write_people(tmp_path / "d", contract, 12, seed=1)
    build_index(tmp_path / "d", tmp_path / "i")
    delete_faces(tmp_path / "d", [tmp_path / "i"], "uri = '/0/5.jpg'")
    return tmp_path / "i"


@pytest.fixture(params=[1, 40])
def probes(request: pytest.FixtureRequest) -> np.ndarray:
    return unit_vectors(request.param, 8, seed=77)


Expected = Callable[[Callable[[dict[str, object]], bool]], list[list[str]]]


@pytest.fixture
def expected(index: Path, probes: np.ndarray) -> Expected:
    """A function that ranks by NumPy, for each probe, the ids of faces that meet a condition."""
    faces, vectors = [], []
    for segment in FaceSearcher.open(index).snapshot.segments:
        live = np.flatnonzero(segment.live())
        faces += [segment.faces.row(int(row), segment.faces.schema.names) for row in live]
        vectors.append(segment.vectors[live])
    order = np.argsort(-(probes @ np.concatenate(vectors).T), axis=1)

    def ranked(meets_condition: Callable[[dict[str, object]], bool]) -> list[list[str]]:
        return [
            [str(faces[row]["face_id"]) for row in rows if meets_condition(faces[row])]
            for rows in order
        ]

    return ranked


def test_a_filter_is_applied_inside_the_search(
    index: Path, probes: np.ndarray, expected: Expected
) -> None:
    searcher = FaceSearcher.open(index)
    assert len(searcher) == 123
    answers = searcher.search_embeddings(probes, 7, where="person = 'Ann'")
    wanted = expected(lambda face: face["person"] == "Ann")
    assert [matches.face_ids for matches in answers] == [ids[:7] for ids in wanted]
    match = answers[0][0]
    assert match.person == "Ann"
    assert match.metadata.keys() == {"taken"}
    assert match.to_json()["metadata"]["taken"].startswith("20")


def test_a_filter_that_leaves_three_faces_returns_those_three(
    index: Path, probes: np.ndarray
) -> None:
    searcher = FaceSearcher.open(index)
    for matches in searcher.search_embeddings(probes, 10, where="uri = '/1/3.jpg'"):
        assert sorted(matches.face_ids) == [f"/1/3.jpg-{n}-1" for n in range(3)]
        assert [match.rank for match in matches] == [1, 2, 3]
    for matches in searcher.search_embeddings(probes, 10, where="uri = '/0/5.jpg'"):  # deleted
        assert len(matches) == 0


def test_all_matches_above_a_similarity_are_returned(
    index: Path, probes: np.ndarray, expected: Expected
) -> None:
    searcher = FaceSearcher.open(index)
    everything = searcher.search_embeddings(probes, len(searcher))
    for min_similarity in (-1.0, 0.0, 0.5, 0.99):
        answers = searcher.search_embeddings(probes, min_similarity=min_similarity)
        for matches, ranked in zip(answers, everything, strict=True):
            count = int((ranked.similarities >= min_similarity).sum())
            assert matches.face_ids == ranked[:count].face_ids
        answers = searcher.search_embeddings(probes, 5, min_similarity=min_similarity)
        for matches, ranked in zip(answers, everything, strict=True):
            count = min(5, int((ranked.similarities >= min_similarity).sum()))
            assert matches.face_ids == ranked[:count].face_ids


def test_one_match_per_photo_is_the_best_of_each(
    index: Path, probes: np.ndarray, expected: Expected
) -> None:
    answers = FaceSearcher.open(index).search_embeddings(probes, 30, one_per="photo")
    for matches, ids in zip(answers, expected(lambda _: True), strict=True):
        best = list({face_id.split("-")[0]: face_id for face_id in reversed(ids)}.values())
        assert matches.face_ids == sorted(best, key=ids.index)[:30]


def hash_with(seed: int) -> bytes:
    """Return the stored hash of a picture of random patches."""
    image = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    return hash_pictures([image], [np.empty((0, 4), np.float32)])[0]


def embed_sizes(collection: Collection, *, first: int, count: int) -> None:
    """Embed pictures in three sizes each, whose contents and faces differ, and one without hash."""
    collection.embed(
        {
            f"/{number}/{size}.jpg": Photo(3 * number + size, 2, picture_hash=hash_with(number))
            for number in range(first, first + count)
            for size in range(3)
        }
    )


@pytest.mark.parametrize("recipe", [{}, {"rebuild": True}])
def test_a_photo_in_several_sizes_is_one_match_per_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, bool]
) -> None:
    monkeypatch.setattr(one_per, "BLOCK_FACES", 8)  # copies are in several blocks
    collection = Collection(tmp_path / "d")
    embed_sizes(collection, first=0, count=10)
    build_index(collection.path, tmp_path / "i")
    # One more place of a content, whose row has no hash; and pictures of a second segment.
    collection.embed({"/-copy.jpg": Photo(0, 2), "/no-hash.jpg": Photo(100, 2)})
    embed_sizes(collection, first=10, count=10)
    build_index(collection.path, tmp_path / "i", **recipe)
    searcher = FaceSearcher.open(tmp_path / "i")
    probes = unit_vectors(3, 8, seed=5)
    every = searcher.search_embeddings(probes, min_similarity=-1.0)
    answers = searcher.search_embeddings(probes, min_similarity=-1.0, one_per="photo")
    for all_matches, matches in zip(every, answers, strict=True):
        best = list({picture_of(match): match for match in reversed([*all_matches])}.values())
        best.sort(key=lambda match: match.rank)
        assert matches.face_ids == [match.face_id for match in best]
        assert len(best) == 21
    few = searcher.search_embeddings(probes, 5, one_per="photo")
    assert [m.face_ids for m in few] == [m.face_ids[:5] for m in answers]
    listed = [face.uri for face in searcher.list_faces("true", one_per="photo")]
    assert listed == sorted([*(f"/{n}/0.jpg" for n in range(1, 20)), "/-copy.jpg", "/no-hash.jpg"])


def picture_of(match: Match) -> str:
    """Return which of the pictures of `embed_sizes` a match shows."""
    return "/0/" if match.uri == "/-copy.jpg" else match.uri[: match.uri.rfind("/") + 1]


def test_no_filter_and_no_result_has_the_hash_of_the_picture(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "d")
    embed_sizes(collection, first=0, count=1)
    build_index(collection.path, tmp_path / "i")
    searcher = FaceSearcher.open(tmp_path / "i")
    with pytest.raises(WrongUsageError, match="picture_hash"):
        searcher.list_faces("picture_hash IS NOT NULL")
    assert searcher.columns == ["person", "year"]
    table = searcher.search_embeddings(unit_vectors(1, 8, seed=1), 1).to_arrow()
    assert "picture_hash" not in table.column_names


def test_one_match_per_person_keeps_every_face_without_a_person(
    index: Path, probes: np.ndarray
) -> None:
    searcher = FaceSearcher.open(index)
    for matches in searcher.search_embeddings(probes, 20, one_per="person"):
        named = [match.person for match in matches if match.person]
        assert sorted(named) == sorted(set(named))
        assert len(matches) == 20
    people = searcher.search_embeddings(probes, 20, one_per="person", where="person IS NOT NULL")
    assert {tuple(sorted(str(m.person) for m in matches)) for matches in people} == {("Ann", "Bob")}


def test_search_face_leaves_the_face_itself_out(index: Path) -> None:
    searcher = FaceSearcher.open(index)
    face_id = "/0/7.jpg-1-0"
    matches = searcher.search_face(face_id, 5)
    position = searcher.snapshot.position_of(face_id)
    assert position is not None
    (ranked,) = searcher.search_embeddings(searcher.snapshot.embeddings(np.array([position])), 6)
    assert ranked[0].face_id == face_id
    assert matches.face_ids == ranked[1:].face_ids
    assert [match.rank for match in matches] == [1, 2, 3, 4, 5]
    for gone in ("/0/5.jpg-0-0", "nobody", "\udcff"):
        with pytest.raises(WrongUsageError, match="holds no face"):
            searcher.search_face(gone)


def test_invalid_conditions_are_refused_with_valid_ones(
    index: Path, contract: ModelContract
) -> None:
    searcher = FaceSearcher.open(index)
    probe = unit_vectors(1, 8, 0)
    with pytest.raises(WrongUsageError, match="from -1 to 1"):
        searcher.search_embeddings(probe, min_similarity=2)
    with pytest.raises(WrongUsageError, match="'photo' or 'person'"):
        searcher.search_embeddings(probe, one_per="album")  # type: ignore[arg-type]
    with pytest.raises(WrongUsageError, match="over the columns"):
        searcher.search_embeddings(probe, where="persn = 'Ann'")
    write(index.parent / "e", contract, {"a": 1})
    build_index(index.parent / "e", index.parent / "j")
    with pytest.raises(WrongUsageError, match="has no column person"):
        FaceSearcher.open(index.parent / "j").search_embeddings(probe, one_per="person")


def test_a_column_that_came_later_is_null_in_older_segments(
    tmp_path: Path, contract: ModelContract
) -> None:
    write(tmp_path / "d", contract, {f"{n}": 1 for n in range(20)})
    build_index(tmp_path / "d", tmp_path / "i")
    write_people(tmp_path / "d", contract, 2, seed=1)
    assert len(build_index(tmp_path / "d", tmp_path / "i").segments) == 2
    for _ in range(2):
        searcher = FaceSearcher.open(tmp_path / "i")
        (matches,) = searcher.search_embeddings(unit_vectors(1, 8, 0), 26)
        people = [match.person for match in matches]
        assert (people.count(None), people.count("Ann"), people.count("Bob")) == (20, 3, 3)
        (matches,) = searcher.search_embeddings(unit_vectors(1, 8, 0), where="person = 'Bob'")
        assert len(matches) == 3
        compact_index(tmp_path / "i")


def test_a_filter_on_a_column_that_an_index_lacks_deletes_from_the_dataset(
    tmp_path: Path, contract: ModelContract
) -> None:
    write(tmp_path / "d", contract, {f"{n}": 1 for n in range(20)})
    build_index(tmp_path / "d", tmp_path / "i")
    write_people(tmp_path / "d", contract, 3, seed=1)  # the index has no column person yet
    deleted = delete_faces(tmp_path / "d", [tmp_path / "i"], "person = 'Ann'")
    assert (deleted.num_faces, list(deleted.num_faces_of_index.values())) == (3, [0])
    assert build_index(tmp_path / "d", tmp_path / "i").num_faces == 26


def test_a_filter_does_not_see_deleted_faces(index: Path) -> None:
    searcher, probe = FaceSearcher.open(index), unit_vectors(1, 8, 0)
    for uri, num_left in (("/0/5.jpg", 0), ("/0/6.jpg", 3)):
        fails = f"CASE WHEN uri = '{uri}' THEN CAST(uri AS INTEGER) > 0 ELSE false END"
        if num_left:
            with pytest.raises(WrongUsageError, match="at character 33, a value cannot be"):
                searcher.search_embeddings(probe, where=fails)
        else:
            assert [len(found) for found in searcher.search_embeddings(probe, where=fails)] == [0]


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_column_of_any_name_in_an_older_dataset_decides_nothing(
    tmp_path: Path, contract: ModelContract, row: int
) -> None:
    photos, faces = part_tables({f"/{name}.jpg": 1 for name in ("ann", "ben", "cyd")})
    photos = photos.append_column("facetrove_row", pa.array([row, (row + 1) % 3, (row + 1) % 3]))
    settings = DatasetSettings(contract, metadata=pa.schema([("facetrove_row", pa.int64())]))
    with DatasetWriter.open(tmp_path / "d", settings) as writer:
        writer.write_part(writer.part_name(0), photos, faces, {})
    build_index(tmp_path / "d", tmp_path / "i")
    delete_faces(tmp_path / "d", [tmp_path / "i"], "uri LIKE '%ann%'")
    (matches,) = FaceSearcher.open(tmp_path / "i").search_embeddings(unit_vectors(1, 8, 0))
    assert {match.uri for match in matches} == {"/ben.jpg", "/cyd.jpg"}


INTERRUPTED = """
import sys
from indexer import filters
from facetrove.cli.main import main

within = filters._within

def told(seconds, work):
    def working(connection):  # everything is loaded by now
        print("filtering", flush=True)
        return work(connection)

    return within(seconds, working)

filters._within = told
sys.argv = ["facetrove", *sys.argv[1:]]
main()
"""


def test_ctrl_c_stops_a_filter(tmp_path: Path, contract: ModelContract) -> None:
    uris = {f"/{'ab/.x1' * 25}/{number}.jpg": 1 for number in range(10_000)}
    write(tmp_path / "d", contract, uris)
    build_index(tmp_path / "d", tmp_path / "i")
    where = r"regexp_matches(uri, '(\pL?){100}Q')"  # takes 40 s, and is stopped after 5 s by itself
    command = ["search", str(tmp_path / "i"), "--face", f"{next(iter(uris))}-0-0", "--where", where]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell have it ignore the signal.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None and process.stdout.readline() == "filtering\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == "facetrove: error: stopped"


def test_an_invalid_filter_is_refused_even_where_the_index_is_empty(
    tmp_path: Path, index: Path
) -> None:
    delete_faces(tmp_path / "d", [index], "true")
    compact_index(index)
    with pytest.raises(WrongUsageError, match="no column 'persn'"):
        FaceSearcher.open(index).search_embeddings(unit_vectors(1, 8, 0), where="persn = 'Ann'")


def test_refresh_opens_the_current_version(
    tmp_path: Path, index: Path, contract: ModelContract
) -> None:
    searcher, stale = FaceSearcher.open(index), FaceSearcher.open(index)
    assert not searcher.refresh()
    delete_faces(tmp_path / "d", [index], "person = 'Ann' AND starts_with(uri, '/1/')")
    write_people(tmp_path / "d", contract, 1, seed=9)
    build_index(tmp_path / "d", index)
    vectors = searcher.snapshot.segments[0].vectors
    assert searcher.refresh()
    assert searcher.snapshot.segments[0].vectors is vectors  # open segments are used again
    assert (len(stale), len(searcher)) == (123, 114)
    assert searcher.manifest.version > stale.manifest.version
    probe = unit_vectors(1, 8, 0)
    (matches,) = searcher.search_embeddings(probe, 114, where="person = 'Ann'")
    assert {match.uri.split("/")[1] for match in matches} == {"0", "9"}
    (matches,) = stale.search_embeddings(probe, 123, where="person = 'Ann'")
    assert {match.uri.split("/")[1] for match in matches} == {"0", "1"}


def test_an_empty_index_returns_no_matches(index: Path, tmp_path: Path) -> None:
    delete_faces(tmp_path / "d", [index], "true")
    for _ in range(2):
        searcher = FaceSearcher.open(index)
        assert len(searcher) == 0
        assert [len(found) for found in searcher.search_embeddings(unit_vectors(3, 8, 0))] == [
            0
        ] * 3
        compact_index(index)
