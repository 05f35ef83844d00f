"""`facetrove train head`, on generated embeddings whose best head is known."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faces.core.contract import ModelContract
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.machine import cache_dir
from faces.core.vectors import unit_length
from faces.models.choice import ModelChoice
from faces.models.heads import HeadEmbedder
from faces.models.registry import load_embedder, load_pipeline
from facetrove.training.card import read_card
from facetrove.training.head_options import HeadOptions
from facetrove.training.head_weights import HeadWeights
from facetrove.training.heads import train_head
from facetrove.training.identification import Identification, identify_people
from facetrove.training.label_support import label_support
from facetrove.training.options import TrainingOptions
from facetrove.training.strength import choose_strength
from facetrove.training.whitening import learn_whitening, whitening
from tests.support.command import run_facetrove
from tests.support.labelled_faces import write_labelled
from tests.support.training import needs_keras

DIMENSION, PEOPLE, PHOTOS = 128, 100, 4
TRAINING = TrainingOptions(threads=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    (cache / "weights").symlink_to(cache_dir() / "weights")
    monkeypatch.setenv("FACETROVE_CACHE", str(cache))


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    return load_pipeline(ModelChoice(), threads=1).contract


def faces_of(people: int, *, nuisance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw faces of people who differ most in ten directions, and photos most in ten others.

    Returns:
        (n, 128) embeddings, and (n,) the number of each one's person.
    """
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), PHOTOS)
    scale = np.full(DIMENSION, 0.75)
    scale[:10] = nuisance
    identity = np.ones(DIMENSION)
    identity[10:20] = 3.0
    vectors = (rng.normal(size=(people, DIMENSION)) * identity)[person]
    return unit_length(vectors + rng.normal(size=vectors.shape) * scale), person


def with_wrong(person: np.ndarray, share: float) -> np.ndarray:
    """Exchange the labels of a share of the faces."""
    rng = np.random.default_rng(1)
    wrong = rng.permutation(len(person))[: round(share * len(person))]
    labels = person.copy()
    labels[wrong] = np.roll(person[wrong], 1)
    return labels


def dataset_of(
    folder: Path,
    contract: ModelContract,
    monkeypatch: pytest.MonkeyPatch,
    vectors: np.ndarray,
    labels: np.ndarray,
) -> Path:
    monkeypatch.setattr("tests.support.labelled_faces.contract_of", lambda _: contract)
    return write_labelled(folder / "d", vectors, [f"p{number:03d}" for number in labels])


def rates(head: object, seed: int = 9) -> tuple[Identification, Identification]:
    """Identify other people of the same kind with and without a head."""
    faces, person = faces_of(400, nuisance=3.0, seed=seed)
    vectors = head(faces)  # type: ignore[operator]
    return (
        identify_people(unit_length(vectors), person, splits=5, seed=0),
        identify_people(faces, person, splits=5, seed=0),
    )


@pytest.mark.lasting
@pytest.mark.slow
def test_a_head_that_is_trained_identifies_other_people_better(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, person = faces_of(PEOPLE, nuisance=3.0)
    dataset = dataset_of(tmp_path, contract, monkeypatch, vectors, person)
    model = tmp_path / "my_head.toml"
    trained = train_head(dataset, model, training=replace(TRAINING, licence="CC0-1.0"))
    assert trained.choice.strength == 1 and len(trained.doubtful) < 0.05 * len(person)
    head = load_embedder(ModelChoice(embedder=str(model)), threads=1)
    assert isinstance(head, HeadEmbedder) and head.takes(contract)
    found, before = rates(head.apply)
    assert found.fnir(0.01)[0] < 0.7 * before.fnir(0.01)[0]  # measured: 0.4
    assert found.rank_one()[0] > before.rank_one()[0]
    card = read_card(model)
    assert card == trained.card and card.kind == "head" and card.licence == "CC0-1.0"
    assert card.options["base"] == "sface-int8" and card.num_digests == PEOPLE * PHOTOS
    assert card.num_people + card.num_held_out_people == PEOPLE
    assert card.figures["mean_fnir"] < card.figures["mean_fnir_without_head"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *("my_head.card.toml", "my_head.html", "my_head.onnx", "my_head.toml")
    ]


@pytest.mark.slow
@pytest.mark.lasting
def test_the_same_seed_gives_the_same_files(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of(tmp_path, contract, monkeypatch, *faces_of(PEOPLE, nuisance=3.0))
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train_head(dataset, tmp_path / name / "head.toml", training=TRAINING)
        contents.append(
            [(tmp_path / name / f"head{end}").read_bytes() for end in (".onnx", ".card.toml")]
        )
    assert contents[0] == contents[1]
    (tmp_path / "three").mkdir()
    train_head(dataset, tmp_path / "three" / "head.toml", training=replace(TRAINING, seed=1))
    assert (tmp_path / "three" / "head.onnx").read_bytes() != contents[0][0]


def test_a_head_that_is_worse_than_none_gets_strength_0() -> None:
    vectors, person = faces_of(PEOPLE, nuisance=3.0)

    def learn_wrong(faces: np.ndarray, people: np.ndarray) -> Callable[[float], HeadWeights]:
        """Shrink what people differ by, instead of what photos of one person differ by."""
        shrunk = np.ones(DIMENSION, np.float32)
        shrunk[10:20] = 0.2
        return HeadWeights(np.diag(shrunk)).towards_identity

    choice = choose_strength(learn_wrong, vectors, person, seed=0)
    assert choice.strength == 0
    assert [score["strength"] for score in choice.scores] == [1.0, 0.5, 0.0]
    differences = [score["difference"] for score in choice.scores]
    assert differences[0] > differences[1] > differences[2] == 0
    changed = learn_wrong(vectors, person)(choice.strength)
    assert np.allclose(changed(vectors), vectors, atol=1e-6)


@pytest.mark.lasting
@pytest.mark.slow
def test_with_wrong_labels_half_of_the_gain_is_kept(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, person = faces_of(PEOPLE, nuisance=3.0)
    labels = with_wrong(person, 0.4)
    dataset = dataset_of(tmp_path, contract, monkeypatch, vectors, labels)
    trained = train_head(dataset, tmp_path / "my_head.toml", training=TRAINING)
    head = load_embedder(ModelChoice(embedder=str(tmp_path / "my_head.toml")), threads=1)
    assert isinstance(head, HeadEmbedder)
    robust, before = rates(head.apply)
    kept = np.unique(person)[: round(0.8 * PEOPLE)]  # a fifth is held out
    inside = np.isin(person, kept)
    clean, _ = rates(learn_whitening(vectors[inside], person[inside])(1.0))
    gain = before.mean_fnir()[0] - clean.mean_fnir()[0]
    assert before.mean_fnir()[0] - robust.mean_fnir()[0] > 0.5 * gain > 0.02
    assert len(trained.doubtful) > 0.35 * len(person)
    by_margin = [face.margin for face in trained.doubtful]
    assert by_margin == sorted(by_margin)


@pytest.mark.lasting
@pytest.mark.slow
def test_wrong_labels_make_naive_training_worse_than_no_head(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos differ alike in all directions here, so that nothing can be gained."""
    vectors, person = faces_of(2 * PEOPLE, nuisance=0.75)
    labels = with_wrong(person, 0.4)
    dataset = dataset_of(tmp_path, contract, monkeypatch, vectors, labels)
    train_head(dataset, tmp_path / "my_head.toml", training=TRAINING)
    head = load_embedder(ModelChoice(embedder=str(tmp_path / "my_head.toml")), threads=1)
    assert isinstance(head, HeadEmbedder)
    robust, before = rates(head.apply)
    naive, _ = rates(learn_whitening(vectors, labels)(1.0))
    assert naive.mean_fnir()[0] > 1.1 * before.mean_fnir()[0]
    assert robust.mean_fnir()[0] < 1.03 * before.mean_fnir()[0]


def test_faces_with_wrong_labels_are_not_supported() -> None:
    vectors, person = faces_of(PEOPLE, nuisance=1.0)
    labels = with_wrong(person, 0.4)
    right = labels == person
    support = label_support(vectors, labels, seed=0)
    assert support.is_supported[~right].mean() < 0.02
    assert support.is_supported[right].mean() > 0.7  # others are the only right one of a label
    assert np.array_equal(support.trusted(None), support.is_supported)
    assert support.trusted(True).all()
    right = label_support(vectors, person, seed=0)
    assert right.trusted(None).all()
    assert np.array_equal(right.trusted(False), right.is_supported)


def test_whitening_makes_the_scatter_within_people_round() -> None:
    vectors, person = faces_of(1000, nuisance=3.0)
    scatter = np.diag(np.linspace(1, 5, 4))
    matrix = whitening(scatter, 0.999)
    assert np.allclose(matrix.T @ scatter @ matrix / 3, np.eye(4), atol=0.01)
    assert np.array_equal(whitening(scatter, 0.0), np.eye(4, dtype=np.float32))
    head = learn_whitening(vectors, person)(1.0)
    lengths = np.diag(head.linear)
    assert lengths[:10].max() < 0.6 * lengths[10:].min()
    few = np.diag(learn_whitening(vectors[:80], person[:80])(1.0).linear)
    assert lengths[:10].max() < few[:10].min() < 1 < few[10:].max()  # of few people it is weaker


@needs_keras
@pytest.mark.lasting
@pytest.mark.parametrize("layers", [1, 2])
def test_a_margin_head_learns_and_is_the_same_again(layers: int) -> None:
    from facetrove.training.networks.margin_head import learn_margin

    vectors, person = faces_of(PEOPLE, nuisance=3.0)
    learnt = [learn_margin(vectors, person, layers=layers, seed=3, epochs=40) for _ in range(2)]
    found, before = rates(learnt[0](1.0))
    assert found.fnir(0.1)[0] < before.fnir(0.1)[0]
    assert np.array_equal(learnt[0](1.0)(vectors), learnt[1](1.0)(vectors))
    assert np.allclose(learnt[0](0.0)(vectors), vectors, atol=1e-6)
    assert (learnt[0](1.0).added is not None) == (layers == 2)


@needs_keras
@pytest.mark.lasting
def test_a_head_of_two_layers_computes_the_same_in_onnx(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, person = faces_of(PEOPLE, nuisance=3.0)
    dataset = dataset_of(tmp_path, contract, monkeypatch, vectors, person)
    from facetrove.training.networks.margin_head import learn_margin

    options = HeadOptions(method="margin", layers=2)
    trained = train_head(
        dataset, tmp_path / "h.toml", options=options, training=replace(TRAINING, epochs=3)
    )
    assert trained.card.keras
    weights = learn_margin(vectors, person, layers=2, epochs=3)(1.0)
    weights.write(tmp_path / "h.onnx")
    (tmp_path / "h.toml").write_text('base = "sface-int8"\nnetwork = "h.onnx"\nname = "other"\n')
    head = load_embedder(ModelChoice(embedder=str(tmp_path / "h.toml")), threads=1)
    assert isinstance(head, HeadEmbedder)
    assert np.allclose(head.apply(vectors), unit_length(weights(vectors)), atol=1e-5)


def test_bad_input_is_one_line_and_leaves_no_file(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, person = faces_of(PEOPLE, nuisance=1.0)
    one = dataset_of(tmp_path, contract, monkeypatch, vectors, np.zeros_like(person))
    few = dataset_of(tmp_path / "few", contract, monkeypatch, vectors[:60], person[:60])
    alone = np.arange(len(person))
    singles = dataset_of(tmp_path / "s", contract, monkeypatch, vectors, alone)
    strange = replace(contract, embedder_digest="0" * 64)
    other = dataset_of(tmp_path / "o", strange, monkeypatch, vectors, person)
    unknown = replace(contract, embedder="namer")
    nobody = dataset_of(tmp_path / "n", unknown, monkeypatch, vectors, person)
    none = write_labelled(tmp_path / "none", vectors, [None] * len(vectors))
    for dataset, message in (
        (one, "1 values with|show one person"),
        (few, "15 people have several labelled photos, and a head needs 20"),
        (singles, "0 people have several labelled photos"),
        (other, "here; embed the dataset again"),
        (nobody, "you have not registered a model 'namer'"),
        (none, "no photo with both a label and a person"),
    ):
        with pytest.raises(FaceTroveError, match=message) as told:
            train_head(dataset, tmp_path / "h.toml", training=TRAINING)
        assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("h.*"))
    with pytest.raises(WrongUsageError, match="would name the head 'my head'"):
        train_head(one, tmp_path / "my head.toml", training=TRAINING)
    with pytest.raises(WrongUsageError, match="two layers needs the method margin"):
        HeadOptions(layers=2)


def test_without_keras_the_margin_method_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facetrove.training.requirements.find_spec", lambda _: None)
    with pytest.raises(WrongUsageError, match="install it by pip install"):
        train_head(tmp_path, tmp_path / "h.toml", options=HeadOptions(method="margin"))


@pytest.mark.lasting
@pytest.mark.slow
def test_whitening_needs_no_keras(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facetrove.training.requirements.find_spec", lambda _: None)
    dataset = dataset_of(tmp_path, contract, monkeypatch, *faces_of(PEOPLE, nuisance=3.0))
    train_head(dataset, tmp_path / "h.toml", training=TRAINING)


@pytest.mark.lasting
@pytest.mark.slow
def test_the_command_says_what_the_people_held_out_gain(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, person = faces_of(PEOPLE, nuisance=3.0)
    labels = with_wrong(person, 0.02)
    dataset = dataset_of(tmp_path, contract, monkeypatch, vectors, labels)
    model, listed = tmp_path / "h.toml", tmp_path / "doubtful.csv"
    told = run_facetrove("train", "head", dataset, model, "--doubtful", listed, "--threads", 1)
    assert told.returncode == 0, told.stderr
    assert "people held out, with and without it: rank-1" in told.stdout
    assert "the mean FNIR at FPIRs from 0.01 to 0.1 changes by -0." in told.stdout
    rows = list(csv.DictReader(listed.read_text().splitlines()))
    assert rows and set(rows[0]) == {"photo", "label", "suggested", "margin", "face_id"}
