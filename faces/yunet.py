"""YuNet: images of any size to boxes and landmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.engine import Network
from faces.images import Image
from faces.pipeline import Detection
from faces.weights import YUNET_FILE, NetworkSource, prepare

if TYPE_CHECKING:
    from onnx import ModelProto

STRIDES = (8, 16, 32)
"""Pixels between the places that each of the network's three heads looks at."""

BATCH_SIZE = 2
"""Photos run at once: more fall out of the processor cache (1.9 ms a photo, 2.2 at eight)."""

NMS_OVERLAP = 0.3
"""Boxes that overlap a better one by more (intersection over union) are the same face."""


def _free_sizes(model: ModelProto) -> ModelProto:
    from faces.onnx_graph import free_batch

    return free_batch(model, image_size=True)


YUNET = NetworkSource("yunet", YUNET_FILE, _free_sizes, YUNET_FILE.sha256)


class YuNetDetector:
    """OpenCV's YuNet network; see `faces.weights` for its source and licence.

    Args:
        threads: processor cores to use.
        min_score: least score of a face.
        max_side: larger photos are shrunk to this many pixels on their longer side first.
    """

    name = "yunet"

    def __init__(self, *, threads: int, min_score: float = 0.7, max_side: int = 640) -> None:
        self._prepared = prepare(YUNET)
        self._threads = threads
        self.weights_digest = YUNET.digest
        self.min_score = min_score
        self.max_side = max_side

    @cached_property
    def _network(self) -> Network:
        return self._prepared.open(threads=self._threads)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """See `faces.pipeline.FaceDetector`."""
        inputs = [_to_network_input(image, self.max_side) for image in images]
        found: list[list[Detection]] = [[] for _ in images]
        for rows in _same_shape_batches(inputs):
            batch = np.stack([inputs[row].pixels for row in rows])
            outputs = self._network.run(batch)
            for place, row in enumerate(rows):
                faces = decode_outputs(outputs, place, batch.shape[3], self.min_score)
                found[row] = _to_detections(best_of_overlapping(faces), inputs[row].scale)
        return found


class _NetworkInput(NamedTuple):
    pixels: NDArray[np.float32]  # (3, height, width) BGR 0 to 255, sides multiples of 32
    scale: float  # network input pixels per photo pixel


def _to_network_input(image: Image, max_side: int) -> _NetworkInput:
    """Shrink a large photo, and pad right and bottom to the network's stride."""
    scale = min(1.0, max_side / max(image.shape[:2]))
    if scale < 1.0:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    height, width = image.shape[:2]
    coarsest = STRIDES[-1]
    padded = cv2.copyMakeBorder(
        image, 0, -height % coarsest, 0, -width % coarsest, cv2.BORDER_CONSTANT
    )
    pixels = cv2.dnn.blobFromImage(padded, swapRB=True)[0]
    return _NetworkInput(pixels, scale)


def _same_shape_batches(inputs: Sequence[_NetworkInput]) -> Iterator[list[int]]:
    """Rows of `inputs` that can go through the network together."""
    by_shape = defaultdict(list)
    for row, entry in enumerate(inputs):
        by_shape[entry.pixels.shape].append(row)
    for rows in by_shape.values():
        yield from (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))


def _to_detections(faces: NDArray[np.float32], scale: float) -> list[Detection]:
    """Rows as of `decode_outputs` in network input pixels to detections in photo pixels."""
    return [
        Detection(
            box=face[:4] / scale,
            landmarks=face[4:14].reshape(5, 2) / scale,
            score=float(face[14]),
        )
        for face in faces
    ]


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
        classes = outputs[f"cls_{stride}"][row, :, 0].clip(0, 1)
        objects = outputs[f"obj_{stride}"][row, :, 0].clip(0, 1)
        scores = np.sqrt(classes * objects)
        (places,) = np.nonzero(scores >= min_score)
        if not len(places):
            continue
        corners = np.stack([places % (width // stride), places // (width // stride)], axis=1)
        box = outputs[f"bbox_{stride}"][row, places]
        landmarks = outputs[f"kps_{stride}"][row, places]
        sides = np.exp(box[:, 2:])
        faces = np.empty((len(places), 15), dtype=np.float32)
        faces[:, :2] = (corners + box[:, :2] - sides / 2) * stride
        faces[:, 2:4] = sides * stride
        faces[:, 4:14] = (landmarks + np.tile(corners, 5)) * stride
        faces[:, 14] = scores[places]
        found.append(faces)
    return np.concatenate(found) if found else np.empty((0, 15), dtype=np.float32)


def best_of_overlapping(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the best of each group of overlapping boxes (non-maximum suppression).

    Takes and gives rows as of `decode_outputs`; the result is sorted by score, best first.
    """
    kept = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 14].tolist(), 0.0, NMS_OVERLAP)
    return np.asarray(faces[np.asarray(kept, dtype=int)])
