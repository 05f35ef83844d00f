"""The parts of the labelled faces: to learn from, to stop by, and to measure on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.crop_cache import Crops
from facetrove.training.labels import LabelledDataset
from facetrove.training.splits import held_out_by_person

STOP_SHARE = 0.1
"""Share of the faces, by person, beside those held out, that say which epoch was the best. What is
measured on the people held out is so not chosen on them."""


def with_crops(labelled: LabelledDataset, crops: Crops) -> tuple[LabelledDataset, Crops, int]:
    """Leave out the faces without a crop, and return how many there were.

    Raises:
        WrongUsageError: none is left.
    """
    present = np.flatnonzero(crops.present)
    if not len(present):
        raise WrongUsageError(
            f"the photos of all {len(labelled):,} labelled faces are gone or have changed, such as "
            f"{labelled.table['uri'][0].as_py()}; put them back, or embed them where they are"
        )
    kept = Crops(crops.files, crops.starts, crops.rows[present])
    return labelled.taken(present), kept, len(labelled) - len(present)


@dataclass(frozen=True, eq=False)
class Parts:
    """The three parts of the faces, which share no person.

    Attributes:
        learn: positions of the faces that are learnt from.
        stop: positions of those that say which epoch was the best.
        held_out: positions of those that are measured on.
    """

    learn: NDArray[np.int64]
    stop: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.int64]:
        """Positions of the faces that are not held out."""
        return np.concatenate([self.learn, self.stop])

    @classmethod
    def of(cls, faces: LabelledDataset, held_out: float, seed: int) -> Parts:
        """Draw the parts by person."""
        out = held_out_by_person(faces.people, faces.classes, held_out, seed=seed)
        return cls(
            *learn_and_stop(faces, np.flatnonzero(~out), seed=seed), held_out=np.flatnonzero(out)
        )


def learn_and_stop(
    faces: LabelledDataset, positions: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide faces, by person, into those to learn from and those that stop the training.

    Raises:
        WrongUsageError: all are of one person.
    """
    people, classes = faces.people[positions], faces.classes[positions]
    if len(np.unique(people)) < 2:
        raise WrongUsageError(
            f"without the people held out, {len(positions):,} labelled photos of one person are "
            "left; label photos of more people"
        )
    stops = held_out_by_person(people, classes, STOP_SHARE, seed=seed)
    return positions[~stops], positions[stops]


def training_key(faces: LabelledDataset, parts: Parts, options: Mapping[str, object]) -> str:
    """Return a digest of all that a training depends on, for its checkpoint."""
    digest = hashlib.sha256(repr(sorted(options.items(), key=str)).encode())
    ids = pa.concat_arrays(faces.table["face_id"].chunks)
    digest.update("".join(ids.to_pylist()).encode())
    for array in (faces.classes, parts.learn, parts.stop):
        digest.update(array.tobytes())
    return digest.hexdigest()
