"""Decoding YuNet's raw outputs: boxes, non-maximum suppression, and averaged landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import MAX_SHARED, require_time
from faces.models.face import intersection_over_union
from faces.photos.opencv import cv2

STRIDES = (8, 16, 32)
"""Distance in pixels between the grid cells of each of the network's three heads."""

NMS_OVERLAP = 0.3
"""Maximum intersection over union of two faces' boxes; with more, the box of lower score is taken
for the same face and dropped."""

MIN_LANDMARK_SCORE, MIN_LANDMARK_OVERLAP = 0.2, 0.5
"""Minimum score of a grid cell, and minimum intersection over union of its box with a face's box,
for the cell to count for the face's landmarks, which are the mean over these cells, weighted by
score. On LFW at FPIR 0.01, the FNIR is lower by a fifth than with the landmarks of the best cell
alone (benchmarks/README.md)."""


def read_faces(
    outputs: dict[str, NDArray[np.float32]], row: int, width: int, min_score: float
) -> NDArray[np.float32]:
    """Read the faces of one image from the network's raw outputs.

    Args:
        outputs, row, width: see `decode_outputs`.
        min_score: minimum score of a face, in [0, 1].

    Returns:
        (n, 15) faces as `decode_outputs` gives them, each once, with averaged landmarks, highest
        score first.
    """
    cells = decode_outputs(outputs, row, width, min(min_score, MIN_LANDMARK_SCORE))
    faces = non_maximum_suppression(cells)
    faces = faces[faces[:, 14] >= min_score]
    certain = faces[:, 14] >= MIN_LANDMARK_SCORE
    faces[certain] = with_averaged_landmarks(faces[certain], cells)
    return faces


def decode_outputs(
    outputs: dict[str, NDArray[np.float32]], row: int, width: int, min_score: float
) -> NDArray[np.float32]:
    """Decode the network's raw outputs to candidate faces, as OpenCV's FaceDetectorYN does.

    Each head gives, for every cell of its grid: class and objectness scores (the score of a face is
    their geometric mean), a box (centre relative to the cell, and logarithm of the sides) and
    landmarks relative to the cell, all in units of the stride.

    Args:
        outputs: the network's outputs by name, `cls_8` to `kps_32`.
        row: position of the image in the batch.
        width: width of the network's input in pixels.
        min_score: minimum score of a cell, in [0, 1].

    Returns:
        (n, 15) float32, a candidate face for each cell: box (x, y, width, height), five landmarks
        (x, y) and score, in pixels of the network's input. Many cells give the same face.
    """
    found = []
    for stride in STRIDES:
        classes, objects = (outputs[f"{kind}_{stride}"][row, :, 0] for kind in ("cls", "obj"))
        # Nearly all cells show no face, and the squared score tells so without a square root.
        (cells,) = np.nonzero(classes * objects >= min_score * min_score - 1e-6)
        if not len(cells):
            continue
        scores = np.sqrt(classes[cells].clip(0, 1) * objects[cells].clip(0, 1))
        enough = scores >= min_score
        cells, scores = cells[enough], scores[enough]
        corners = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        box = outputs[f"bbox_{stride}"][row, cells]
        landmarks = outputs[f"kps_{stride}"][row, cells]
        sides = np.exp(box[:, 2:])
        faces = np.empty((len(cells), 15), dtype=np.float32)
        faces[:, :2] = (corners + box[:, :2] - sides / 2) * stride
        faces[:, 2:4] = sides * stride
        faces[:, 4:14] = (landmarks + np.tile(corners, 5)) * stride
        faces[:, 14] = scores
        found.append(faces)
    return np.concatenate(found) if found else np.empty((0, 15), dtype=np.float32)


def decode_cells(outputs: dict[str, NDArray[np.float32]], side: int) -> NDArray[np.float32]:
    """Decode the boxes and scores of all cells of square images, without landmarks.

    Args:
        outputs: the network's outputs by name, see `decode_outputs`.
        side: side of the network's input in pixels.

    Returns:
        (n, cells, 5) float32 for the n images: centre (x, y), width and height of each cell's box
        in pixels of the network's input, and its score.
    """
    found = []
    for stride in STRIDES:
        rows, columns = np.divmod(np.arange((side // stride) ** 2), side // stride)
        box = outputs[f"bbox_{stride}"]
        cells = np.empty((*box.shape[:2], 5), dtype=np.float32)
        cells[:, :, :2] = (box[:, :, :2] + np.stack([columns, rows], axis=1)) * stride
        cells[:, :, 2:4] = np.exp(box[:, :, 2:]) * stride
        squared = outputs[f"cls_{stride}"].clip(0, 1) * outputs[f"obj_{stride}"].clip(0, 1)
        cells[:, :, 4] = np.sqrt(squared[:, :, 0])
        found.append(cells)
    return np.concatenate(found, axis=1)


_SECONDS_PER_PAIR = 4e-9
"""Processor time in seconds that non-maximum suppression takes for each pair of boxes, where few
boxes overlap."""


def non_maximum_suppression(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the face of highest score among overlapping boxes (non-maximum suppression).

    Args:
        faces: (n, 15) faces as `decode_outputs` gives them.

    Returns:
        (m, 15) kept faces, highest score first.
    """
    return np.asarray(faces[rows_kept(faces)])


def rows_kept(faces: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the (m,) rows of the faces that `non_maximum_suppression` keeps, in its order."""
    require_time(len(faces) ** 2 * _SECONDS_PER_PAIR)
    kept = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 14].tolist(), 0.0, NMS_OVERLAP)
    return np.asarray(kept, dtype=np.intp)


def with_averaged_landmarks(
    faces: NDArray[np.float32], cells: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Average each face's landmarks over nearby cells; see `MIN_LANDMARK_SCORE`.

    Args:
        faces: (n, 15) faces that non-maximum suppression kept.
        cells: (m, 15) candidate faces of all cells, as `decode_outputs` gives them.

    Returns:
        (n, 15) copy of `faces` with averaged landmarks.
    """
    cells = cells[cells[:, 14] >= MIN_LANDMARK_SCORE]
    steady = faces.copy()
    beside = _BesideEachOther(cells)
    for face in steady:
        require_time()
        near = beside.boxes_at(face)
        near = near[intersection_over_union(near[:, :4], face[:4]) >= MIN_LANDMARK_OVERLAP]
        if len(near):
            face[4:14] = np.average(near[:, 4:14], axis=0, weights=near[:, 14])
    return steady


class _BesideEachOther:
    """Boxes by their left edges, so that a face among thousands is compared with few of them.

    Args:
        boxes: (n, 15) faces as `decode_outputs` gives them.
    """

    def __init__(self, boxes: NDArray[np.float32]) -> None:
        self._boxes = boxes
        self._order = np.argsort(boxes[:, 0], kind="stable") if len(boxes) > MAX_SHARED else None
        if self._order is not None:
            self._lefts = boxes[self._order, 0]
            self._max_width = float(boxes[:, 2].max())

    def boxes_at(self, face: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the boxes that may overlap a face, in their order; of few boxes, all of them."""
        if self._order is None:
            return self._boxes
        first, last = np.searchsorted(self._lefts, [face[0] - self._max_width, face[0] + face[2]])
        return self._boxes[np.sort(self._order[first:last])]
