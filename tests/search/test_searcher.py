from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import ContractMismatchError, CorruptFileError, WrongUsageError
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.registry import load_pipeline
from faces.photos.decoding import decode_photo
from indexer.build import build_index
from search.results import CandidateList, Match
from search.searcher import FaceSearcher
from tests.support.parts import write
from tests.support.vectors import unit_vectors


@pytest.fixture
def searcher(demo_index: Path) -> FaceSearcher:
    return FaceSearcher.open(demo_index)


def names(matches: CandidateList) -> list[str]:
    return [Path(match.uri).name for match in matches]


def test_a_portrait_finds_the_person_s_other_portraits_first(
    searcher: FaceSearcher, probe_photo: Path
) -> None:
    (probe,) = searcher.search(probe_photo, k=7)
    assert {name.split("_")[0].rstrip("23.jpg") for name in names(probe.matches)[:4]} == {"obama"}
    similarities = [match.similarity for match in probe.matches]
    assert similarities == sorted(similarities, reverse=True)
    assert min(similarities[:4]) > 0.6
    assert max(similarities[4:]) < 0.3
    assert [match.rank for match in probe.matches] == list(range(1, 8))


def test_similarities_are_inner_products_of_the_dataset_s_embeddings(
    searcher: FaceSearcher, demo_dataset: Path, probe_photo: Path
) -> None:
    (faces,) = searcher.pipeline.find_faces([decode_photo(probe_photo.read_bytes()).image])
    expected = {
        face_id: float(embedding @ faces[0].embedding)
        for table in Dataset.open(demo_dataset).faces()
        for face_id, embedding in zip(
            table["face_id"].to_pylist(), embedding_matrix(table), strict=True
        )
    }
    (probe,) = searcher.search(probe_photo, k=7)
    found = {match.face_id: match.similarity for match in probe.matches}
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_match_says_where_the_face_is(searcher: FaceSearcher, demo_photos: Path) -> None:
    path = demo_photos / "biden.jpg"
    (probe,) = searcher.search(path, k=1)
    match = probe.matches[0]
    assert match.uri == str(path)
    assert match.similarity == pytest.approx(1.0, abs=1e-3)
    assert match.box == pytest.approx(probe.box, abs=1)
    assert match.person is None
    assert 0.7 <= match.score <= 1


def test_every_face_of_a_photo_is_a_probe(searcher: FaceSearcher, demo_photos: Path) -> None:
    left = decode_photo((demo_photos / "biden.jpg").read_bytes()).image[:900]
    right = decode_photo((demo_photos / "obama2.jpg").read_bytes()).image[:900]
    both = np.concatenate([left, right], axis=1)
    probes = searcher.search(both, k=1)
    found = sorted((probe.box.x, names(probe.matches)[0]) for probe in probes)
    assert [name for _, name in found] == ["biden.jpg", "obama2.jpg"]


def test_a_photo_of_nobody_has_no_probes(searcher: FaceSearcher, demo_photos: Path) -> None:
    assert searcher.search(demo_photos / "coffee.png", k=1) == []


@pytest.mark.parametrize("k", [0, -1, 8, 10**9])
def test_k_outside_the_gallery_is_refused_with_its_size(searcher: FaceSearcher, k: int) -> None:
    with pytest.raises(WrongUsageError, match=r"holds 7 faces; ask for 1 to 7 matches"):
        searcher.search_embeddings(unit_vectors(1, 128, 0), k=k)


def test_embeddings_of_another_shape_or_length_are_refused(searcher: FaceSearcher) -> None:
    with pytest.raises(WrongUsageError, match=r"expects \(n, 128\); embed with .*sface"):
        searcher.search_embeddings(unit_vectors(2, 64, 0), k=1)
    with pytest.raises(WrongUsageError, match=r"expects \(n, 128\)"):
        searcher.search_embeddings(unit_vectors(1, 128, 0)[0], k=1)
    vectors = unit_vectors(3, 128, 0)
    vectors[1] *= 20
    with pytest.raises(
        WrongUsageError, match=r"embedding 1 \(from 0\) does not have Euclidean length 1"
    ):
        searcher.search_embeddings(vectors, k=1)
    vectors[1] = np.nan
    with pytest.raises(WrongUsageError, match="embedding 1 "):
        searcher.search_embeddings(vectors, k=1)


def test_a_batch_gives_one_list_per_embedding_in_order(searcher: FaceSearcher) -> None:
    vectors = unit_vectors(50, 128, 1)
    together = searcher.search_embeddings(vectors, k=3)
    assert len(together) == 50
    for vector, matches in zip(vectors, together, strict=True):
        (alone,) = searcher.search_embeddings([vector], k=3)
        assert [m.face_id for m in alone] == [m.face_id for m in matches]
    assert searcher.search_embeddings(np.empty((0, 128), np.float32), k=3) == []


def test_padding_never_reaches_the_user(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probed inverted lists of an approximate index hold fewer faces than are asked for."""
    write(tmp_path / "d", contract, {f"{n}": 1 for n in range(300)})
    build_index(tmp_path / "d", tmp_path / "i", recipe="IVF8,SQ8")
    searcher = FaceSearcher.open(tmp_path / "i")
    for matches in searcher.search_embeddings(unit_vectors(20, 8, 5), k=299):
        assert len(matches) == 299
        assert len({match.face_id for match in matches}) == len(matches)
        assert all(-1 <= match.similarity <= 1 for match in matches)


def test_a_corrupt_file_is_refused_by_name(demo_index: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    shutil.copytree(demo_index, index)
    for name in ("vectors.npy", "faces.arrow", "photos.arrow"):
        (path,) = index.glob(f"segments/*/{name}")
        whole = path.read_bytes()
        for content in (whole[:-1], whole[:100], b"", whole + b"\0"):
            path.write_bytes(content)
            with pytest.raises(CorruptFileError, match=rf"{name} has .* bytes instead of"):
                FaceSearcher.open(index)
        for offset in range(0, len(whole), len(whole) // 50):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
            with pytest.raises(CorruptFileError, match=f"{name} differs"):
                FaceSearcher.open(index)
        path.unlink()
        with pytest.raises(CorruptFileError, match=f"{name} is missing"):
            FaceSearcher.open(index)
        path.write_bytes(whole)
    FaceSearcher.open(index)


def test_an_index_of_another_model_does_not_take_photos(tmp_path: Path, probe_photo: Path) -> None:
    newer = replace(load_pipeline().contract, preprocessing_version=99, dimension=8)
    write(tmp_path / "d", newer, {"a": 1})
    build_index(tmp_path / "d", tmp_path / "i")
    with pytest.raises(ContractMismatchError, match=r"preprocessing 99.*build the index of that"):
        FaceSearcher.open(tmp_path / "i").search(probe_photo, k=1)


def test_candidate_lists_behave_like_lists(searcher: FaceSearcher, probe_photo: Path) -> None:
    matches = searcher.search(probe_photo, k=3)[0].matches
    assert len(matches) == 3
    assert isinstance(matches[0], Match)
    assert isinstance(matches[:2], CandidateList)
    assert [m.rank for m in matches[1:]] == [2, 3]
    assert matches[-1].rank == 3


def test_threads_may_share_a_searcher(searcher: FaceSearcher, demo_photos: Path) -> None:
    photos = [demo_photos / name for name in ("biden.jpg", "obama2.jpg", "grace_hopper.jpg")] * 4
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda photo: searcher.search(photo, k=1), photos)
    assert [names(probes[0].matches)[0] for probes in answers] == [path.name for path in photos]
