"""Compare two photos: do they show one person?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.models.choice import FIVE_POINT_ALIGNMENT, ModelChoice
from faces.models.face import Box, Face
from faces.photos.decoding import Image, Photo
from facetrove.finding import FoundFaces, find_faces
from indexer.thresholds import verification_threshold

FAR = 0.001
"""False accept rate of a decision: of a thousand pairs of different people one counts as the same
person's."""


@dataclass(frozen=True)
class ComparedFace:
    """The face of a photo that was compared.

    Attributes:
        box: where it is, in pixels of the upright photo.
        number: its place among the photo's faces by size, the largest first, from 1.
        num_faces: faces found in the photo.
    """

    box: Box
    number: int
    num_faces: int


@dataclass(frozen=True)
class Comparison:
    """What comparing two faces gave.

    Attributes:
        similarity: inner product of the two unit embeddings, [-1, 1], higher is nearer.
        decision: whether the two count as one person; None where no threshold is known.
        threshold: the least similarity that counts; None where it is not known.
        far: the false accept rate that the threshold is for.
        reason: what the decision rests on, or why there is none.
        faces: the two faces, in the order of the photos.
    """

    similarity: float
    decision: bool | None
    threshold: float | None
    far: float
    reason: str
    faces: tuple[ComparedFace, ComparedFace]

    def to_json(self) -> dict[str, Any]:
        """The fields, for machines."""
        faces = [{**vars(face), "box": face.box._asdict()} for face in self.faces]
        return {**vars(self), "faces": faces}


def compare(
    a: str | Path | Photo | Image,
    b: str | Path | Photo | Image,
    *,
    face: int | tuple[int, int] = 1,
    models: ModelChoice = ModelChoice(),
) -> Comparison:
    """Compare a face of one photo with a face of another (1:1).

    Args:
        a, b: paths of photos, or decoded ones, an array being (height, width, 3) uint8 RGB.
        face: which face of a photo, by size: 1 is the largest. Two numbers are for `a` and `b`.
        models: detector and embedder; the built-in ones by default.

    Returns:
        The similarity, and a decision at a false accept rate of `FAR`. For a model of which nobody
        measured what similarities mean, the decision is None, and the reason says so.

    Raises:
        WrongUsageError: a photo cannot be read or has fewer faces, or there is no such model.
        FaceTroveError: no face was found in a photo.
        ModelUnavailableError: the weights of a model cannot be had.
    """
    numbers = (face, face) if isinstance(face, int) else face
    if len(numbers) != len("ab"):
        raise WrongUsageError(f"face is {face!r}; give one number, or two: of photo a and photo b")
    first, second = (
        _chosen(find_faces(photo, models=models), number, _name(photo, letter))
        for photo, number, letter in zip((a, b), numbers, "ab", strict=True)
    )
    similarity = min(1.0, float(np.dot(first[0].embedding, second[0].embedding)))
    threshold, reason = _threshold(models)
    return Comparison(
        similarity=similarity,
        decision=None if threshold is None else similarity >= threshold,
        threshold=threshold,
        far=FAR,
        reason=reason,
        faces=(first[1], second[1]),
    )


def _name(photo: str | Path | Photo | Image, letter: str) -> str:
    return str(photo) if isinstance(photo, str | Path) else f"photo {letter}"


def _chosen(faces: FoundFaces, number: int, name: str) -> tuple[Face, ComparedFace]:
    """The face of a photo with this number by size."""
    if not faces:
        raise FaceTroveError(
            f"no face was found in {name}; try a photo where the face is larger or turned more "
            "towards the camera"
        )
    if not 1 <= number <= len(faces):
        raise WrongUsageError(
            f"{name} has {len(faces)} face{'s' if len(faces) > 1 else ''}, so there is no face "
            f"number {number}; the largest is number 1"
        )
    by_size = sorted(faces, key=lambda face: -float(np.prod(face.box[2:])))
    chosen = by_size[number - 1]
    return chosen, ComparedFace(Box(*chosen.box.tolist()), number, len(faces))


def _threshold(models: ModelChoice) -> tuple[float | None, str]:
    """The threshold of a decision, and what it rests on or why there is none."""
    usual = ModelChoice()
    threshold = verification_threshold(models.embedder, FAR)
    if threshold is None:
        return None, (
            f"no threshold of {models.embedder} at a false accept rate of {FAR:g} was published or "
            "measured; `facetrove evaluate pairs` measures one on your photos"
        )
    if models.detector != usual.detector or models.alignment not in (None, FIVE_POINT_ALIGNMENT):
        return None, (
            f"the threshold of {models.embedder} was measured with the detector "
            f"{usual.detector} and the model's own alignment, and other ones were chosen"
        )
    return threshold, (
        "measured with the built-in models on all pairs of different people in Labeled Faces in "
        f"the Wild, which are frontal press photos: {FAR:.1%} of them reach this threshold"
    )
