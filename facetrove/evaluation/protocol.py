"""How identification is tried: who is enrolled, who is searched for, and who is a stranger."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from facetrove.evaluation.labels import drawn_turns


@dataclass(frozen=True)
class Protocol:
    """How identification is tried. The fields have the names of the command's options.

    Attributes:
        enrol: number of photos enrolled of each person who has more; of other people all photos
            are enrolled.
        splits: number of random splits, whose results are taken together.
        strangers: share of the people who are not enrolled in the open set, (0, 1).
        seed: seed of the first split; the other splits follow from it.
    """

    enrol: int = field(default=1, metadata={"json": "num_enrolled"})
    splits: int = field(default=10, metadata={"json": "num_splits"})
    strangers: float = field(default=0.5, metadata={"json": "stranger_share"})
    seed: int = 0

    def __post_init__(self) -> None:
        if self.enrol < 1 or self.splits < 1 or not 0 < self.strangers < 1:
            raise WrongUsageError(
                "enrol one photo or more, in one split or more, and keep a share of the people "
                "between 0 and 1 out"
            )


def split_faces(
    people: NDArray[np.int64], enrol: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose at random which faces are enrolled, and which are searched for.

    Args:
        people: (n,) number of each face's person.
        enrol: number of faces enrolled of each person who has more; of other people all faces
            are enrolled.
        rng: source of chance.

    Returns:
        Rows of the enrolled faces, and rows of the probes.
    """
    order, turns = drawn_turns(people, rng)
    is_enrolled = turns < enrol
    return np.sort(order[is_enrolled]), np.sort(order[~is_enrolled])


def keep_out(
    people: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    num_strangers: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Choose at random which people are strangers, and take their faces out of the gallery.

    Args:
        people: (n,) number of each face's person.
        enrolled, probes: rows of faces, as `split_faces` returns them.
        num_strangers: number of people to keep out.
        rng: source of chance.

    Returns:
        Rows of the faces that stay enrolled, rows of the probes of enrolled people, and rows of
        all faces of the strangers.
    """
    strangers = rng.permutation(int(people.max()) + 1)[:num_strangers]
    known = ~np.isin(people, strangers)
    return enrolled[known[enrolled]], probes[known[probes]], np.flatnonzero(~known)
