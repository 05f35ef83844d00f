"""The built-in models of the best quality, chosen by one option."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import facetrove as ft
from faces.core.errors import WrongUsageError
from faces.models.alignment import ARCFACE_112
from faces.models.choice import MODELS_OF_QUALITY, ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_detector, load_embedder
from faces.photos.decoding import Photo, decode_photo
from tests.support.command import run_facetrove


@pytest.fixture(scope="module")
def photos(demo_photos: Path) -> list[Photo]:
    """The demo's photos, decoded."""
    return [decode_photo(path.read_bytes()) for path in sorted(demo_photos.glob("*.jpg"))]


def test_a_face_and_its_mirror_image_have_one_embedding(
    photos: list[Photo], pipeline: FacePipeline
) -> None:
    choice = ModelChoice.of_quality("best")
    best = load_embedder(choice, threads=1)
    crops = np.stack(
        [
            np.asarray(ARCFACE_112.crop(photo.image, face.detection.box, face.detection.landmarks))
            for photo in photos
            for face in pipeline.find_faces([photo])[0]
        ]
    )
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    found = best.embed(crops)
    np.testing.assert_allclose(best.embed(mirrored), found, atol=1e-3)
    # Norms are on the scale of the default embedder's, by which blurred faces are told.
    usual = pipeline.embedder
    mean = (usual.embed(crops) + usual.embed(mirrored)) / 2
    np.testing.assert_allclose(found, mean, atol=1e-3)
    assert not np.allclose(usual.embed(mirrored), usual.embed(crops), atol=0.1)


def test_the_refined_detector_looks_at_every_face_twice(
    photos: list[Photo], pipeline: FacePipeline
) -> None:
    refined = load_detector(ModelChoice.of_quality("best"), threads=1)
    usual, again = pipeline.detector.detect(photos), refined.detect(photos)
    moved = []
    for faces, their in zip(usual, again, strict=True):
        for face, other in zip(faces, their, strict=True):
            np.testing.assert_array_equal(face.box, other.box)
            width = face.box[2]
            moved.append(np.abs(face.landmarks - other.landmarks).max() / width)
    # All were refined, and not only the tilted one, which is by both.
    assert sum(move > 0 for move in moved) == len(moved) - 1 >= 5
    assert max(moved) < 0.1


def test_one_option_chooses_the_best_models(
    demo_photos: Path, probe_photo: Path, demo_dataset: Path, tmp_path: Path
) -> None:
    dataset, index = tmp_path / "best.dataset", tmp_path / "best.index"
    done = run_facetrove("embed", demo_photos, dataset, "--quality", "best", "--workers", "1")
    assert done.returncode == 0, done.stderr
    contract = ft.open_dataset(dataset).contract
    assert (contract.detector, contract.embedder) == MODELS_OF_QUALITY["best"]
    # Later runs go on with the dataset's models.
    again = run_facetrove("embed", demo_photos, dataset, "--workers", "1", "--json")
    assert json.loads(again.stdout)["found"]["num_unchanged"] == 9
    assert run_facetrove("index", dataset, index).returncode == 0
    found = json.loads(run_facetrove("search", index, probe_photo, "--json").stdout)
    best = found["probes"][0]["matches"][0]
    assert best["similarity"] > 0.5
    assert found["fpir_basis"] == "model"  # whose figure is known
    # A dataset of the default models is embedded again, and its faces keep their ids.
    new = tmp_path / "new.dataset"
    carried = run_facetrove("embed", demo_dataset, new, "--quality", "best", "--workers", "1")
    assert carried.returncode == 0, carried.stderr
    old_ids = ft.open_dataset(demo_dataset).faces(["face_id"]).to_arrow()["face_id"]
    new_ids = ft.open_dataset(new).faces(["face_id"]).to_arrow()["face_id"]
    assert sorted(old_ids.to_pylist()) == sorted(new_ids.to_pylist())


def test_a_quality_beside_a_model_is_refused(demo_photos: Path, tmp_path: Path) -> None:
    for option, name in (("--embedder", "sface"), ("--detector", "yunet")):
        refused = run_facetrove(
            "embed", demo_photos, tmp_path / "d", "--quality", "best", option, name
        )
        assert refused.returncode == 2
        assert "--quality chooses the detector and the embedder" in refused.stderr
    with pytest.raises(WrongUsageError, match="quality is 'better'"):
        ModelChoice.of_quality("better")  # type: ignore[arg-type]
