"""The faces whose labels are doubtful, for people to look at and correct."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetrove.training.labels import LabelledDataset


@dataclass(frozen=True)
class Doubtful:
    """A face whose label is doubtful.

    Attributes:
        uri: uri of the photo.
        face_id: id of the face.
        label: the label that it has.
        suggested: the label that the network would give.
        margin: mean probability of its label less the largest of another, from -1 to 0; for a head,
            similarity to the faces of its label less the largest to another; lower is more
            doubtful.
    """

    uri: str
    face_id: str
    label: str
    suggested: str
    margin: float


def doubtful_faces(
    faces: LabelledDataset,
    positions: NDArray[np.int64],
    margins: NDArray[np.float64],
    found: NDArray[np.int64],
) -> tuple[Doubtful, ...]:
    """List the faces with a margin below 0 that the network would label otherwise.

    Args:
        faces: the labelled faces.
        positions: (n,) positions of the faces to look at.
        margins: (n,) their margins.
        found: (n,) number of the class that the network gives each.

    Returns:
        The doubtful faces, most doubtful first.
    """
    doubted = np.flatnonzero((margins < 0) & (found != faces.classes[positions]))
    doubted = doubted[np.argsort(margins[doubted], kind="stable")]
    columns = faces.table.select(["uri", "face_id"]).take(positions[doubted])
    return tuple(
        Doubtful(
            uri=row["uri"],
            face_id=row["face_id"],
            label=faces.names[faces.classes[positions[number]]],
            suggested=faces.names[found[number]],
            margin=round(float(margins[number]), 4),
        )
        for row, number in zip(columns.to_pylist(), doubted.tolist(), strict=True)
    )
