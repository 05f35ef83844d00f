"""Compare a face of one photo with a face of another (1:1 verification)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faces.core.errors import WrongUsageError
from faces.models.choice import FIVE_POINT_ALIGNMENT, ModelChoice
from faces.models.face import Box, Face
from faces.models.ranking import face_of_rank
from faces.photos.decoding import Image, Photo
from facetrove.finding import FoundFaces, find_faces
from indexer.model_rates import verification_threshold

FAR = 0.001
"""False accept rate of a decision: the share of pairs of different people that count as the same
person. One in a thousand is a rate at which verification is commonly stated."""


@dataclass(frozen=True)
class ComparedFace:
    """The face of a photo that was compared.

    Attributes:
        box: the face's box, in pixels of the upright photo.
        number: rank of the face by the area of its box among the photo's faces; 1 is the largest.
        num_faces: number of faces that were found in the photo.
    """

    box: Box
    number: int
    num_faces: int


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two faces.

    Attributes:
        similarity: inner product of the two unit embeddings, in [-1, 1]; higher is nearer.
        decision: whether the two faces count as one person's; None where no threshold is known
            for the models.
        threshold: similarity from which on two faces count as one person's; None where none is
            known for the models.
        far: false accept rate of the threshold, in (0, 1).
        reason: sentence that says how the threshold was measured, or why there is none.
        faces: the two faces that were compared, in the order of the photos.
    """

    similarity: float
    decision: bool | None
    threshold: float | None
    far: float
    reason: str
    faces: tuple[ComparedFace, ComparedFace]

    def __repr__(self) -> str:
        decided = {True: "same person", False: "different people", None: "not decided"}
        threshold = "no threshold" if self.threshold is None else f"threshold {self.threshold:.3f}"
        return (
            f"<comparison: similarity {self.similarity:.3f}, {decided[self.decision]} "
            f"({threshold}, FAR {self.far:g})>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that `json` can write."""
        faces = [{**vars(face), "box": face.box._asdict()} for face in self.faces]
        return {**vars(self), "faces": faces}


def compare(
    a: str | Path | Photo | Image,
    b: str | Path | Photo | Image,
    *,
    face: int | tuple[int, int] = 1,
    models: ModelChoice = ModelChoice(),
) -> Comparison:
    """Compare a face of one photo with a face of another, and decide whether they are one person's.

    Args:
        a, b: path of a photo file, a `Photo`, or an upright image as a (height, width, 3) uint8
            RGB array.
        face: rank by size of the face to compare in each photo, where 1 is the largest; two ranks
            are for `a` and `b`.
        models: detector and embedder to use; the built-in ones by default.

    Returns:
        The similarity, and a decision at a false accept rate of 0.001. The decision is None where
        no threshold is known for the models; the reason then says so.

    Raises:
        WrongUsageError: a photo cannot be read or has no face of that rank, or there is no such
            model.
        FaceTroveError: no face was found in a photo.
        ModelUnavailableError: the weights of a model cannot be fetched.
    """
    ranks = (face, face) if isinstance(face, int) else face
    if len(ranks) != len("ab"):
        raise WrongUsageError(
            f"face is {face!r}; give one number for both photos, or two: for a and for b"
        )
    first, second = (
        _chosen(find_faces(photo, models=models), rank, _name(photo, letter))
        for photo, rank, letter in zip((a, b), ranks, "ab", strict=True)
    )
    # Rounding can make the inner product of equal unit vectors exceed 1.
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


def _chosen(faces: FoundFaces, rank: int, name: str) -> tuple[Face, ComparedFace]:
    """Return the face of a photo that has a rank by size, and its description."""
    chosen = face_of_rank(faces, rank, name)
    return chosen, ComparedFace(Box(*chosen.box.tolist()), rank, len(faces))


def _threshold(models: ModelChoice) -> tuple[float | None, str]:
    """Return the threshold for a choice of models, and how it was measured or why there is none.

    A threshold is used only with the detector and alignment that it was measured with: others give
    other crops, and so other similarities.
    """
    default = ModelChoice()
    threshold = verification_threshold(models.embedder, FAR)
    if threshold is None:
        return None, (
            f"no threshold of {models.embedder} at a false accept rate of {FAR:g} has been "
            "measured; `facetrove evaluate pairs` measures one on your photos"
        )
    if models.detector != default.detector or models.alignment not in (None, FIVE_POINT_ALIGNMENT):
        return None, (
            f"the threshold of {models.embedder} was measured with the detector "
            f"{default.detector} and the model's own alignment; use these for a decision"
        )
    return threshold, (
        f"{FAR:.1%} of all pairs of different people in Labeled Faces in the Wild, which are "
        "frontal press photos, reach this threshold with the built-in models"
    )
