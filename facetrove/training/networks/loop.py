"""The training loop of Keras, with batches that depend on seed and epoch alone, and checkpoints.

A loop that is killed goes on with the epoch it was in, and ends with the same weights as one that
was not: layers, optimiser and what the best epoch was are in the checkpoint, and the faces of a
batch and their corruptions are drawn from the seed and the number of the epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.storage import put_file
from facetrove.training.networks.keras_library import keras

Input = NDArray[np.float32] | tuple[NDArray[np.generic], ...]

Batch = tuple[Input, NDArray[np.int64]]


class Source(Protocol):
    """The faces of an epoch."""

    @property
    def num_batches(self) -> int:
        """The number of batches of an epoch."""
        ...

    @property
    def num_faces(self) -> int:
        """The number of faces of an epoch."""
        ...

    def batch(self, epoch: int, number: int) -> Batch:
        """Return the input and the classes of one batch, always the same ones."""
        ...


Evaluate = Callable[[keras.Model], Mapping[str, float]]
"""Measures a network on the people that stop the training; its figure `stop` is to become large."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the epochs, and when to stop.

    Attributes:
        epochs: maximum number of epochs, 1 or more.
        rate: the highest learning rate. It rises from 0 over `warm_up` epochs, and then falls
            to 0 as a cosine (Loshchilov, Hutter, ICLR 2017).
        warm_up: number of epochs, which may be a fraction.
        patience: number of epochs without a better `stop` after which training ends.
    """

    epochs: int
    rate: float = 1e-3
    warm_up: float = 0.0
    patience: int = 10


@dataclass
class History:
    """What is known of the epochs so far.

    Attributes:
        curve: the figures of each epoch, from `epoch` 1.
        best: number of the epoch with the best `stop`, from 1; 0: none yet.
        best_stop: its `stop`.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    best: int = 0
    best_stop: float = -math.inf


@dataclass(frozen=True)
class Checkpoint:
    """The file that a killed loop goes on from.

    Attributes:
        path: the file; it is removed by whoever has kept the result.
        key: what the weights depend on, as text; a checkpoint of anything else is not used.
    """

    path: Path
    key: str

    def write(self, model: keras.Model, best: list[NDArray[np.generic]], history: History) -> None:
        """Write all variables of a model, its optimiser and the best epoch, whole or not at all."""
        state = json.dumps([self.key, history.curve, history.best, history.best_stop])
        arrays = {f"v{n:05d}": variable.numpy() for n, variable in enumerate(_variables(model))}
        arrays |= {f"b{n:05d}": values for n, values in enumerate(best)}
        with put_file(self.path) as file:
            np.savez(file, state=np.array(state), **arrays)

    def read(self, model: keras.Model) -> tuple[list[NDArray[np.generic]], History] | None:
        """Set a model to what was written, and return the best epoch's weights and the history.

        Returns:
            None, with the model as it was, if there is no checkpoint, or not one of this training.
        """
        variables = _variables(model)
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                key, *known = json.loads(str(stored["state"]))
                if key != self.key:
                    return None
                values = [stored[f"v{n:05d}"] for n in range(len(variables))]
                best = [stored[f"b{n:05d}"] for n in range(len(model.weights))]
            history = History(*known)
        except (OSError, ValueError, KeyError, TypeError, EOFError):  # absent, cut off or foreign
            return None
        if any(v.shape != tuple(s.shape) for v, s in zip(values, variables, strict=True)):
            return None
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return best, history


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return all that changes in training, also the generators of dropout."""
    return [*model.variables, *model.optimizer.variables]


def train(
    model: keras.Model,
    loss: keras.losses.Loss,
    source: Source,
    schedule: Schedule,
    evaluate: Evaluate,
    *,
    from_start: bool = False,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress = ignore_progress,
) -> History:
    """Train a network in place, and leave it with the weights of its best epoch.

    Args:
        model: the network.
        loss: the loss of its outputs and the classes.
        source: the faces.
        schedule: epochs and learning rate.
        evaluate: measures the network after every epoch.
        from_start: whether the network may be the best as it is given, with the number 0.
        checkpoint: where to go on from, and what to keep after every epoch; None: nothing is kept.
        on_progress: called after every batch.
    """
    steps = source.num_batches
    model.compile(keras.optimizers.Adam(_rates(schedule, steps)), loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    resumed = checkpoint.read(model) if checkpoint is not None else None
    best, history = resumed or ([value.numpy() for value in model.weights], History())
    if from_start and resumed is None:
        history.best_stop = float(evaluate(model)["stop"])
    while (done := len(history.curve)) < schedule.epochs:
        if done - history.best >= schedule.patience:
            break
        step = f"training, epoch {done + 1} of at most {schedule.epochs}"
        total = schedule.epochs * source.num_faces
        losses = []
        for number, batch in enumerate(_prefetched(source, done)):
            model.reset_metrics()  # so that the loss is that of this batch alone
            losses.append(float(model.train_on_batch(*batch)))
            seen = done * source.num_faces + (number + 1) * source.num_faces // steps
            on_progress(Progress(step, seen, total))
        figures = {name: round(float(value), 6) for name, value in evaluate(model).items()}
        history.curve.append(
            {"epoch": done + 1, "loss": round(float(np.mean(losses)), 6), **figures}
        )
        if figures["stop"] > history.best_stop:
            history.best, history.best_stop = done + 1, figures["stop"]
            best = [value.numpy() for value in model.weights]
        if checkpoint is not None:
            checkpoint.write(model, best, history)
    for weight, value in zip(model.weights, best, strict=True):
        weight.assign(value)
    return history


def _rates(schedule: Schedule, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate by step."""
    warm_up = round(schedule.warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else schedule.rate,
        max(1, schedule.epochs * steps - warm_up),
        warmup_target=schedule.rate if warm_up else None,
        warmup_steps=warm_up,
    )


def _prefetched(source: Source, epoch: int) -> Iterator[Batch]:
    """Yield the batches of an epoch; a thread makes the next one while one is learnt from."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(source.batch, epoch, 0)
        for number in range(source.num_batches):
            batch = coming.result()
            if number + 1 < source.num_batches:
                coming = thread.submit(source.batch, epoch, number + 1)
            yield batch
