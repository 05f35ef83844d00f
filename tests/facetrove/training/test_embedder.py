"""`facetrove train embedder`: margins, and a network that enters by the door of custom models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beam_jobs.crops import cut_missing_crops
from faces.core.errors import WrongUsageError
from faces.core.vectors import unit_length
from faces.dataset.cropping import FACE_COLUMNS
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from faces.models.custom_models import read_model
from faces.models.registry import load_embedder
from facetrove.training.card import read_card
from facetrove.training.embedder import train_embedder
from facetrove.training.embedder_options import EmbedderOptions
from facetrove.training.identification import identify_people
from facetrove.training.options import TrainingOptions
from tests.support.labelled_faces import people_around
from tests.support.training import drawn_dataset, needs_keras


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep crops in a folder of this module's."""
    folder = tmp_path_factory.getbasetemp() / "crops-of-embedders"
    monkeypatch.setattr("faces.dataset.crop_cache.cache_dir", lambda: folder)


@pytest.mark.lasting
@pytest.mark.parametrize("kind", ["arcface", "cosface", "adaface"])
@needs_keras
@pytest.mark.slow
def test_the_margin_lowers_the_own_persons_logit_alone(kind: str) -> None:
    from facetrove.training.networks.margins import MarginLogits

    rng = np.random.default_rng(0)
    layer = MarginLogits(4, kind, 0.3, 10.0, 2)  # type: ignore[arg-type]
    vectors, own = rng.normal(size=(6, 8)).astype(np.float32), np.array([0, 1, 2, 3, 0, 1])
    logits = np.asarray(layer([vectors, own]))
    centres = np.asarray(layer.weights[0])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ (centres / np.linalg.norm(centres, axis=0))).reshape(6, 4, 2).max(axis=2)
    expected = 10 * cosines
    lengths = np.linalg.norm(vectors, axis=1)
    qualities = np.clip((lengths - lengths.mean()) / (lengths.std() + 1e-3) * 0.333, -1, 1)
    for row, person in enumerate(own):
        cosine, quality = cosines[row, person], qualities[row]
        lowered = {
            "arcface": np.cos(np.arccos(cosine) + 0.3),
            "cosface": cosine - 0.3,
            "adaface": np.cos(np.arccos(cosine) - 0.3 * quality) - 0.3 * (1 + quality),
        }[kind]
        expected[row, person] = 10 * lowered
    assert np.allclose(logits, expected, atol=1e-3)


def test_identification_is_right_for_people_far_apart_and_chance_for_noise() -> None:
    vectors, names = people_around(60, 4, spread=0.1)
    people = np.unique(names, return_inverse=True)[1]
    found = identify_people(vectors, people, splits=5, seed=0)
    assert found.rank_one() == 1.0 and found.fnir(0.1) == 0.0
    assert len(found.first) == 5 * 180
    vectors = unit_length(np.random.default_rng(0).normal(size=(240, 32)).astype(np.float32))
    noise = identify_people(vectors, people, splits=5, seed=0)
    assert noise.rank_one() < 0.1 and noise.fnir(0.1) > 0.7


@needs_keras
@pytest.mark.lasting
def test_an_embedder_learns_people_and_is_a_custom_model(tmp_path: Path) -> None:
    people = [f"p{number % 30:02d}" for number in range(180)]
    path = drawn_dataset(tmp_path, ["none"] * 180, people, contrast=40)
    model = tmp_path / "mine.toml"
    trained = train_embedder(
        path,
        model,
        options=EmbedderOptions(dimension=32, augment=False, batch_size=32, trust_labels=True),
        training=TrainingOptions(epochs=4, threads=1, licence="CC0-1.0"),
    )
    card = read_card(model)
    assert card == trained.card and card.kind == "embedder" and card.licence == "CC0-1.0"
    assert card.num_people + card.num_held_out_people == 30
    assert trained.rank_one.value > 0.5  # by chance: a sixth
    assert read_model(model).dimension == 32
    dataset = Dataset.open(path)
    faces = dataset.faces(FACE_COLUMNS).to_arrow()
    crops = cut_missing_crops(dataset, faces).take(np.arange(len(faces)))
    embedder = load_embedder(ModelChoice(embedder=str(model)), threads=1)
    vectors = unit_length(embedder.embed(crops))
    found = identify_people(vectors, _people(dataset), splits=5, seed=0)
    assert found.rank_one() > 0.5


def _people(dataset: Dataset) -> np.ndarray:
    names = dataset.faces(["person"]).to_arrow()["person"].to_pylist()
    return np.unique(names, return_inverse=True)[1]


@needs_keras
@pytest.mark.lasting
def test_labels_that_the_datasets_embeddings_contradict_are_not_learnt_from(tmp_path: Path) -> None:
    vectors, names = people_around(30, 6, spread=0.1)
    people = np.array(names)
    wrong = np.arange(0, 180, 12)
    people[wrong] = np.roll(people[wrong], 1)
    path = drawn_dataset(tmp_path, ["none"] * 180, people.tolist(), vectors=vectors)
    figures = {}
    for trust in (None, True):
        trained = train_embedder(
            path,
            tmp_path / f"{trust}.toml",
            options=EmbedderOptions(dimension=8, augment=False, trust_labels=trust),
            training=TrainingOptions(epochs=1, threads=1),
        )
        figures[trust] = trained.num_doubted, trained.card.num_faces
        assert trained.card.figures["doubtful_labels"] == len(wrong)
    assert figures[True][0] == 0
    assert 0 < figures[None][0] < len(wrong)  # some are held out
    assert sum(figures[None]) == figures[True][1]


@pytest.mark.lasting
@pytest.mark.slow
@needs_keras
def test_where_nearly_all_labels_are_doubtful_nothing_is_trained(tmp_path: Path) -> None:
    people = [f"p{number % 30:02d}" for number in range(60)]
    path = drawn_dataset(tmp_path, ["none"] * 60, people)
    with pytest.raises(WrongUsageError, match=r"of 60 faces .* are doubtful .* --trust-labels"):
        train_embedder(path, tmp_path / "m.toml")
    assert not (tmp_path / "m.toml").exists()


@needs_keras
@pytest.mark.slow
def test_gradients_have_a_direction_and_hardly_a_contrast() -> None:
    from facetrove.training.networks.architectures import _gradients

    rising = np.linspace(0, 120, 112, dtype=np.float32)
    ramp = np.tile(rising[None, :, None], (112, 1, 3))  # lighter to the right
    found = np.asarray(_gradients(np.stack([ramp, 2 * ramp + 10, ramp.transpose(1, 0, 2)])))
    inside = found[:, 1:-1, 1:-1]
    assert found.shape == (3, 14, 14, 8)
    assert (inside[0].argmax(axis=-1) == 0).all() and (inside[2].argmax(axis=-1) == 2).all()
    assert np.allclose(inside[0, ..., 4], 0, atol=1e-5)
    assert (inside[1] <= 1.3 * inside[0] + 1e-5).all()  # at twice the contrast


def test_too_few_people_and_odd_options_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras is not installed: pip install -e '.[dev]'")
    path = drawn_dataset(tmp_path, ["none"] * 8, list("aabbccdd"))
    with pytest.raises(WrongUsageError, match="4 people with 2 labelled photos or more, expected"):
        train_embedder(path, tmp_path / "m.toml")
    for wrong in (
        {"loss": "other"},
        {"margin": 1.5},
        {"dimension": 1},
        {"scale": 0.0},
        {"per_person": 65},
    ):
        with pytest.raises(WrongUsageError):
            EmbedderOptions(**wrong)  # type: ignore[arg-type]
