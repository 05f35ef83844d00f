from __future__ import annotations

import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from beam_jobs import knn_join
from beam_jobs.knn_join import join_nearest
from faces.core.errors import (
    BusyError,
    ContractMismatchError,
    CorruptFileError,
    FaceTroveError,
    WrongUsageError,
)
from faces.core.progress import Progress, ignore_progress
from indexer import join_plan
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.faiss_library import faiss
from indexer.folder import open_segments
from indexer.inverted_lists import InvertedLists
from indexer.join import JoinWork, join_piece
from indexer.join_files import JoinOptions
from indexer.join_plan import request_of
from indexer.manifest import read_current
from tests.support.command import facetrove_command, run_facetrove
from tests.support.labelled_faces import labelled_index
from tests.support.small_collections import Collection, Face, many_photos
from tests.support.vectors import unit_vectors

Neighbours = dict[str, list[tuple[str, float]]]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """600 faces in four parts, and an index with two segments, of which one has inverted lists."""
    collection = Collection(tmp_path_factory.mktemp("ours") / "dataset")
    collection.embed(many_photos(160), photos_per_part=50)
    build_index(collection.path, index_of(collection), recipe="IVF16,SQ8", target_recall=0.99)
    collection.embed(many_photos(40, first=1000))
    build_index(collection.path, index_of(collection))
    deleted = "year = 7"
    gone = {i for i, face in collection.faces().items() if face.year == 7}
    delete_faces(collection.path, [index_of(collection)], deleted)
    collection.deleted |= gone
    assert len(read_current(index_of(collection)).segments) == 2
    return collection


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """90 other faces, and 30 that `ours` has, too."""
    collection = Collection(tmp_path_factory.mktemp("theirs") / "dataset")
    collection.embed(many_photos(30, first=5000) | many_photos(10))
    return collection


def index_of(collection: Collection) -> Path:
    return collection.path.with_name("index")


def expected(
    a: dict[str, Face], b: dict[str, Face], k: int, min_similarity: float = -1.0
) -> Neighbours:
    """Return the neighbours by comparing everything with everything."""
    ids = np.array(list(b))
    matrix = np.stack([face.vector for face in b.values()])
    found = {}
    for face_id, face in a.items():
        similarities = matrix @ face.vector
        similarities[ids == face_id] = -2
        order = np.argsort(-similarities)[:k]
        found[face_id] = [
            (str(ids[row]), float(similarities[row]))
            for row in order
            if similarities[row] >= min_similarity
        ]
    return found


def neighbours_in(path: Path) -> Neighbours:
    found: Neighbours = defaultdict(list)
    for row in pq.read_table(path).to_pylist():
        assert row["rank"] == len(found[row["face_id"]]) + 1
        found[row["face_id"]].append((row["neighbour"], row["similarity"]))
    return found


def assert_same(found: Neighbours, wanted: Neighbours) -> None:
    assert found.keys() == {face_id for face_id, nearest in wanted.items() if nearest}
    for face_id, nearest in found.items():
        assert [name for name, _ in nearest] == [name for name, _ in wanted[face_id]]
        assert [s for _, s in nearest] == pytest.approx([s for _, s in wanted[face_id]], abs=1e-5)


def test_the_neighbours_of_a_datasets_faces_are_those_of_exact_search(
    ours: Collection, theirs: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    result = join_nearest(theirs.path, index_of(ours), out, k=7, target_recall=1.0)
    assert_same(neighbours_in(out), expected(theirs.faces(), ours.faces(), 7))
    assert (result.recall, result.is_exact) == (1.0, False)
    assert result.counts.num_faces == len(theirs.faces()) == 120
    assert result.counts.num_neighbours == 7 * 120
    assert pd.read_parquet(out).columns.tolist() == ["face_id", "rank", "neighbour", "similarity"]


def test_a_join_of_an_index_with_itself_has_no_face_as_its_own_neighbour(
    ours: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    join_nearest(index_of(ours), index_of(ours), out, k=7, target_recall=1.0)
    assert_same(neighbours_in(out), expected(ours.faces(), ours.faces(), 7))


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 400])
def test_pairs_that_either_face_finds_are_those_of_exact_search(
    ours: Collection, tmp_path: Path, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join_plan, "MIN_PIECE_FACES", 10)
    monkeypatch.setattr(join_plan, "PIECE_FACES", 200)
    out = tmp_path / "out.parquet"
    result = join_nearest(
        index_of(ours), index_of(ours), out, k=k, min_similarity=0.75, target_recall=1.0
    )
    wanted = expected(ours.faces(), ours.faces(), k, 0.75)
    assert_same(neighbours_in(out), wanted)
    assert result.recall == 1.0
    assert result.counts.num_neighbours == sum(map(len, wanted.values()))


def test_deleted_faces_are_left_out(ours: Collection, theirs: Collection, tmp_path: Path) -> None:
    assert ours.deleted
    for a in (ours.path, index_of(ours)):
        out = tmp_path / f"{a.name}.parquet"
        join_nearest(a, index_of(ours), out, k=5)
        found = neighbours_in(out)
        assert found.keys() == set(ours.faces())
        assert not ours.deleted & {name for nearest in found.values() for name, _ in nearest}


@pytest.mark.parametrize("target_recall", [1.0, 0.9])
def test_a_minimum_similarity_holds_and_faces_without_neighbours_are_counted(
    ours: Collection, theirs: Collection, tmp_path: Path, target_recall: float
) -> None:
    out = tmp_path / "out.parquet"
    options = {"min_similarity": 0.85, "target_recall": target_recall}
    result = join_nearest(theirs.path, index_of(ours), out, k=7, **options)
    wanted = expected(theirs.faces(), ours.faces(), 7, 0.85)
    found = neighbours_in(out)
    assert 0 < result.counts.num_alone == len(wanted) - len(found)
    assert min(s for nearest in found.values() for _, s in nearest) >= 0.85
    if target_recall == 1.0:
        assert_same(found, wanted)


def test_the_recall_is_that_against_exact_search(
    ours: Collection, theirs: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    result = join_nearest(theirs.path, index_of(ours), out, k=10, target_recall=0.5)
    found, wanted = neighbours_in(out), expected(theirs.faces(), ours.faces(), 10)
    hits = [
        name in {n for n, _ in found[face_id]}
        for face_id, nearest in wanted.items()
        for name, _ in nearest
    ]
    assert result.counts.num_sampled == 120
    assert result.recall == pytest.approx(np.mean(hits))
    assert 0.4 < result.recall < 1
    assert result.recall_of_matches is None  # the imaginary model has no threshold


def test_lists_to_probe_reach_the_recall_that_was_asked_for(ours: Collection) -> None:
    manifest = read_current(index_of(ours))
    segment = open_segments(index_of(ours), manifest)[0]
    lists = InvertedLists(segment.vectors, segment.codes, None)
    counts = [lists.lists_to_probe(5, target_recall=r, threshold=None) for r in (0.6, 0.9, 1.0)]
    assert 1 <= counts[0] < counts[1] < counts[2] <= lists.nlist
    exact = segment.vectors @ segment.vectors.T
    np.fill_diagonal(exact, -2)
    wanted = np.argsort(-exact, axis=1)[:, :5]
    for nprobe, target in zip(counts, (0.6, 0.9, 1.0), strict=True):
        _, rows = lists.nearest(segment.vectors, 6, nprobe=nprobe)
        recall = np.mean([np.isin(w, r).mean() for w, r in zip(wanted, rows, strict=True)])
        assert target <= recall < target + 0.25


def test_codes_that_lack_a_row_are_refused() -> None:
    vectors = unit_vectors(50, 8, seed=1)
    codes = faiss.index_factory(8, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    codes.train(vectors)
    codes.add(vectors[:49])
    with pytest.raises(CorruptFileError, match="does not hold each of its segment's 50 rows once"):
        InvertedLists(vectors, codes, None)


@pytest.fixture
def many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_plan, "MIN_PIECE_FACES", 10)
    monkeypatch.setattr(join_plan, "PIECE_FACES", 40)


@pytest.mark.usefixtures("many_pieces")
@pytest.mark.parametrize(
    ("of", "min_similarity"), [("dataset", None), ("index", None), ("index", 0.6)]
)
def test_an_interrupted_join_goes_on_with_what_is_not_done(
    ours: Collection,
    tmp_path: Path,
    of: str,
    min_similarity: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = ours.path.with_name(of)
    out = tmp_path / "out.parquet"
    request = request_of(a, index_of(ours), JoinOptions(6, min_similarity, 1.0))
    with JoinWork.open(request, out, min_pieces=1, on_progress=ignore_progress) as work:
        pieces = work.pending()
        assert len(pieces) == (4 if of == "dataset" else 15)
        for name in pieces[1:]:
            join_piece(work.folder, name)
        assert work.pending() == pieces[:1]
        reported = work.progress()
        assert 0 < reported.done < reported.total == len(ours.faces())
    assert not out.exists()
    joined: list[str] = []
    monkeypatch.setattr(
        knn_join, "join_piece", lambda work, name: (joined.append(name), join_piece(work, name))
    )
    seen: list[Progress] = []
    join_nearest(
        a,
        index_of(ours),
        out,
        k=6,
        min_similarity=min_similarity,
        target_recall=1.0,
        on_progress=seen.append,
    )
    assert joined == pieces[:1]
    assert seen[0].done == reported.done
    wanted = expected(ours.faces(), ours.faces(), 6, min_similarity or -1)
    assert_same(neighbours_in(out), wanted)
    assert not work.folder.path.exists()


@pytest.mark.usefixtures("many_pieces")
def test_another_join_does_not_go_on_with_the_pieces_of_an_interrupted_one(
    ours: Collection, theirs: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    request = request_of(index_of(ours), index_of(ours), JoinOptions(3, None, 1.0))
    with JoinWork.open(request, out, min_pieces=1, on_progress=ignore_progress) as work:
        for name in work.pending():
            join_piece(work.folder, name)
        with pytest.raises(BusyError, match="another process is writing join"):
            join_nearest(theirs.path, index_of(ours), out, k=4)
    monkeypatch.setattr(join_plan, "MIN_PIECE_FACES", 1000)
    join_nearest(theirs.path, index_of(ours), out, k=4, target_recall=1.0)
    assert_same(neighbours_in(out), expected(theirs.faces(), ours.faces(), 4))


def test_a_finished_join_is_not_done_again(
    ours: Collection, theirs: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    first = join_nearest(theirs.path, index_of(ours), out, k=4)
    written = out.stat().st_mtime_ns
    (tmp_path / "out.parquet.work").mkdir()
    (tmp_path / "out.parquet.work" / "plan.json").write_text("left by a killed process")
    assert join_nearest(theirs.path, index_of(ours), out, k=4) == first
    assert out.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    with pytest.raises(WrongUsageError, match=r"out\.parquet exists and is not the result of this"):
        join_nearest(theirs.path, index_of(ours), out, k=5)


def test_an_index_that_changes_meanwhile_ends_the_join(tmp_path: Path) -> None:
    collection = Collection(tmp_path / "dataset")
    collection.embed(many_photos(20))
    build_index(collection.path, tmp_path / "index")
    out = tmp_path / "out.parquet"
    request = request_of(collection.path, tmp_path / "index", JoinOptions(3))
    with JoinWork.open(request, out, min_pieces=1, on_progress=ignore_progress) as work:
        collection.embed(many_photos(20, first=100))
        build_index(collection.path, tmp_path / "index")
        join_plan.open_target.cache_clear()  # as in a worker that starts now
        with pytest.raises(FaceTroveError, match="has changed since the join began; run the same"):
            join_piece(work.folder, work.pending()[0])
    join_nearest(collection.path, tmp_path / "index", out, k=3)
    assert_same(neighbours_in(out), expected(collection.faces(), collection.faces(), 3))


def test_bad_input_is_named(ours: Collection, tmp_path: Path) -> None:
    index, out = index_of(ours), tmp_path / "out.parquet"
    other = labelled_index(tmp_path, unit_vectors(30, 16, seed=1), ["a"] * 30)
    (tmp_path / "photo.parquet").write_bytes(b"a photo")
    for problem, error, arguments, options in (
        ("is a dataset; build its index", WrongUsageError, (index, ours.path, out), {}),
        ("nothing does not exist", WrongUsageError, (tmp_path / "nothing", index, out), {}),
        ("does not end in .parquet", WrongUsageError, (index, index, tmp_path / "o.csv"), {}),
        (
            "no/folder does not exist",
            WrongUsageError,
            (index, index, tmp_path / "no/folder/o.parquet"),
            {},
        ),
        (
            "exists and is not the result",
            WrongUsageError,
            (index, index, tmp_path / "photo.parquet"),
            {},
        ),
        ("k is 0; give 1 to 1,000", WrongUsageError, (index, index, out), {"k": 0}),
        ("min_similarity is 2", WrongUsageError, (index, index, out), {"min_similarity": 2.0}),
        ("target_recall is 0", WrongUsageError, (index, index, out), {"target_recall": 0.0}),
        ("s3://b/o.parquet is an address", WrongUsageError, (index, index, "s3://b/o.parquet"), {}),
        ("embed one of them again", ContractMismatchError, (other, index, out), {}),
    ):
        with pytest.raises(error) as caught:
            join_nearest(*arguments, **options)
        assert problem in str(caught.value)
    assert (tmp_path / "photo.parquet").read_bytes() == b"a photo"
    assert not out.exists()
    work = tmp_path / "out.parquet.work"
    (work / "holiday").mkdir(parents=True)
    with pytest.raises(WrongUsageError, match="has files of something else"):
        join_nearest(index, index, out)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """As many faces as are joined by worker processes."""
    collection = Collection(tmp_path_factory.mktemp("large") / "dataset")
    collection.embed(many_photos(2000, faces=6), photos_per_part=100)
    build_index(collection.path, index_of(collection), recipe="IVF32,SQ8", target_recall=0.99)
    return collection


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("itself", [False, True])
def test_killed_joins_are_completed_by_the_same_command(
    large: Collection, tmp_path: Path, itself: bool
) -> None:
    out, undisturbed = tmp_path / "out.parquet", tmp_path / "undisturbed.parquet"
    work = tmp_path / "out.parquet.work"
    assert len(large.faces()) > join_plan.MIN_PIECE_FACES
    words = ("join", index_of(large) if itself else large.path, index_of(large))
    options = ("-k", "5", *(("--min-similarity", "0.5") if itself else ()))
    finished = run_facetrove(*words, undisturbed, *options, "--json")
    assert finished.returncode == 0, finished.stderr
    results_before_kill = [0, 0, 1, 2, 3]
    codes = []
    for num_results in results_before_kill:
        with subprocess.Popen(
            facetrove_command(*words, out, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and not (
                (work / "plan.json").exists() and len(list(work.glob("*.arrow"))) >= num_results
            ):
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        codes.append(process.returncode)
    assert codes[:2] == [-signal.SIGKILL] * 2, "killed before a worker has started"
    assert set(codes) <= {-signal.SIGKILL, 0}
    finished = run_facetrove(*words, out, *options)
    assert finished.returncode == 0, finished.stderr
    assert "60,000 neighbours of 12,000 faces" in finished.stdout
    found, expected_ones = pq.read_table(out), pq.read_table(undisturbed)
    for name in ("face_id", "rank"):
        assert found[name].equals(expected_ones[name])
    # The last pieces have the processor's other cores too, and on some processors the products of
    # two threads differ from those of one in the last bit, by which two neighbours may change
    # places.
    similarities = [table["similarity"].to_numpy() for table in (found, expected_ones)]
    np.testing.assert_allclose(*similarities, atol=1e-6)
    same = pc.equal(
        found["neighbour"].cast(pa.string()), expected_ones["neighbour"].cast(pa.string())
    )
    assert pc.sum(pc.invert(same)).as_py() <= 4
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet", "undisturbed.parquet"}


@pytest.mark.usefixtures("many_pieces")
def test_a_piece_that_a_runner_repeats_is_not_completed_before_all_have_been_searched(
    ours: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    request = request_of(index_of(ours), index_of(ours), JoinOptions(6, 0.6, 1.0))
    with JoinWork.open(request, out, min_pieces=1, on_progress=ignore_progress) as work:
        pieces = work.pending()
        for name in (pieces[0], *pieces):
            join_piece(work.folder, name)
        assert work.pending() == pieces
        assert not list(work.folder.path.glob("*.arrow"))
        for name in (pieces[0], *pieces):
            join_piece(work.folder, name)
        assert work.pending() == []
        work.finish()
    assert_same(neighbours_in(out), expected(ours.faces(), ours.faces(), 6, 0.6))
