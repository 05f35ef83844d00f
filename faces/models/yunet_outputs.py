"""YuNet's raw outputs to faces: decoding, the best of overlapping boxes, steady landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.models.pipeline import overlaps

STRIDES = (8, 16, 32)
"""Pixels between the places that each of the network's three heads looks at."""

NMS_OVERLAP = 0.3
"""Boxes that overlap a better one by more (intersection over union) are the same face."""

STEADY_SCORE, STEADY_OVERLAP = 0.2, 0.5
"""A face's landmarks are the mean, weighted by score, of those that all places of the network's
grids with this score or more give whose box overlaps its own by so much. On LFW a fifth fewer
people are missed at an FPIR of 0.01 than with those of the best place (benchmarks/README.md)."""


def read_faces(
    outputs: dict[str, NDArray[np.float32]], row: int, width: int, min_score: float
) -> NDArray[np.float32]:
    """The faces of one image: each once, with steady landmarks, best score first.

    Args:
        outputs, row, width: see `decode_outputs`, as for the result.
        min_score: the least score of a face.
    """
    places = decode_outputs(outputs, row, width, min(min_score, STEADY_SCORE))
    faces = best_of_overlapping(places)
    return with_steady_landmarks(faces[faces[:, 14] >= min_score], places)


def decode_outputs(
    outputs: dict[str, NDArray[np.float32]], row: int, width: int, min_score: float
) -> NDArray[np.float32]:
    """Faces from the network's raw outputs, as OpenCV's FaceDetectorYN reads them.

    Each head gives, for every place of its grid: class and objectness scores (the score of a
    face is their geometric mean), a box (centre relative to the place and logarithm of the
    sides) and landmarks relative to the place, all in units of the stride.

    Args:
        outputs: by name, `cls_8` to `kps_32`.
        row: which image of the batch.
        width: of the network's input, in pixels.
        min_score: places below it are skipped.

    Returns:
        (n, 15) float32: box (x, y, width, height), five landmarks (x, y), score; in pixels
        of the network's input.
    """
    found = []
    for stride in STRIDES:
        classes, objects = (outputs[f"{kind}_{stride}"][row, :, 0] for kind in ("cls", "obj"))
        # Nearly all places show no face: the score's square tells so at less cost.
        (places,) = np.nonzero(classes * objects >= min_score * min_score - 1e-6)
        if not len(places):
            continue
        scores = np.sqrt(classes[places].clip(0, 1) * objects[places].clip(0, 1))
        enough = scores >= min_score
        places, scores = places[enough], scores[enough]
        corners = np.stack([places % (width // stride), places // (width // stride)], axis=1)
        box = outputs[f"bbox_{stride}"][row, places]
        landmarks = outputs[f"kps_{stride}"][row, places]
        sides = np.exp(box[:, 2:])
        faces = np.empty((len(places), 15), dtype=np.float32)
        faces[:, :2] = (corners + box[:, :2] - sides / 2) * stride
        faces[:, 2:4] = sides * stride
        faces[:, 4:14] = (landmarks + np.tile(corners, 5)) * stride
        faces[:, 14] = scores
        found.append(faces)
    return np.concatenate(found) if found else np.empty((0, 15), dtype=np.float32)


def best_of_overlapping(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the best of each group of overlapping boxes (non-maximum suppression).

    Takes and gives rows as of `decode_outputs`; the result is sorted by score, best first.
    """
    kept = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 14].tolist(), 0.0, NMS_OVERLAP)
    return np.asarray(faces[np.asarray(kept, dtype=int)])


def with_steady_landmarks(
    faces: NDArray[np.float32], places: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Faces with the landmarks that all places near each agree on; see `STEADY_SCORE`.

    Args:
        faces: (n, 15) the best of `places`.
        places: (m, 15) all of them, rows as of `decode_outputs`.
    """
    places = places[places[:, 14] >= STEADY_SCORE]
    steady = faces.copy()
    for face in steady:
        near = places[overlaps(places[:, :4], face[:4]) >= STEADY_OVERLAP]
        if len(near):
            face[4:14] = np.average(near[:, 4:14], axis=0, weights=near[:, 14])
    return steady
