"""The faces of one photo by their size, by which a user says which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.models.face import Face


def largest_first(faces: Sequence[Face]) -> list[Face]:
    """Sort the faces of a photo by the area of their boxes, the largest first."""
    return sorted(faces, key=lambda face: -float(np.prod(face.box[2:])))


def face_of_rank(faces: Sequence[Face], rank: int, photo: str) -> Face:
    """Return the face of a photo that has a rank by size.

    Args:
        faces: all faces of the photo, in any order.
        rank: rank of the face by the area of its box; 1 is the largest.
        photo: the photo's name, for messages.

    Raises:
        FaceTroveError: there is no face.
        WrongUsageError: there are fewer faces.
    """
    if not faces:
        raise FaceTroveError(
            f"no face was found in {photo}; try a photo where the face is larger or turned more "
            "towards the camera"
        )
    if not 1 <= rank <= len(faces):
        raise WrongUsageError(
            f"{photo} has {len(faces)} face{'s' if len(faces) > 1 else ''}, so there is no face "
            f"number {rank}; the largest is number 1"
        )
    return largest_first(faces)[rank - 1]
