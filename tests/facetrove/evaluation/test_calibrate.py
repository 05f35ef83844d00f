from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.galleries import default_model, draw_faces
from benchmarks.gallery_estimation import real_faces
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.dataset.store import Dataset
from facetrove.calibration import calibrate_index
from facetrove.evaluation import comparisons
from indexer.build import build_index
from indexer.compact import compact_index
from indexer.manifest import current_line, publish, read_current
from indexer.model_rates import OPERATING_FPIR, operating_threshold
from indexer.thresholds import Calibration, rounded_up
from search.searcher import FaceSearcher
from tests.support.command import run_facetrove
from tests.support.labelled_faces import labelled_index, people_around, write_labelled
from tests.support.manifests import rewrite_manifest

WITHIN = 1.5
"""Maximum factor between the measured FPIR and the FPIR of the calibration, either way."""


def measured_fpir(index: Path, strangers: NDArray[np.float32], fpir: float) -> float:
    """Measure the share of non-mated searches that return a match at the threshold of an FPIR."""
    searcher = FaceSearcher.open(index)
    answers = searcher.search_embeddings(strangers, 1, fpir=fpir)
    return float(np.mean([len(matches) > 0 for matches in answers]))


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["people", "gallery"])
def test_fpir_of_lfw_is_that_of_the_calibration(
    tmp_path: Path, lfw_dataset: Path, labels: str
) -> None:
    """The index of half of the people is calibrated and searched for the other half, ten times.

    One halving has some 25 false positives at an FPIR of 0.01, in clusters. Even with a fixed
    threshold their number differs between halvings by a factor of 1.2 (standard deviation).
    So the mean over ten halvings must be within a factor of 1.5, each within a factor of 2.5.
    """
    vectors, people = real_faces(Dataset.open(lfw_dataset))
    num_people = int(people.max()) + 1
    ratios = []
    for seed in range(10):
        half = np.random.default_rng(seed).permutation(num_people)[: num_people // 2]
        enrolled = np.isin(people, half)
        names = [f"p{n}" if labels == "people" else None for n in people[enrolled]]
        index = labelled_index(tmp_path / str(seed), vectors[enrolled], names)
        calibration = calibrate_index(index)
        assert calibration is not None and calibration.method == labels
        strangers = vectors[~enrolled]
        ratios.append([measured_fpir(index, strangers, fpir) / fpir for fpir in (0.1, 0.01)])
    means = np.exp(np.log(ratios).mean(axis=0))
    assert (means > 1 / WITHIN).all() and (means < WITHIN).all()
    assert (np.abs(np.log(np.array(ratios)[:, 0])) < np.log(WITHIN)).all()
    assert (np.abs(np.log(np.array(ratios)[:, 1])) < np.log(2.5)).all()


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["people", "gallery"])
def test_fpir_of_a_generated_gallery_is_that_of_the_calibration(
    tmp_path: Path, labels: str
) -> None:
    """As in an album, some people have very many photos, and 500 people have a single photo."""
    rng = np.random.default_rng(3)
    sizes = np.concatenate([np.maximum(1, rng.lognormal(1.5, 1.0, 300)).astype(int), [1] * 500])
    people = np.repeat(np.arange(len(sizes)), sizes)
    vectors = draw_faces(default_model(), people, np.random.Generator(np.random.SFC64(4)))
    strangers = draw_faces(
        default_model(), np.arange(6000), np.random.Generator(np.random.SFC64(5))
    )
    names = [f"p{n}" if labels == "people" else None for n in people]
    index = labelled_index(tmp_path, vectors, names)
    calibration = calibrate_index(index)
    assert calibration is not None
    assert measured_fpir(index, strangers, 0.3) / 0.3 == pytest.approx(1, rel=0.2)
    assert 1 / WITHIN < measured_fpir(index, strangers, 0.1) / 0.1 < WITHIN
    min_fpir = rounded_up(calibration.min_fpir(len(vectors)))
    assert 1 / 2.5 < measured_fpir(index, strangers, min_fpir) / min_fpir < 2.5


@pytest.fixture
def index(tmp_path: Path) -> Path:
    vectors, people = people_around(300, 2, spread=0.3, dimension=64)
    return labelled_index(tmp_path, vectors, people)


def test_a_calibration_is_kept_with_the_index(index: Path) -> None:
    assert read_current(index).calibration is None
    calibration = calibrate_index(index)
    manifest = read_current(index)
    assert manifest.calibration == calibration
    assert calibration.num_people == 300 and calibration.num_faces == 600
    assert calibration.num_comparisons == 600 * 598
    assert manifest.version == 2
    assert compact_index(index).calibration == calibration
    dataset = index.with_name("d.dataset")
    rebuilt = build_index(dataset, index, rebuild=True)
    assert rebuilt.calibration == calibration
    vectors, people = people_around(1, 100, spread=0.3, dimension=64, seed=9)
    write_labelled(dataset, vectors, people, uris=[f"/new/{n}.jpg" for n in range(100)])
    grown = build_index(dataset, index)
    assert grown.num_faces == 700 and grown.calibration == calibration


def test_a_match_has_the_lowest_fpir_at_which_it_is_returned(index: Path) -> None:
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(stranger(1), 5)
    assert matches[0].fpir is None
    calibrate_index(index)
    searcher.refresh()
    (matches,) = searcher.search_embeddings(stranger(1), 600)
    rates = [match.fpir for match in matches]
    assert all(rate is not None for rate in rates)
    assert rates == sorted(rates) and rates[-1] == 1
    between = [match for match in matches if match.fpir is not None and match.fpir < 0.98]
    assert between
    for match in between:
        assert match.fpir is not None
        (given,) = searcher.search_embeddings(stranger(1), fpir=1.01 * match.fpir)
        assert match.face_id in given.face_ids
        if match.fpir > 0.04:
            (fewer,) = searcher.search_embeddings(stranger(1), fpir=0.99 * match.fpir)
            assert match.face_id not in fewer.face_ids
    document = matches[0].to_json()
    assert document["fpir"] == matches[0].fpir and document["fpir_basis"] == "index"
    assert matches[-1].strangers == "nearly all"
    assert "1 in " in str(matches[0].strangers)


def stranger(seed: int) -> NDArray[np.float32]:
    """Return the embedding of a person who is not in the index but resembles its first person."""
    vectors, _ = people_around(300, 2, spread=0.3, dimension=64)
    anybody, _ = people_around(1, 1, spread=0.0, dimension=64, seed=1000 + seed)
    near = vectors[:1] + 1.8 * anybody
    return np.asarray(near / np.linalg.norm(near), np.float32)


def test_a_search_at_an_fpir_returns_only_matches_at_its_threshold(index: Path) -> None:
    calibrate_index(index)
    searcher = FaceSearcher.open(index)
    threshold = searcher.threshold(0.1)
    probe = searcher.search_embeddings(stranger(2), 600)[0]
    expected = [s for s in probe.similarities if s >= threshold]
    (given,) = searcher.search_embeddings(stranger(2), fpir=0.1)
    assert given.similarities.tolist() == pytest.approx(expected)
    (stricter,) = searcher.search_embeddings(stranger(2), fpir=0.1, min_similarity=0.99)
    assert len(stricter) == 0
    (milder,) = searcher.search_embeddings(stranger(2), fpir=0.1, min_similarity=-1.0)
    assert len(milder) == len(given)
    face_id = searcher.search_embeddings(stranger(2), 1)[0][0].face_id
    assert all(m.similarity >= threshold for m in searcher.search_face(face_id, fpir=0.1))


def test_an_fpir_that_the_calibration_does_not_cover_is_refused(index: Path) -> None:
    searcher = FaceSearcher.open(index)
    with pytest.raises(WrongUsageError, match="not calibrated; run `facetrove calibrate"):
        searcher.search_embeddings(stranger(1), fpir=0.1)
    calibrate_index(index)
    searcher.refresh()
    with pytest.raises(WrongUsageError, match=r"cannot guarantee FPIR 0.01: .*300 people"):
        searcher.search_embeddings(stranger(1), fpir=0.01)  # 300 people carry to 0.033
    for nonsense in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(WrongUsageError, match="cannot guarantee FPIR"):
            searcher.search_embeddings(stranger(1), fpir=nonsense)


def test_too_few_people_are_refused(tmp_path: Path) -> None:
    vectors, people = people_around(100, 5, spread=0.01)
    index = labelled_index(tmp_path / "few", vectors, people)
    with pytest.raises(
        WrongUsageError, match=r"'person' names 100 people.*takes at least 200 people"
    ):
        calibrate_index(index, people="person")
    with pytest.raises(
        WrongUsageError, match=r"100 clusters of similar faces is too small.*takes at least 200"
    ):
        calibrate_index(index)  # by clusters of similar faces, as there are too few labels
    tiny = labelled_index(tmp_path / "tiny", vectors[:50], people[:50])
    with pytest.raises(WrongUsageError, match="50 faces is too small"):
        calibrate_index(tiny)
    assert read_current(tiny).calibration is None
    with pytest.raises(WrongUsageError, match="does not exist"):
        calibrate_index(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("labels", ["people", pytest.param("gallery", marks=pytest.mark.slow)])
def test_probes_are_sampled_in_a_large_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str
) -> None:
    """Sixty people have forty photos each; the sample must not be of them alone."""
    sizes = np.concatenate([np.full(60, 40), np.ones(1500, int)])
    people = np.repeat(np.arange(len(sizes)), sizes)
    vectors = draw_faces(default_model(), people, np.random.Generator(np.random.SFC64(4)))
    names = [f"p{n}" if labels == "people" else None for n in people]
    index = labelled_index(tmp_path, vectors, names)
    whole = calibrate_index(index)
    monkeypatch.setattr(comparisons, "MAX_COMPARISONS", 1200 * len(vectors))
    some = calibrate_index(index)
    assert whole is not None and some is not None
    assert some.num_comparisons < 0.4 * whole.num_comparisons
    for fpir in (0.5, 0.2, 0.1):
        expected = whole.threshold(fpir, len(vectors))
        assert some.threshold(fpir, len(vectors)) == pytest.approx(expected, abs=0.012)


def test_labels_of_less_than_half_of_the_faces_are_not_used(tmp_path: Path) -> None:
    vectors, people = people_around(350, 2, spread=0.3, dimension=64)
    names = [person if n < 250 else None for n, person in enumerate(people)]
    index = labelled_index(tmp_path, vectors, names)
    calibration = calibrate_index(index)
    assert calibration is not None and calibration.method == "gallery"
    with pytest.raises(WrongUsageError, match=r"250 of 700 faces.*--by-likeness"):
        calibrate_index(index, people="person")


@pytest.mark.parametrize(("photos_each", "spread"), [(1, 0.3), (2, 1.5)])
def test_a_calibration_by_likeness_without_clusters_is_refused(
    tmp_path: Path, photos_each: int, spread: float
) -> None:
    """Everybody has one photo, or the photos of a person are hardly more alike than strangers'."""
    vectors, people = people_around(700 // photos_each, photos_each, spread=spread, dimension=64)
    index = labelled_index(tmp_path, vectors, [None] * len(people))
    with pytest.raises(
        WrongUsageError, match=r"of 700 faces form clusters.*namer with template crops.*--people"
    ):
        calibrate_index(index)
    assert read_current(index).version == 1
    named = labelled_index(tmp_path / "named", vectors, people)
    assert calibrate_index(named, people="person").method == "people"


def test_a_calibration_that_does_not_support_the_rate_is_not_stored(index: Path) -> None:
    with pytest.raises(WrongUsageError, match=r"cannot guarantee FPIR 0.001: .*300 people"):
        calibrate_index(index, fpir=0.001)
    refused = run_facetrove("calibrate", index, "--fpir", "0.001")
    assert refused.returncode == 2 and "supports rates from 0.034 to 1" in refused.stderr
    assert read_current(index).version == 1 and read_current(index).calibration is None
    kept = calibrate_index(index, fpir=0.05)
    assert read_current(index).calibration == kept


def test_by_likeness_ignores_labels(index: Path) -> None:
    by_labels = calibrate_index(index)
    by_likeness = calibrate_index(index, by_likeness=True)
    assert by_labels is not None and by_labels.method == "people"
    assert by_likeness is not None and by_likeness.method == "gallery"


def test_a_gallery_of_one_person_is_refused(tmp_path: Path) -> None:
    many, _ = people_around(1, 700, spread=0.3, dimension=64, seed=5)
    others, _ = people_around(300, 1, spread=0.3, dimension=64)
    index = labelled_index(tmp_path, np.concatenate([many, others]), [None] * 1000)
    with pytest.raises(WrongUsageError, match="most pairs of faces seem to show one and the same"):
        calibrate_index(index)


def test_an_index_rebuilt_from_another_dataset_loses_its_calibration(
    index: Path, tmp_path: Path
) -> None:
    calibrate_index(index)
    vectors, people = people_around(300, 2, spread=0.3, dimension=64, seed=7)
    other = write_labelled(tmp_path / "other.dataset", vectors, people)
    assert build_index(other, index, rebuild=True).calibration is None


def calibration_of(**changes: object) -> Calibration:
    values = {
        "method": "people",
        "num_faces": 1000,
        "num_people": 500,
        "num_comparisons": 10**6,
        "similarities": (0.2, 0.4, 0.5),
        "rates": (0.9, 0.1, 0.01),
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


def test_thresholds_are_interpolated() -> None:
    calibration = calibration_of()
    assert calibration.threshold(0.1, 1000) == pytest.approx(0.4)
    assert calibration.threshold(0.01, 1000) == pytest.approx(0.5)
    assert calibration.threshold(10**-1.5, 1000) == pytest.approx(0.45)
    rates = calibration.fpir_of(np.array([-1, 0.2, 0.45, 0.5, 1.0]), 1000)
    assert rates == pytest.approx([1, 0.9, 10**-1.5, 0.01, 0.01])


def test_fpir_grows_with_the_gallery() -> None:
    calibration = calibration_of()
    assert calibration.fpir_of(np.array([0.5]), 1500)[0] == pytest.approx(1 - 0.99**1.5)
    assert calibration.threshold(0.1, 1500) > calibration.threshold(0.1, 1000)
    for num_faces in (400, 2500):
        with pytest.raises(WrongUsageError, match="was calibrated with 1,000 faces and holds"):
            calibration.threshold(0.1, num_faces)


def test_an_index_that_has_outgrown_its_calibration_is_searched_without_it(index: Path) -> None:
    calibrate_index(index)
    dataset = index.with_name("d.dataset")
    vectors, people = people_around(1, 900, spread=0.3, dimension=64, seed=9)
    write_labelled(dataset, vectors, people, uris=[f"/new/{n}.jpg" for n in range(900)])
    build_index(dataset, index)
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(stranger(1), 3)
    assert matches[0].fpir is None
    with pytest.raises(WrongUsageError, match="calibrated with 600 faces and holds 1,500 now"):
        searcher.search_embeddings(stranger(1), fpir=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"rates": (0.1, 0.9, 0.01)},
        {"rates": (0.9, 0.1)},
        {"rates": (0.9, 0.1, 0.0)},
        {"similarities": (0.5, 0.4, 0.2)},
        {"similarities": (0.2, 0.4, 5.0)},
        {"rates": (0.9, 0.1, float("nan"))},
        {"num_faces": 0},
    ],
)
def test_an_inconsistent_calibration_makes_no_sense(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="does not make sense"):
        calibration_of(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"rates": (0.9, 0.1)},
        {"rates": (0.9, 0.1, float("nan"))},
        {"num_faces": 0},
        {"num_people": "many"},
        {"method": "guess"},
    ],
)
def test_an_inconsistent_calibration_is_corruption(index: Path, changes: dict[str, object]) -> None:
    calibrate_index(index)
    rewrite_manifest(index, lambda document: document["calibration"].update(changes))
    with pytest.raises(CorruptFileError, match="cannot be read"):
        FaceSearcher.open(index)


def test_a_manifest_of_an_older_version_has_no_calibration(index: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.index"
    shutil.copytree(index, copy)
    manifest = read_current(copy)
    rewrite_manifest(copy, lambda document: document.pop("calibration"))
    assert read_current(copy) == manifest
    publish(copy, manifest, previous=current_line(copy))


def test_the_operating_threshold_is_the_calibrated_one_where_that_covers_the_fpir() -> None:
    assert operating_threshold("unknown model", 1000) is None
    calibration = calibration_of()
    assert operating_threshold("unknown model", 1000, calibration) == pytest.approx(0.5)
    short = calibration_of(rates=(0.9, 0.1, 0.05))
    assert operating_threshold("unknown model", 1000, short) is None
    assert operating_threshold("sface", 1000, short) == operating_threshold("sface", 1000)
    assert OPERATING_FPIR == 0.01


def test_rates_are_rounded_up_to_two_digits() -> None:
    assert rounded_up(0.00547992) == 0.0055
    assert rounded_up(0.01) == 0.01
    assert rounded_up(0.0331) == 0.034
    assert rounded_up(0.995) == 1.0
