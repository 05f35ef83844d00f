"""Training a head: from a dataset's embeddings to an ONNX file, its TOML file and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.vectors import unit_length
from faces.dataset.store import Dataset
from faces.models.custom_models import BUILT_IN, MODEL_NAME
from faces.models.heads import read_head, require_base
from facetrove.evaluation.metrics import Bootstrap
from facetrove.training.card import TrainingCard, Value, given_options, toml_text
from facetrove.training.doubtful import Doubtful
from facetrove.training.head_options import HeadOptions
from facetrove.training.head_weights import HeadWeights
from facetrove.training.identification import Identification, can_identify, identify_people
from facetrove.training.label_support import LabelSupport, label_support
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.options import TrainingOptions, require_model_path
from facetrove.training.requirements import require_keras
from facetrove.training.splits import held_out_by_person
from facetrove.training.strength import Choice, choose_strength
from facetrove.training.trained_files import card_of, network_path, write_trained
from facetrove.training.whitening import learn_whitening

MIN_PEOPLE = 20
"""Minimum number of people with several photos, to learn from and to choose the strength by."""

FPIR = 0.01
"""FPIR of the FNIR on the card."""

SPLITS = 20
"""Number of random enrolments of the people held out."""

NUM_COMPARED = 1024
"""Number of doubtful faces that are compared with all others at once."""


@dataclass(frozen=True)
class TrainedHead:
    """What training a head gave.

    Attributes:
        model: path of the TOML file that describes it.
        card: its card.
        choice: the strength, and how all strengths did; with strength 0 the head changes nothing.
        doubtful: the faces whose label the embeddings contradict, most doubtful first.
    """

    model: Path
    card: TrainingCard
    choice: Choice
    doubtful: tuple[Doubtful, ...]


def train_head(
    dataset: str | Path,
    model: str | Path,
    *,
    options: HeadOptions = HeadOptions(),
    training: TrainingOptions = TrainingOptions(),
    on_progress: OnProgress = ignore_progress,
) -> TrainedHead:
    """Train a small network on the embeddings of a dataset, which tells its people apart better.

    No photo is read. How strong the head is, is chosen by identification of people that it did not
    learn from; where every head is worse than none by more than chance, it changes nothing.

    Args:
        dataset: the dataset's folder.
        model: the TOML file to write. The ONNX file, the card and its page are written beside it,
            with the endings .onnx, .card.toml and .html.
        options: how the head is learnt.
        training: split, seed and other options of all kinds of training.
        on_progress: called with each step.

    Returns:
        The card, with figures of the people held out.

    Raises:
        WrongUsageError: there is no such dataset or column, there are too few people, the dataset's
            embeddings are of a head, or Keras is missing for the method margin.
        ModelUnavailableError, ContractMismatchError: the dataset's embedder is not the one here.
    """
    if options.method == "margin":
        require_keras()
    path = require_model_path(model)
    _require_name(path)
    opened = Dataset.open(dataset)
    labelled = read_labelled(opened, label=None, people=training.people, face=training.face)
    people = labelled.people
    out = held_out_by_person(people, np.zeros_like(people), training.held_out, seed=training.seed)
    _require_people(labelled, out)
    require_base(opened.contract)
    embeddings = opened.embeddings()[labelled.rows]
    on_progress(Progress("comparing the faces of each person"))
    support = label_support(embeddings, people, seed=training.seed)
    trusted = support.trusted(options.trust_labels)
    inside, outside = np.flatnonzero(~out), np.flatnonzero(out)
    learnt = inside[trusted[inside]]
    _require_trusted(labelled, support, learnt, outside[trusted[outside]])
    on_progress(Progress("learning, and choosing the strength"))
    learn = _learner(options, training)
    known = embeddings[inside], people[inside]
    choice = choose_strength(learn, *known, seed=training.seed, trusted=trusted[inside])
    head = learn(embeddings[learnt], people[learnt])(choice.strength)
    on_progress(Progress("measuring on the people held out"))
    others = embeddings[outside], people[outside], trusted[outside]
    figures = _measured(head, *others, training.seed)
    card = _card(path, labelled, support, choice, figures, options, training, learnt, outside)
    card = _written(path, head, card, labelled, training)
    return TrainedHead(path, card, choice, doubtful_labels(labelled, embeddings, support))


def _require_name(model: Path) -> None:
    if not MODEL_NAME.fullmatch(model.stem) or model.stem in BUILT_IN:
        raise WrongUsageError(
            f"{model.name} would name the head {model.stem!r}; a name is a letter or digit, then "
            "at most 63 of A-Z a-z 0-9 . _ -, and not a built-in model's"
        )


def _require_trusted(
    labelled: LabelledDataset, support: LabelSupport, *parts: NDArray[np.int64]
) -> None:
    """Raise WrongUsageError if there are too few people in a part of the trusted faces."""
    if not all(can_identify(labelled.people[part]) for part in parts):
        raise WrongUsageError(
            f"the labels of {len(support.doubtful):,} faces of dataset {labelled.dataset.path} are "
            "doubtful, and the others are of too few people; look at them with --doubtful FILE.csv,"
            " or give --trust-labels"
        )


def _require_people(labelled: LabelledDataset, out: NDArray[np.bool_]) -> None:
    """Raise WrongUsageError unless there are people to learn from and to measure on."""
    several = np.bincount(labelled.people) > 1
    left = np.unique(labelled.people[~out & several[labelled.people]])
    if len(left) < MIN_PEOPLE or not can_identify(labelled.people[out]):
        raise WrongUsageError(
            f"of dataset {labelled.dataset.path}, {int(several.sum()):,} people have several "
            f"labelled photos, and a head needs {MIN_PEOPLE} beside those held out; label more "
            "photos, or name the column of names with --people"
        )


def _learner(
    options: HeadOptions, training: TrainingOptions
) -> Callable[[NDArray[np.float32], NDArray[np.int64]], Callable[[float], HeadWeights]]:
    """Return the function that learns a head from faces; see `strength.Learn`."""
    if options.method == "whitening":
        return learn_whitening
    from facetrove.training.networks.margin_head import learn_margin

    return partial(
        learn_margin,
        layers=options.layers,
        epochs=training.epochs,
        seed=training.seed,
        threads=training.threads or available_threads(),
    )


def _measured(
    head: HeadWeights,
    embeddings: NDArray[np.float32],
    people: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    seed: int,
) -> dict[str, Value]:
    """Measure a head on people held out, beside no head."""
    numbers, own = np.unique(people, return_inverse=True)
    bootstrap = Bootstrap.of(len(numbers), seed=seed)
    with_head, without = (
        identify_people(vectors, own, splits=SPLITS, seed=seed, trusted=trusted)
        for vectors in (unit_length(head(embeddings)), embeddings)
    )
    figures: dict[str, Value] = {}
    for name, found in (("", with_head), ("_without_head", without)):
        figures[f"rank_one{name}"] = round(float(found.rank_one()[0]), 4)
        figures[f"fnir_at_fpir_{FPIR}{name}"] = round(float(found.fnir(FPIR)[0]), 4)
        figures[f"mean_fnir{name}"] = round(float(found.mean_fnir()[0]), 4)
    low, high = _difference(with_head, without, bootstrap)
    return {**figures, "mean_fnir_difference_low": low, "mean_fnir_difference_high": high}


def _difference(
    found: Identification, base: Identification, bootstrap: Bootstrap
) -> tuple[float, float]:
    """Return the 95% interval of the difference of the mean FNIR from that without a head."""
    difference = found.mean_fnir(bootstrap) - base.mean_fnir(bootstrap)
    low, high = np.quantile(difference, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def _card(
    path: Path,
    labelled: LabelledDataset,
    support: LabelSupport,
    choice: Choice,
    figures: dict[str, Value],
    options: HeadOptions,
    training: TrainingOptions,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
) -> TrainingCard:
    contract = labelled.dataset.contract
    asked = given_options(options)
    asked |= {"base": contract.embedder, "base_digest": contract.embedder_digest}
    return card_of(
        "head",
        path,
        labelled,
        training,
        learnt=inside,
        held_out=outside,
        options=asked | {"strength": choice.strength},
        figures={**figures, "doubtful_labels": len(support.doubtful)},
        curve=[{"epoch": score["strength"], **score} for score in choice.scores],
        by_keras=options.method == "margin",
    )


def _written(
    path: Path,
    head: HeadWeights,
    card: TrainingCard,
    labelled: LabelledDataset,
    training: TrainingOptions,
) -> TrainingCard:
    """Write the network, the TOML file, the card and its page; return the card with its digest."""
    contract = labelled.dataset.contract
    network = network_path(path)
    head.write(network)
    described = {
        "name": path.stem,
        "base": contract.embedder,
        "base_digest": contract.embedder_digest,
        "base_alignment": contract.alignment,
        "network": network.name,
        "licence": training.licence,
        "origin": "facetrove train head",
    }
    card = write_trained(path, toml_text(described), card, labelled.dataset)
    read_head(path)
    return card


def doubtful_labels(
    labelled: LabelledDataset, embeddings: NDArray[np.float32], support: LabelSupport
) -> tuple[Doubtful, ...]:
    """List the faces that others of their label do not support, with the label most like each.

    Args:
        labelled: the labelled faces.
        embeddings: (n, d) their embeddings.
        support: how well each is supported.
    """
    rows = support.doubtful
    names: list[str] = []
    margins: list[float] = []
    for start in range(0, len(rows), NUM_COMPARED):
        block = rows[start : start + NUM_COMPARED]
        scores = embeddings[block] @ embeddings.T
        scores[labelled.people[block][:, None] == labelled.people] = -np.inf
        best = scores.argmax(axis=1)
        names += [labelled.names[labelled.classes[row]] for row in best]
        margins += (support.similarity[block] - scores[np.arange(len(block)), best]).tolist()
    columns = labelled.table.select(["uri", "face_id"]).take(rows).to_pylist()
    found = [
        Doubtful(
            uri=column["uri"],
            face_id=column["face_id"],
            label=labelled.names[labelled.classes[row]],
            suggested=name,
            margin=round(margin, 4),
        )
        for column, row, name, margin in zip(columns, rows, names, margins, strict=True)
    ]
    return tuple(sorted(found, key=lambda face: face.margin))
