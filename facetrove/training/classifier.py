"""Training a classifier of faces, from a dataset to an ONNX file, its TOML file and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_jobs.crops import cut_missing_crops
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.crop_cache import CROP_BYTES, Crops
from faces.dataset.store import Dataset
from faces.models.classifier_file import ClassifierFile, classifier_toml
from facetrove.training.card import TrainingCard, Value, given_options
from facetrove.training.classifier_options import FEATURE_BYTES, ClassifierOptions
from facetrove.training.doubtful import Doubtful, doubtful_faces
from facetrove.training.figures import ClassifierFigures, classifier_figures
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.options import TrainingOptions, require_model_path
from facetrove.training.parts import Parts, training_key, with_crops
from facetrove.training.requirements import require_keras, require_memory
from facetrove.training.trained_files import card_of, network_path, write_trained

WORK_BYTES = 600_000_000
"""Memory in bytes that training takes beside Keras and the crops: batches and their gradients."""


@dataclass(frozen=True)
class TrainedClassifier:
    """What training a classifier gave.

    Attributes:
        model: path of the TOML file that describes it.
        card: its card.
        figures: how well the faces of the people held out were classified.
        num_lost: number of labelled faces whose photo is gone or has changed.
        doubtful: the faces whose label is doubtful, most doubtful first; empty unless asked for.
    """

    model: Path
    card: TrainingCard
    figures: ClassifierFigures
    num_lost: int
    doubtful: tuple[Doubtful, ...]


def train_classifier(
    dataset: str | Path,
    model: str | Path,
    *,
    label: str,
    options: ClassifierOptions = ClassifierOptions(),
    training: TrainingOptions = TrainingOptions(),
    list_doubtful: bool = False,
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainedClassifier:
    """Train a network that says what a face shows, from a column of labels.

    A training that was killed goes on with the epoch it was in, by the same call.

    Args:
        dataset: the dataset's folder; its photos must be where they were embedded.
        model: the TOML file to write. The ONNX file, the card and its page are written beside it,
            with the endings .onnx, .card.toml and .html.
        label: the column of labels.
        options: the network and how it is trained.
        training: split, seed and other options of all kinds of training.
        list_doubtful: whether to find the faces whose label is doubtful: a third more time.
        workers: number of worker processes that cut crops; None: one per core.
        on_progress: called with each step and how far it is.

    Returns:
        The card, and the figures on the people held out.

    Raises:
        WrongUsageError: Keras or memory is missing, there is no such dataset or column, there are
            too few labels or people, or the labels are no classes.
        BusyError: another process is cutting crops of the dataset.
        FaceTroveError: the ONNX file computes something else than the network, or a worker failed.
    """
    require_keras()
    path = require_model_path(model)
    opened = Dataset.open(dataset)
    labelled = read_labelled(
        opened,
        label=label,
        people=training.people,
        face=training.face,
        min_class=options.min_class,
    )
    of_a_face = CROP_BYTES + (FEATURE_BYTES if options.architecture == "fer" else 0)
    num_bytes = WORK_BYTES + len(labelled) * of_a_face
    require_memory(num_bytes, f"{len(labelled):,} faces")
    crops = cut_missing_crops(opened, labelled.table, workers=workers, on_progress=on_progress)
    faces, crops, num_lost = with_crops(labelled, crops)
    from facetrove.training.networks.keras_library import leaving_generators_alone

    with leaving_generators_alone():
        return _trained(
            faces, crops, path, label, options, training, list_doubtful, num_lost, on_progress
        )


def _trained(
    faces: LabelledDataset,
    crops: Crops,
    path: Path,
    label: str,
    options: ClassifierOptions,
    training: TrainingOptions,
    list_doubtful: bool,
    num_lost: int,
    on_progress: OnProgress,
) -> TrainedClassifier:
    """Train, measure and write a network; see `train_classifier`."""
    from facetrove.training.networks.architectures import with_softmax
    from facetrove.training.networks.classifiers import ClassifierFaces, fit_classifier
    from facetrove.training.networks.classifiers import probabilities as ask_network
    from facetrove.training.networks.keras_library import make_deterministic
    from facetrove.training.networks.loop import Checkpoint
    from facetrove.training.networks.onnx_file import write_onnx

    parts = Parts.of(faces, training.held_out, training.seed)
    make_deterministic(training.seed, threads=training.threads or available_threads())
    asked = given_options(options) | {"label": label, "face": training.face, "seed": training.seed}
    checkpoint = Checkpoint(
        path.with_suffix(".checkpoint"), training_key(faces, parts, asked | asdict(training))
    )
    model, history, margins = fit_classifier(
        ClassifierFaces(
            take=crops.take,
            classes=faces.classes,
            num_classes=len(faces.names),
            learn=parts.learn,
            stop=parts.stop,
            follow=parts.learn if list_doubtful else parts.learn[:0],
        ),
        options,
        seed=training.seed,
        epochs=training.epochs,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    ask = partial(ask_network, model, crops.take)
    figures = _measured(faces, parts, ask(parts.held_out))
    sample = crops.take(np.arange(min(8, len(faces)))).astype(np.float32)
    write_onnx(with_softmax(model), network_path(path), sample)
    card = _written(
        path,
        label,
        faces,
        training,
        figures,
        learnt=parts.known,
        held_out=parts.held_out,
        options=asked | {"epochs": len(history.curve)},
        best_epoch=history.best,
        curve=history.curve,
    )
    doubtful = _doubtful(faces, parts, ask, margins) if list_doubtful else ()
    checkpoint.path.unlink(missing_ok=True)
    return TrainedClassifier(path, card, figures, num_lost, doubtful)


def _written(
    path: Path,
    label: str,
    faces: LabelledDataset,
    training: TrainingOptions,
    figures: ClassifierFigures,
    *,
    best_epoch: int,
    **others: Any,
) -> TrainingCard:
    """Write the TOML file, the card and its page; `others` are arguments of `card_of`."""
    described = ClassifierFile.of(
        faces.dataset.contract,
        path=path,
        label=label,
        classes=faces.names,
        licence=training.licence,
    )
    card = card_of(
        "classifier",
        path,
        faces,
        training,
        figures=_figures(figures) | {"best_epoch": best_epoch},
        alignment=described.alignment,
        classes=dict(zip(faces.names, np.bincount(faces.classes).tolist(), strict=True)),
        left_out=faces.left_out,
        per_class=_per_class(faces, figures),
        **others,
    )
    return write_trained(path, classifier_toml(described), card, faces.dataset)


def _measured(
    faces: LabelledDataset, parts: Parts, given: NDArray[np.float32]
) -> ClassifierFigures:
    """Measure a classifier by the (n, c) probabilities that it gave the people held out."""
    own, people = faces.classes[parts.held_out], faces.people[parts.held_out]
    return classifier_figures(own, given.argmax(axis=1), people, len(faces.names))


def _figures(figures: ClassifierFigures) -> dict[str, Value]:
    """Return the figures of all classes together for the card."""
    low, high = figures.mean_recall_interval
    named = {
        "accuracy": figures.accuracy,
        "mean_recall": figures.mean_recall,
        "mean_recall_low": low,
        "mean_recall_high": high,
    }
    return {name: round(float(value), 4) for name, value in named.items()}


def _doubtful(
    faces: LabelledDataset,
    parts: Parts,
    asked: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    margins: NDArray[np.float64],
) -> tuple[Doubtful, ...]:
    """List the faces whose label is doubtful.

    Args:
        faces: the labelled faces.
        parts: the parts of them.
        asked: returns the probabilities of the classes for faces at some positions.
        margins: the mean margins of the faces that were learnt from.
    """
    from facetrove.training.networks.classifiers import margins_of

    everyone = np.concatenate([parts.learn, parts.stop, parts.held_out])
    given = asked(everyone)
    beyond = margins_of(given, faces.classes[everyone])[len(margins) :]
    return doubtful_faces(faces, everyone, np.concatenate([margins, beyond]), given.argmax(axis=1))


def _per_class(faces: LabelledDataset, figures: ClassifierFigures) -> dict[str, dict[str, float]]:
    """Return the figures of each class for the card, without those that there are none of."""
    return {
        name: {
            "faces": int(figures.counts[number]),
            **{
                key: round(float(values[number]), 4)
                for key, values in (("recall", figures.recalls), ("precision", figures.precisions))
                if np.isfinite(values[number])
            },
        }
        for number, name in enumerate(faces.names)
    }
