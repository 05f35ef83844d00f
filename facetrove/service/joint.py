"""Faces of photos that were sent in: which of them are meant, and what they make together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.words import counted
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
    reason = (
        f"a share of {far:g} of all pairs of different people in {_DATA}, reach this threshold "
        "with these models"
    )
    decided = _decision(similarity, manifest, far, far, reason)
    return {**decided, "faces": [_compared_face(*first), _compared_face(*second)]}


def person_comparison_json(
    probe: tuple[ProbePhoto, int, Face],
    embeddings: NDArray[np.float32],
    manifest: Manifest,
    far: float,
) -> tuple[dict[str, Any], int]:
    """Compare a face with those of a person; the most similar one counts.

    A stranger has as many chances as the person has faces, so that each must be rarer: of n faces,
    1 - (1 - far) ** (1 / n), as if they were of n different people. They are of one, who resembles
    the same strangers with all faces, so that fewer of them are let in than the rate says.

    Args:
        probe: the photo, and the rank and face that is compared.
        embeddings: (n, d) embeddings of the person's faces, at least one.
        manifest: the version of the index, whose models embedded the faces.
        far: share of strangers who count as the person, (0, 1).

    Returns:
        The comparison as a document, and which of the faces is the most similar, from 0.
    """
    similarities = embeddings @ probe[2].embedding
    best, count = int(np.argmax(similarities)), len(embeddings)
    reason = (
        f"the most similar of the person's {counted(count, 'face')} counts; at most a share of "
        f"{far:g} of strangers reach this threshold with any of them, by pairs of different people "
        f"in {_DATA}, if the person's faces are all of this person"
    )
    share = float(-np.expm1(np.log1p(-far) / count))
    similarity = min(1.0, float(similarities[best]))
    decided = _decision(similarity, manifest, far, share, reason)
    return {**decided, "num_compared": count, "faces": [_compared_face(*probe)]}, best


_DATA = "Labeled Faces in the Wild, which are frontal press photos"


def _decision(
    similarity: float, manifest: Manifest, far: float, share: float, reason: str
) -> dict[str, Any]:
    """Return what a comparison says at the threshold that a share of strangers' pairs reaches."""
    contract = manifest.contract
    is_measured = (contract.detector, contract.alignment) in MEASURED_WITH
    threshold = verification_threshold(contract.embedder, share) if is_measured else None
    if threshold is None:
        reason = (
            f"no threshold of {contract.embedder} at a false accept rate of {share:g} is known; "
            "`facetrove evaluate pairs` measures it on your photos"
        )
    return {
        "similarity": similarity,
        "decision": None if threshold is None else similarity >= threshold,
        "admit": threshold is not None and similarity >= threshold,
        "threshold": threshold,
        "far": far,
        "reason": reason,
    }


def _compared_face(photo: ProbePhoto, rank: int, face: Face) -> dict[str, Any]:
    return {"box": box_json(face), "number": rank, "num_faces": len(photo.faces)}
