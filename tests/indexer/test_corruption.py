"""Corrupt files of an index, altered or truncated, are refused by name or found by `verify`."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import CorruptFileError, FaceTroveError
from faces.dataset.deletions import read_deletions
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.command import ROOT
from tests.support.manifests import manifest_in_force
from tests.support.small_collections import DIMENSION, Collection, many_photos
from tests.support.vectors import unit_vectors

NUM_FLIPS = 640
FLIPS_UNDIGESTED = 50  # for each file
PROBES = unit_vectors(3, DIMENSION, seed=1)
KINDS = {"CURRENT", "manifest", "vectors.npy", "faces.arrow", "photos.arrow", "codes.faiss"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and an index of two segments, one approximate, with deleted rows."""
    folder = tmp_path_factory.mktemp("whole")
    collection = Collection(folder / "dataset")
    collection.embed(many_photos(50, faces=2))
    build_index(folder / "dataset", folder / "index", recipe="IVF4,SQ8", target_recall=0.5)
    collection.embed(many_photos(20, first=500, faces=1))
    build_index(folder / "dataset", folder / "index")
    where = "person = 'person 3'"
    assert delete_faces(folder / "dataset", [folder / "index"], where).num_faces == 12
    return folder


@pytest.fixture
def index(whole: Path, tmp_path: Path) -> Path:
    """A copy of the index to corrupt, with the manifest of its current version alone."""
    shutil.copytree(whole, tmp_path / "corrupt")
    index = tmp_path / "corrupt" / "index"
    in_force = manifest_in_force(index).name
    for path in index.glob("manifest-*.json"):
        if path.name != in_force:
            path.unlink()
    return index


def files_of(index: Path) -> list[Path]:
    return sorted(path for path in index.rglob("*") if path.is_file() and path.name != ".lock")


def answers(index: Path) -> list[object]:
    """Search an index in several ways, and return all matches as JSON."""
    searcher = FaceSearcher.open(index)
    found = list(searcher.search_embeddings(PROBES[:1], min_similarity=-1))
    found += searcher.search_embeddings(PROBES, k=5)
    found += searcher.search_embeddings(PROBES, k=5, where="year > 20 AND len(also_at) = 0")
    return [[match.to_json() for match in matches] for matches in found]


def what_happens(index: Path, expected: list[object]) -> tuple[str | None, tuple[str, ...]]:
    """Return the error that searching an index raises, if any, and the problems `verify` finds.

    Fails if the search gives a wrong answer and neither of these tells.
    """
    refused = None
    try:
        found = answers(index)
    except FaceTroveError as error:
        refused = str(error)
    try:
        problems = verify_index(index).problems
    except FaceTroveError as error:
        problems = (str(error),)
    if refused is None and not problems:
        assert found == expected
    return refused, problems


def flips(content: bytes, count: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """Yield copies of the content with a bit flipped at a random offset, often near the ends."""
    for number in range(count):
        reach = len(content) if number % 2 else min(len(content), 300)
        offset = chance.randrange(reach)
        offset = offset if number % 4 else len(content) - 1 - offset
        flipped = bytearray(content)
        flipped[offset] ^= 1 << chance.randrange(8)
        yield offset, bytes(flipped)


def kind_of(path: Path) -> str:
    return "manifest" if path.name.startswith("manifest-") else path.name


def test_a_changed_byte_is_refused_by_the_file_s_name(index: Path) -> None:
    files, chance, expected = files_of(index), random.Random(3), answers(index)
    assert {kind_of(path) for path in files if path.parent.name != "deletions"} == KINDS
    assert len(files) == 10
    num_flips = 0
    for path in files:
        content = path.read_bytes()
        for offset, flipped in flips(content, NUM_FLIPS // len(files), chance):
            path.write_bytes(flipped)
            refused, problems = what_happens(index, expected)
            assert refused is not None, (path, offset)
            assert problems, (path, offset)
            if path.name != "CURRENT":  # a flip there may name another manifest
                assert path.name in refused, (path, offset)
                assert path.name in problems[0], (path, offset)
            num_flips += 1
        path.write_bytes(content)
    assert num_flips >= 500
    assert what_happens(index, expected) == (None, ())


def test_a_file_cut_short_is_refused_by_its_name(index: Path) -> None:
    expected = answers(index)
    for path in files_of(index):
        content = path.read_bytes()
        for length in {0, 1, *np.geomspace(2, len(content) - 1, 12).astype(int).tolist()}:
            path.write_bytes(content[:length])
            refused, problems = what_happens(index, expected)
            assert refused is not None and path.name in refused, (path, length)
            assert problems and path.name in problems[0], (path, length)
        path.write_bytes(content)
    assert what_happens(index, expected) == (None, ())


def test_a_corrupt_index_is_built_anew_on_request(index: Path, whole: Path) -> None:
    for path in files_of(index):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        build_index(index.parent / "dataset", index, rebuild=True)
        assert verify_index(index, whole / "dataset").problems == ()
        shutil.rmtree(index)
        shutil.copytree(whole / "index", index)


UNDIGESTED = """
import sys
from pathlib import Path
import indexer.segment
indexer.segment.DIGESTED_BYTES = 0
from tests.indexer.test_corruption import corrupt_undigested
corrupt_undigested(Path(sys.argv[1]))
"""


def corrupt_undigested(index: Path) -> None:
    """Corrupt files that are not digested on opening; run this in a process of its own."""
    expected, chance = answers(index), random.Random(5)
    for path in files_of(index):
        if path.name not in {"vectors.npy", "faces.arrow", "photos.arrow"}:
            continue
        content = path.read_bytes()
        for offset, flipped in flips(content, FLIPS_UNDIGESTED, chance):
            print(path.name, offset, flush=True)  # noqa: T201  # tells where it crashed
            path.write_bytes(flipped)
            refused, problems = what_happens(index, expected)
            assert len(problems) == 1 and str(path) in problems[0], (path, offset, problems)
            assert refused is None or path.name in refused, (path, offset, refused)
        path.write_bytes(content)
    assert what_happens(index, expected) == (None, ())


@pytest.mark.lasting
@pytest.mark.slow
def test_a_changed_byte_in_a_file_too_large_to_digest_never_crashes_a_search(
    index: Path,
) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", UNDIGESTED, str(index)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # faster for so few faces
        check=False,
    )
    assert finished.returncode == 0, (finished.stdout[-100:], finished.stderr[-2000:])
    assert len(finished.stdout.splitlines()) == 6 * FLIPS_UNDIGESTED


def test_a_changed_byte_in_a_dataset_s_deletions_is_refused_or_harmless(whole: Path) -> None:
    path = whole / "dataset" / "deletions.parquet"
    content, expected, refused = path.read_bytes(), read_deletions(path.parent).digests, 0
    for offset, flipped in flips(content, 200, random.Random(4)):
        path.write_bytes(flipped)
        try:
            assert read_deletions(path.parent).digests == expected, offset
        except CorruptFileError as error:
            assert path.name in str(error)
            refused += 1
    path.write_bytes(content)
    assert refused > 100
