"""The faces of one photo, and which of them a user means: they are numbered by their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.words import counted
from faces.models.face import Face
from faces.models.pipeline import FacePipeline
from faces.photos.decoding import Image, Photo
from faces.photos.limited import open_photo


def faces_of(photo: str | Path | Photo | Image, pipeline: FacePipeline) -> list[Face]:
    """Find and embed the faces of a photo, decoded at the reduced size that the embed job uses.

    Args:
        photo: path of a photo file, a `Photo`, or an upright (height, width, 3) uint8 RGB array.
        pipeline: detector and embedder.

    Raises:
        WrongUsageError: the photo cannot be read.
    """
    if isinstance(photo, str | Path):
        photo = open_photo(Path(photo), pipeline.detector.reduction_for)
    (faces,) = pipeline.find_faces([photo])
    return faces


def no_face(photo: str) -> FaceTroveError:
    """Return the error for a photo in which no face was found."""
    return FaceTroveError(
        f"no face was found in {photo}; try a photo where the face is larger or turned more "
        "towards the camera"
    )


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
        raise no_face(photo)
    if not 1 <= rank <= len(faces):
        raise WrongUsageError(
            f"{photo} has {counted(len(faces), 'face')}, so there is no face "
            f"number {rank}; the largest is number 1"
        )
    return largest_first(faces)[rank - 1]
