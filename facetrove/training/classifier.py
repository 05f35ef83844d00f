"""Training a classifier of faces, from a dataset to an ONNX file, its TOML file and its card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from beam_jobs.crops import cut_missing_crops
from faces.core.hashing import sha256_of
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, ignore_progress
from faces.core.storage import put_file
from faces.dataset.crop_cache import CROP_BYTES, Crops
from faces.dataset.store import Dataset
from faces.models.classifier_file import ClassifierFile, classifier_toml
from facetrove.training.card import TrainingCard, digests_for_card, write_card
from facetrove.training.card_page import write_card_page
from facetrove.training.classifier_options import ClassifierOptions
from facetrove.training.doubtful import Doubtful, doubtful_faces
from facetrove.training.figures import ClassifierFigures, classifier_figures
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.options import TrainingOptions, require_model_path
from facetrove.training.parts import Parts, training_key, with_crops
from facetrove.training.requirements import require_keras, require_memory

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
    num_bytes = WORK_BYTES + len(labelled) * CROP_BYTES
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
    from facetrove.training.networks.architectures import CROP_SHAPE, with_softmax
    from facetrove.training.networks.classifiers import (
        ClassifierFaces,
        fit_classifier,
        margins_of,
        probabilities,
    )
    from facetrove.training.networks.keras_library import keras, make_deterministic, tf
    from facetrove.training.networks.loop import Checkpoint
    from facetrove.training.networks.onnx_file import write_onnx

    parts = Parts.of(faces, training.held_out, training.seed)
    make_deterministic(training.seed, threads=training.threads or available_threads())
    asked = asdict(options) | {"label": label, "face": training.face, "seed": training.seed}
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
    given = probabilities(model, crops.take, parts.held_out)
    own = faces.classes[parts.held_out]
    figures = classifier_figures(
        own, given.argmax(axis=1), faces.people[parts.held_out], len(faces.names)
    )
    network = path.with_suffix(".onnx")
    sample = crops.take(np.arange(min(8, len(faces)))).astype(np.float32)
    assert sample.shape[1:] == CROP_SHAPE
    write_onnx(with_softmax(model), network, sample)
    described = ClassifierFile.of(
        faces.dataset.contract,
        path=path,
        label=label,
        classes=faces.names,
        licence=training.licence,
    )
    card = TrainingCard(
        kind="classifier",
        name=described.name,
        licence=training.licence,
        facetrove=version("facetrove"),
        keras=keras.__version__,
        tensorflow=tf.__version__,
        network_sha256=sha256_of(network),
        detector=faces.dataset.contract.detector,
        detector_digest=faces.dataset.contract.detector_digest,
        alignment=described.alignment,
        num_faces=len(parts.learn) + len(parts.stop),
        num_people=len(np.unique(faces.people[np.concatenate([parts.learn, parts.stop])])),
        num_held_out_faces=len(parts.held_out),
        num_held_out_people=len(np.unique(faces.people[parts.held_out])),
        num_unlabelled=faces.num_unlabelled,
        seed=training.seed,
        classes=dict(zip(faces.names, np.bincount(faces.classes).tolist(), strict=True)),
        left_out=faces.left_out,
        options=asked | {"held_out": training.held_out, "epochs": len(history.curve)},
        figures={
            "best_epoch": history.best,
            "accuracy": round(figures.accuracy, 4),
            "mean_recall": round(figures.mean_recall, 4),
            "mean_recall_low": round(figures.mean_recall_interval[0], 4),
            "mean_recall_high": round(figures.mean_recall_interval[1], 4),
        },
        per_class=_per_class(faces, figures),
        curve=history.curve,
        face_digests=digests_for_card(faces.table["face_id"]),
    )
    with put_file(path) as file:
        file.write(classifier_toml(described).encode())
    write_card(path, card)
    write_card_page(path, card, faces.dataset)
    doubtful: tuple[Doubtful, ...] = ()
    if list_doubtful:
        everyone = np.concatenate([parts.learn, parts.stop, parts.held_out])
        asked_all = probabilities(model, crops.take, everyone)
        beyond = margins_of(asked_all, faces.classes[everyone])[len(margins) :]
        doubtful = doubtful_faces(
            faces, everyone, np.concatenate([margins, beyond]), asked_all.argmax(axis=1)
        )
    checkpoint.path.unlink(missing_ok=True)
    return TrainedClassifier(path, card, figures, num_lost, doubtful)


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
