"""The identification protocol: which faces are enrolled, and which are (non-)mated probes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from facetrove.evaluation.labels import shuffled_by_person


@dataclass(frozen=True)
class Protocol:
    """The options of an identification experiment, named as the command's options.

    Attributes:
        enrol: number of photos enrolled of each person who has more, 1 or more. All photos of a
            person with no more are enrolled.
        splits: number of random splits into enrolled faces and probes, 1 or more. The searches of
            all splits are pooled.
        strangers: share of the people who are kept out of the open-set gallery, in (0, 1). Their
            faces are the non-mated probes.
        seed: seed of all random splits, and of the bootstrap.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    enrol: int = field(default=1, metadata={"json": "num_enrolled"})
    splits: int = field(default=10, metadata={"json": "num_splits"})
    strangers: float = field(default=0.5, metadata={"json": "stranger_share"})
    seed: int = 0

    def __post_init__(self) -> None:
        if self.enrol < 1 or self.splits < 1 or not 0 < self.strangers < 1:
            raise WrongUsageError(
                f"enrol is {self.enrol}, splits is {self.splits}, strangers is {self.strangers}; "
                "expected enrol and splits of 1 or more, and strangers between 0 and 1"
            )


def split_faces(
    people: NDArray[np.int64], enrol: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose at random which faces are enrolled, and which are probes.

    Args:
        people: (n,) number of each face's person.
        enrol: number of faces enrolled of each person who has more. All faces of a person with no
            more are enrolled.
        rng: random generator.

    Returns:
        Positions of the enrolled faces, and positions of the probes, both ascending: together all
        n faces.
    """
    order, ranks = shuffled_by_person(people, rng)
    is_enrolled = ranks < enrol
    return np.sort(order[is_enrolled]), np.sort(order[~is_enrolled])


def keep_out(
    people: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    num_strangers: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Keep people chosen at random out of the gallery, so that their faces are non-mated probes.

    Args:
        people: (n,) number of each face's person.
        enrolled, probes: positions of faces, as `split_faces` returns them.
        num_strangers: number of people to keep out.
        rng: random generator.

    Returns:
        Positions of the faces that stay enrolled, of the mated probes, and of the non-mated probes:
        all faces of the people who are kept out.
    """
    strangers = rng.permutation(int(people.max()) + 1)[:num_strangers]
    is_mated = ~np.isin(people, strangers)
    return enrolled[is_mated[enrolled]], probes[is_mated[probes]], np.flatnonzero(~is_mated)
