"""Faces of photos that were sent in: which of them are meant, and what they make together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.models.face import Box, Face
from faces.models.ranking import face_of_rank, largest_first
from facetrove.service.probing import ProbePhoto
from indexer.manifest import Manifest
from indexer.model_rates import MEASURED_WITH, verification_threshold
from search.answering import joint_embedding


def box_json(face: Face) -> dict[str, float]:
    """Return a face's box as a document."""
    return Box(*face.box.tolist())._asdict()


def numbered_faces(photo: ProbePhoto, rank: int | None, name: str) -> list[tuple[int, Face]]:
    """Return the faces of a photo with their ranks by size, the largest first.

    Args:
        photo: the photo.
        rank: rank of the only face that is meant; None: all are.
        name: name of the photo, for messages.

    Raises:
        WrongUsageError, FaceTroveError: it has no face of that rank, or none at all.
    """
    if rank is None:
        return list(enumerate(largest_first(photo.faces), start=1))
    return [(rank, face_of_rank(photo.faces, rank, name))]


def detected_json(photo: ProbePhoto, *, with_embeddings: bool) -> dict[str, Any]:
    """Return a photo and its faces as a document, the largest face first."""
    faces = []
    for number, face in numbered_faces(photo, None, ""):
        found = {
            "box": box_json(face),
            "landmarks": face.landmarks.tolist(),
            "score": face.score,
            "number": number,
            "quality": vars(face.quality),
        }
        if with_embeddings:
            found |= {
                "embedding_norm": face.embedding_norm,
                "embedding": face.embedding.tolist(),
            }
        faces.append(found)
    return {"width": photo.width, "height": photo.height, "faces": faces}


def joint_of(faces: Sequence[Face]) -> tuple[NDArray[np.float32], float]:
    """Return the joint probe of faces of one person, (1, d), and the lowest similarity among them.

    Raises:
        WrongUsageError: the embeddings cancel out.
    """
    embeddings = np.array([face.embedding for face in faces], np.float32)
    lowest = min(1.0, float((embeddings @ embeddings.T).min()))
    return joint_embedding(embeddings)[np.newaxis], lowest


def comparison_json(
    first: tuple[ProbePhoto, int, Face],
    second: tuple[ProbePhoto, int, Face],
    manifest: Manifest,
    far: float,
) -> dict[str, Any]:
    """Compare two faces, and decide at a false accept rate whether they are one person's.

    Args:
        first, second: the photos, and the ranks and faces that are compared.
        manifest: the version of the index, whose models embedded the faces.
        far: share of pairs of different people that count as the same person, (0, 1).
    """
    similarity = min(1.0, float(first[2].embedding @ second[2].embedding))
    contract = manifest.contract
    is_measured = (contract.detector, contract.alignment) in MEASURED_WITH
    threshold = verification_threshold(contract.embedder, far) if is_measured else None
    if threshold is None:
        reason = (
            f"no threshold of {contract.embedder} at a false accept rate of {far:g} is known; "
            "`facetrove evaluate pairs` measures it on your photos"
        )
    else:
        reason = (
            f"a share of {far:g} of all pairs of different people in Labeled Faces in the Wild, "
            "which are frontal press photos, reach this threshold with these models"
        )
    return {
        "similarity": similarity,
        "decision": None if threshold is None else similarity >= threshold,
        "admit": threshold is not None and similarity >= threshold,
        "threshold": threshold,
        "far": far,
        "reason": reason,
        "faces": [
            {"box": box_json(face), "number": rank, "num_faces": len(photo.faces)}
            for photo, rank, face in (first, second)
        ],
    }
