"""The face_ids of the faces of a photo's content, where other faces of it are known from before.

A face that is detected again keeps its id, whatever detects it: two boxes in the same content are
of one face if they overlap by half. A face that was not known before gets an id that no other face
of the content has or had. Ids are computed from the content, the place among the detected faces
and, from the second way of detecting on, from that way, so that every run gives the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.models.face import intersection_over_union

MIN_OVERLAP = 0.5
"""Minimum intersection over union of two boxes of one face in the same content: the criterion of
PASCAL VOC (Everingham et al., IJCV 2010) and WIDER FACE (Yang et al., CVPR 2016)."""

MAX_NUMBER = 1000
"""Numbers of faces, from 0, among which the id of a deleted face is looked for by its digest. A
photo has hardly more faces."""


class EarlierFace(NamedTuple):
    """A face of a content that is known from an earlier detection.

    Attributes:
        face_id: id of the face.
        box: (4,) float32 x, y, width, height in pixels of the upright photo.
        is_stored: whether a part has the face; else it was purged or kept away.
    """

    face_id: str
    box: NDArray[np.float32]
    is_stored: bool


class FaceId(NamedTuple):
    """The id of a detected face, and the earlier face that it is from; None: the face is new."""

    face_id: str
    earlier: EarlierFace | None


def first_face_id(photo_id: str, number: int) -> str:
    """Return the id of a content's face that is detected for the first time.

    Args:
        photo_id: sha256 of the content, hexadecimal.
        number: number of the face among the content's detected faces, from 0.
    """
    return _digest(photo_id, number)


def later_face_id(photo_id: str, number: int, detection: str, attempt: int = 0) -> str:
    """Return the id of a content's face that only another way of detecting has found.

    Args:
        photo_id: sha256 of the content, hexadecimal.
        number: number of the face among the content's detected faces, from 0.
        detection: the way of detecting, from `DatasetSettings.detection`.
        attempt: how many ids of the face were in use by other faces.
    """
    return _digest(photo_id, number, detection, attempt)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def possible_face_ids(photo_id: str, detections: Iterable[str]) -> Iterable[str]:
    """Return the ids that faces of a content may have got, to find those of given digests.

    Args:
        photo_id: sha256 of the content, hexadecimal.
        detections: the ways of detecting, from `DatasetSettings.detection`.
    """
    numbers = range(MAX_NUMBER)
    return chain(
        (first_face_id(photo_id, number) for number in numbers),
        (later_face_id(photo_id, number, d) for d in detections for number in numbers),
    )


def face_ids(
    photo_id: str,
    boxes: NDArray[np.float32],
    earlier: Iterable[EarlierFace],
    detection: str,
    *,
    begins: bool,
) -> list[FaceId]:
    """Return the ids of the faces that are detected in a content.

    Args:
        photo_id: sha256 of the content, hexadecimal.
        boxes: (n, 4) the detected faces' boxes in pixels of the upright photo, in the detector's
            order.
        earlier: the content's earlier faces. Of several with one id, the first counts.
        detection: the way in which the faces were detected, from `DatasetSettings.detection`.
        begins: whether new faces get a `first_face_id` unless another face has it.
    """
    by_id: dict[str, EarlierFace] = {}
    for face in earlier:
        by_id.setdefault(face.face_id, face)
    used = set(by_id)
    known = list(by_id.values())
    found = {row: known[column] for row, column in _pairs(boxes, known).items()}
    ids = []
    for number in range(len(boxes)):
        again = found.get(number)
        face_id = again.face_id if again else _new_id(photo_id, number, used, detection, begins)
        used.add(face_id)
        ids.append(FaceId(face_id, again))
    return ids


def _new_id(photo_id: str, number: int, used: set[str], detection: str, begins: bool) -> str:
    first = [first_face_id(photo_id, number)] if begins else []
    later = (later_face_id(photo_id, number, detection, attempt) for attempt in count())
    return next(face_id for face_id in chain(first, later) if face_id not in used)


def _pairs(boxes: NDArray[np.float32], known: Sequence[EarlierFace]) -> dict[int, int]:
    """Pair detected and earlier faces, each at most once, the largest overlap first."""
    if not len(boxes) or not known:
        return {}
    overlap = np.stack([intersection_over_union(boxes, face.box) for face in known], axis=1)
    rows, columns = np.nonzero(overlap >= MIN_OVERLAP)
    pairs: dict[int, int] = {}
    for index in np.argsort(-overlap[rows, columns], kind="stable").tolist():
        row, column = int(rows[index]), int(columns[index])
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs
