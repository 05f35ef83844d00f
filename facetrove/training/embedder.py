"""Training an embedder on the people of a dataset, to an ONNX file, its TOML file and its card."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beam_jobs.crops import cut_missing_crops
from faces.core.errors import WrongUsageError
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.crop_cache import CROP_ALIGNMENT, CROP_BYTES, Crops
from faces.dataset.store import Dataset
from facetrove.evaluation.metrics import Bootstrap, Rate, rate, share
from facetrove.training.card import TrainingCard, Value, given_options, toml_text
from facetrove.training.embedder_options import EmbedderOptions
from facetrove.training.identification import NUM_SPLITS, can_identify, identify_people
from facetrove.training.label_support import label_support
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.options import TrainingOptions, require_model_path
from facetrove.training.parts import Parts, training_key, with_crops
from facetrove.training.requirements import require_keras, require_memory
from facetrove.training.trained_files import card_of, network_path, write_trained

FPIR = 0.01
"""FPIR of the FNIR on the people held out."""

WORK_BYTES = 600_000_000
"""Memory in bytes that training takes beside Keras and the crops: batches and their gradients."""

PERSON_BYTES = 40_000
"""Memory in bytes that the linear discriminants take for each person: three times its gradients."""


@dataclass(frozen=True)
class TrainedEmbedder:
    """What training an embedder gave.

    Attributes:
        model: path of the TOML file that describes it.
        card: its card.
        rank_one: share of the searches for people held out, all of them enrolled with one photo,
            whose person has rank 1.
        false_negative: FNIR at FPIR 0.01 of the people held out, half of them not enrolled.
        num_lost: number of labelled faces whose photo is gone or has changed.
        num_doubted: number of faces that were not learnt from since their labels are doubtful.
    """

    model: Path
    card: TrainingCard
    rank_one: Rate
    false_negative: Rate
    num_lost: int
    num_doubted: int


def train_embedder(
    dataset: str | Path,
    model: str | Path,
    *,
    options: EmbedderOptions = EmbedderOptions(),
    training: TrainingOptions = TrainingOptions(),
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainedEmbedder:
    """Train a network that tells people apart, from nothing, on the people of a dataset.

    A training that was killed goes on with the epoch it was in, by the same call.

    Args:
        dataset: the dataset's folder; its photos must be where they were embedded.
        model: the TOML file to write, which enters by the door of custom models. The ONNX file, the
            card and its page are written beside it, with the endings .onnx, .card.toml and .html.
        options: how the network is trained.
        training: people, split, seed and other options of all kinds of training.
        workers: number of worker processes that cut crops; None: one per core.
        on_progress: called with each step and how far it is.

    Returns:
        The card, and the error rates on the people held out.

    Raises:
        WrongUsageError: Keras or memory is missing, there is no such dataset or column, or there
            are too few people with several photos whose labels are not doubtful.
        BusyError: another process is cutting crops of the dataset.
        FaceTroveError: the ONNX file computes something else than the network, or a worker failed.
    """
    require_keras()
    path = require_model_path(model)
    opened = Dataset.open(dataset)
    labelled = read_labelled(
        opened,
        label=None,
        people=training.people,
        face=training.face,
        min_class=options.min_photos,
    )
    if len(labelled.names) < MIN_PEOPLE:
        raise WrongUsageError(
            f"dataset {opened.path} has {len(labelled.names)} people with {options.min_photos} "
            f"labelled photos or more, expected {MIN_PEOPLE}: some are learnt from, some say when "
            "to stop, and some are measured on; label photos of more people"
        )
    memory = WORK_BYTES + len(labelled) * CROP_BYTES + len(labelled.names) * PERSON_BYTES
    require_memory(memory, f"{len(labelled):,} faces")
    crops = cut_missing_crops(opened, labelled.table, workers=workers, on_progress=on_progress)
    from facetrove.training.networks.keras_library import leaving_generators_alone

    with leaving_generators_alone():
        return _trained(*with_crops(labelled, crops), path, options, training, on_progress)


MIN_PEOPLE = 20
"""Minimum number of people that an embedder is trained on: of fewer, none would stop it."""


def _trained(
    faces: LabelledDataset,
    crops: Crops,
    num_lost: int,
    path: Path,
    options: EmbedderOptions,
    training: TrainingOptions,
    on_progress: OnProgress,
) -> TrainedEmbedder:
    """Train, measure and write a network; see `train_embedder`."""
    from facetrove.training.networks.embedders import EmbedderFaces, embeddings, fit_embedder
    from facetrove.training.networks.keras_library import make_deterministic
    from facetrove.training.networks.loop import Checkpoint
    from facetrove.training.networks.onnx_file import write_onnx

    drawn = Parts.of(faces, training.held_out, training.seed)
    support = label_support(
        faces.dataset.embeddings()[faces.rows], faces.people, seed=training.seed
    )
    trusted = support.trusted(options.trust_labels)
    _require_trusted(faces, trusted, drawn.held_out)
    parts = replace(drawn, learn=_only(trusted, drawn.learn), stop=_only(trusted, drawn.stop))
    make_deterministic(training.seed, threads=training.threads or available_threads())
    asked = given_options(options) | {"margin": options.chosen_margin, "face": training.face}
    checkpoint = Checkpoint(
        path.with_suffix(".checkpoint"), training_key(faces, parts, asked | asdict(training))
    )
    network, history = fit_embedder(
        EmbedderFaces(crops.take, faces.people, parts.learn, parts.stop),
        options,
        seed=training.seed,
        epochs=training.epochs,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    vectors = embeddings(network, crops.take, parts.held_out)
    rank_one, false_negative = _measured(
        vectors, faces.people[parts.held_out], trusted[parts.held_out], training.seed
    )
    write_onnx(
        network, network_path(path), crops.take(np.arange(min(8, len(faces)))).astype(np.float32)
    )
    card = card_of(
        "embedder",
        path,
        faces,
        training,
        learnt=parts.known,
        held_out=parts.held_out,
        options=asked | {"epochs": len(history.curve)},
        figures=_figures(rank_one, false_negative)
        | {"best_epoch": history.best, "doubtful_labels": len(support.doubtful)},
        curve=history.curve,
        alignment=CROP_ALIGNMENT,
        left_out={"people with fewer photos": sum(faces.left_out.values())},
    )
    card = write_trained(path, _description(path, card), card, faces.dataset)
    checkpoint.path.unlink(missing_ok=True)
    num_doubted = len(drawn.known) - len(parts.known)
    return TrainedEmbedder(path, card, rank_one, false_negative, num_lost, num_doubted)


def _description(path: Path, card: TrainingCard) -> str:
    """Return the TOML file that describes the network."""
    return toml_text(
        {
            "name": path.stem,
            "network": network_path(path).name,
            "alignment": "arcface",
            "licence": card.licence,
            "origin": f"trained by facetrove {card.facetrove} on {card.num_people:,} people",
        }
    )


def _only(trusted: NDArray[np.bool_], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    return positions[trusted[positions]]


def _require_trusted(
    faces: LabelledDataset, trusted: NDArray[np.bool_], held_out: NDArray[np.int64]
) -> None:
    """Raise WrongUsageError if there are too few people whose labels are not doubtful."""
    several = int((np.bincount(faces.people[trusted]) > 1).sum())
    if several < MIN_PEOPLE or not can_identify(faces.people[_only(trusted, held_out)]):
        raise WrongUsageError(
            f"the labels of {int((~trusted).sum()):,} of {len(faces):,} faces of dataset "
            f"{faces.dataset.path} are doubtful by its embeddings, and {several:,} people have "
            f"several others, expected {MIN_PEOPLE}; correct the labels, or give --trust-labels"
        )


def _measured(
    vectors: NDArray[np.float32],
    people: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    seed: int,
) -> tuple[Rate, Rate]:
    """Return rank-1 and FNIR of people held out, by their (n, d) embeddings and numbers."""
    found = identify_people(vectors, people, splits=NUM_SPLITS, seed=seed, trusted=trusted)
    bootstrap = Bootstrap.of(int(people.max()) + 1, seed=seed)
    num_people = len(np.unique(found.right_people))
    false_negative = rate(float(found.fnir(FPIR)[0]), found.fnir(FPIR, bootstrap), num_people)
    return share(found.first, found.first_people, bootstrap), false_negative


def _figures(rank_one: Rate, false_negative: Rate) -> dict[str, Value]:
    """Return the error rates for the card, with their intervals."""
    named = {"rank_one": rank_one, "fnir_at_fpir_0.01": false_negative}
    return {
        f"{name}{end}": round(float(value), 4)
        for name, rate in named.items()
        for end, value in (
            ("", rate.value),
            ("_low", rate.interval[0]),
            ("_high", rate.interval[1]),
        )
    }
