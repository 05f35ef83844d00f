"""Ways to learn rare classes: how faces are drawn, and how their errors are weighed."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Balance = Literal["none", "batches", "weights", "focal", "logits"]
"""A way to handle classes of different sizes:

- `none`: every face counts once.
- `batches`: every batch has as many faces of each class, so those of rare ones come often.
- `weights`: an error counts by one over the size of its class.
- `focal`: well classified faces count little (Lin et al., ICCV 2017), beside weights by the root of
  one over the size of the class.
- `logits`: the logarithm of its share is added to each class's logit while training, so that rare
  classes need a margin (logit adjustment; Menon et al., ICLR 2021)."""

BALANCES: tuple[Balance, ...] = get_args(Balance)


def drawn_positions(
    balance: Balance, classes: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the order of the faces of one epoch.

    Args:
        balance: how rare classes are handled; with `batches` the classes take turns, and the faces
            of a small class come several times, in another order each time.
        classes: (n,) number of each face's class.
        rng: random generator.

    Returns:
        (n,) positions of the faces to train on, in their order.
    """
    count = len(classes)
    if balance != "batches":
        return rng.permutation(count)
    present = np.unique(classes)
    turns = -(-count // len(present))
    columns = []
    for number in present:
        own = np.flatnonzero(classes == number)
        rounds = [rng.permutation(own) for _ in range(-(-turns // len(own)))]
        columns.append(np.concatenate(rounds)[:turns])
    rows = np.stack(columns, axis=1)
    for row in rows:
        rng.shuffle(row)
    return rows.reshape(-1)[:count]


def grouped_positions(
    people: NDArray[np.int64], per_person: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the order of the faces of one epoch, so that faces of one person follow each other.

    People take turns in random order, so all come equally often; the photos of a person with fewer
    come several times.

    Args:
        people: (n,) number of each face's person.
        per_person: how many faces of a person follow each other, 1 or more.
        rng: random generator.

    Returns:
        (n,) positions of the faces to train on, in their order.
    """
    num_turns = -(-len(people) // per_person)
    numbers = np.unique(people)
    rounds = -(-num_turns // len(numbers))
    turns = np.concatenate([rng.permutation(numbers) for _ in range(rounds)])[:num_turns]
    coming: dict[int, NDArray[np.int64]] = {}
    order = []
    for person in turns.tolist():
        ahead = coming.get(person, np.zeros(0, np.int64))
        while len(ahead) < per_person:
            ahead = np.concatenate([ahead, rng.permutation(np.flatnonzero(people == person))])
        order.append(ahead[:per_person])
        coming[person] = ahead[per_person:]
    return np.concatenate(order)[: len(people)]


def class_weights(classes: NDArray[np.int64], num_classes: int, balance: Balance) -> list[float]:
    """Return the weight of an error of each class; the weights of all faces have the mean 1.

    Args:
        classes: (n,) number of each face's class.
        num_classes: number of classes.
        balance: how rare classes are handled.
    """
    counts = np.maximum(np.bincount(classes, minlength=num_classes), 1).astype(np.float64)
    power = {"weights": 1.0, "focal": 0.5}.get(balance, 0.0)
    weights = counts**-power
    return list((weights / (weights[classes].mean())).tolist())


def log_shares(classes: NDArray[np.int64], num_classes: int) -> list[float]:
    """Return the logarithm of each class's share of the faces."""
    counts = np.maximum(np.bincount(classes, minlength=num_classes), 1).astype(np.float64)
    return list(np.log(counts / counts.sum()).tolist())
