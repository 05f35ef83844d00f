"""Training a classifier of crops, and asking it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.progress import OnProgress, ignore_progress
from faces.models.grey import CROP_SHAPE
from faces.models.weights import smooth_images
from facetrove.training.classifier_options import EPOCHS, ClassifierOptions
from facetrove.training.faces import Take, TakeInputs, TrainingFaces
from facetrove.training.imbalance import class_weights, drawn_positions, log_shares
from facetrove.training.networks.architectures import (
    classifier,
    published_classifier,
    with_softmax,
)
from facetrove.training.networks.asking import outputs
from facetrove.training.networks.frozen import (
    FeatureBatches,
    Scale,
    feature_network,
    features_of,
    last_layer,
    on_features,
)
from facetrove.training.networks.keras_library import keras, leaving_generators_alone
from facetrove.training.networks.loop import Checkpoint, History, Schedule, Source, train
from facetrove.training.networks.losses import classifier_loss
from facetrove.training.networks.onnx_file import write_onnx
from facetrove.training.networks.xception import read_published

PATIENCE = {"article": 4, "small": 10, "fer": 99}
"""Epochs without gain after which training ends; the article's network learns by heart soon."""

RATE = {"article": 1e-3, "small": 2e-3, "fer": 2e-3}
"""The highest learning rate. Keras's own default for Adam is that of the article's network."""


@dataclass(frozen=True, eq=False)
class ClassifierFaces:
    """The labelled faces of a classifier.

    Attributes:
        take: returns crops.
        classes: (n,) number of each face's class.
        num_classes: number of classes.
        learn: positions of the faces that are learnt from.
        stop: positions of the faces, of other people, that say which epoch was the best.
        follow: positions of the faces whose margins are averaged over the epochs; empty: none.
    """

    take: Take
    classes: NDArray[np.int64]
    num_classes: int
    learn: NDArray[np.int64]
    stop: NDArray[np.int64]
    follow: NDArray[np.int64]


def fit_classifier(
    faces: ClassifierFaces,
    options: ClassifierOptions,
    *,
    seed: int,
    epochs: int | None = None,
    checkpoint: Checkpoint | None = None,
    features: NDArray[np.float32] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[keras.Model, History, NDArray[np.float64]]:
    """Train a network that gives the logits of classes.

    Args:
        faces: the labelled faces.
        options: the network and how it is trained.
        seed: seed of order and corruptions; `make_deterministic` has set that of the weights.
        epochs: maximum number of epochs; None: that of the architecture.
        checkpoint: see `train`.
        features: for the network `fer`, what `features_of` gave; None: it is computed.
        on_progress: see `train`.

    Returns:
        The network, its epochs, and the mean margin of each face to follow: the probability of its
        own class less the largest of another, averaged over the epochs (the area under the margin;
        Pleiss et al., NeurIPS 2020, with probabilities instead of logits). Faces that were learnt
        by heart only late, as wrong labels are, have a low one.
    """
    own = faces.classes[faces.learn]
    adjusted = [options.strength * share for share in log_shares(own, faces.num_classes)]
    loss = classifier_loss(
        options.balance, class_weights(own, faces.num_classes, options.balance), adjusted
    )
    by_loss = options.architecture == "fer"
    if options.architecture == "fer":
        trained = _on_features(faces, options, seed, features, on_progress)
    else:
        trained = _on_crops(faces, options, seed)
    epoch = _EpochEnd(
        faces, trained.take, np.array(adjusted) * (options.balance == "logits") if by_loss else None
    )
    history = train(
        trained.model,
        loss,
        trained.source,
        _schedule(options, epochs),
        epoch,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    return trained.whole(trained.model), history, epoch.margins / max(1, epoch.num_followed)


@dataclass(frozen=True, eq=False)
class _Trained:
    """What is trained of a classifier.

    Attributes:
        model: what is trained, which gives logits.
        source: what it is trained on.
        take: returns what it takes of the faces at some positions.
        whole: makes the network from crops to logits of it.
    """

    model: keras.Model
    source: Source
    take: TakeInputs
    whole: Callable[[keras.Model], keras.Model]


def _on_crops(faces: ClassifierFaces, options: ClassifierOptions, seed: int) -> _Trained:
    """Prepare to train a network of crops."""
    source = TrainingFaces(
        take=faces.take,
        positions=faces.learn,
        classes=faces.classes[faces.learn],
        draw=partial(drawn_positions, options.balance),
        batch_size=options.batch_size,
        augment=options.augment,
        seed=seed,
    )
    model = classifier(options.architecture, faces.num_classes)
    return _Trained(model, source, faces.take, lambda model: model)


def _on_features(
    faces: ClassifierFaces,
    options: ClassifierOptions,
    seed: int,
    features: NDArray[np.float32] | None,
    on_progress: OnProgress,
) -> _Trained:
    """Compute the features of crops, unless they are given, and prepare to train a last layer."""
    body = feature_network()
    if features is None:
        asked = faces.learn, faces.stop
        features = features_of(
            body, faces.take, asked, augment=options.augment, seed=seed, on_progress=on_progress
        )
    else:
        features = features.copy() if options.augment else features[:1].copy()
    scale = Scale.of(features[0, faces.learn])
    scale.apply(features)
    source = FeatureBatches(
        views=features,
        positions=faces.learn,
        classes=faces.classes[faces.learn],
        draw=partial(drawn_positions, options.balance),
        batch_size=options.batch_size,
        seed=seed,
    )
    model = last_layer(features.shape[-1], faces.num_classes)
    return _Trained(model, source, features[0].__getitem__, partial(on_features, body, scale))


def _schedule(options: ClassifierOptions, epochs: int | None) -> Schedule:
    return Schedule(
        epochs=epochs or EPOCHS[options.architecture],
        rate=RATE[options.architecture],
        warm_up=1.0 if options.architecture == "small" else 0.0,
        patience=PATIENCE[options.architecture],
    )


def write_published_expressions(published: Path, path: Path) -> None:
    """Convert the published network for expressions to an ONNX file that takes crops.

    Args:
        published: the file of `faces.models.weights.EXPRESSIONS_FILE`.
        path: the ONNX file to write.

    Raises:
        ModelUnavailableError: the published file is another one.
    """
    with leaving_generators_alone():
        model = published_classifier(read_published(published))
        sample = smooth_images(4, *CROP_SHAPE[:2])
        write_onnx(with_softmax(model), path, sample)


class _EpochEnd:
    """What is done after each epoch: margins are followed, and the faces that stop are asked.

    Attributes:
        margins: the sum over the epochs of the margin of each face to follow.
        num_followed: number of these epochs.
    """

    def __init__(
        self, faces: ClassifierFaces, take: TakeInputs, adjusted: NDArray[np.float64] | None
    ) -> None:
        """Prepare what is done.

        Args:
            faces: the faces.
            take: returns what the network takes.
            adjusted: (c,) what is added to logits in training, if the best epoch is the one with
                the smallest loss; None: see `_stop_figures`.
        """
        self._faces, self._take, self._adjusted = faces, take, adjusted
        self.margins = np.zeros(len(faces.follow))
        self.num_followed = 0

    def __call__(self, network: keras.Model) -> Mapping[str, float]:
        """Return the figures of an epoch."""
        faces = self._faces
        if len(faces.follow):
            given = probabilities(network, self._take, faces.follow)
            self.margins += margins_of(given, faces.classes[faces.follow])
            self.num_followed += 1
        asked = probabilities(network, self._take, faces.stop)
        figures = _stop_figures(asked, faces.classes[faces.stop])
        if self._adjusted is not None:
            powers = np.maximum(asked, 1e-30) * np.exp(self._adjusted)
            own = powers[np.arange(len(powers)), faces.classes[faces.stop]]
            figures["stop"] = float(np.log(own / powers.sum(axis=1)).mean())
        return figures


def probabilities(
    model: keras.Model, take: TakeInputs, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Ask a network that gives logits about faces.

    Args:
        model: the network.
        take: returns what the network takes, such as crops.
        positions: (n,) positions of the faces.

    Returns:
        (n, c) float32 probability of each class.
    """
    logits = outputs(model, take, positions)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def margins_of(given: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the (n,) probability of each face's own class less the largest of another."""
    rows = np.arange(len(classes))
    own = given[rows, classes]
    others = given.copy()
    others[rows, classes] = -1.0
    return np.asarray(own - others.max(axis=1))


def _stop_figures(given: NDArray[np.float32], classes: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy and mean recall, and what the best epoch is chosen by.

    That is the mean over the classes of the mean probability of their faces' own class: mean
    recall in a form that does not jump where a class has three faces.
    """
    found = given.argmax(axis=1)
    own = given[np.arange(len(classes)), classes]
    present = np.unique(classes)
    return {
        "accuracy": float((found == classes).mean()),
        "mean_recall": float(np.mean([(found[classes == c] == c).mean() for c in present])),
        "stop": float(np.mean([own[classes == c].mean() for c in present])),
    }
