"""YuNet: images of any size to boxes and landmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.models.alignment import ARCFACE_112, similarity_transform, warped
from faces.models.engines import Network
from faces.models.face import Detection
from faces.models.pipeline import overlaps
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.weights import YUNET_FILE, NetworkSource, Rewrite, published, smooth_images
from faces.models.yunet_outputs import STEADY_SCORE, STRIDES, best_of_overlapping, read_faces
from faces.photos.decoding import REDUCTIONS, Image, Photo

BATCH_PIXELS = 2 * 256 * 256
"""Pixels run at once: more fall out of the processor cache (1.9 ms a photo of 256x256 in twos,
2.2 in eights)."""

MIN_SCORE = 0.7
MIN_FACE = 48

MIN_SEARCH_SIDE, MAX_SEARCH_SIDE = 640, 2560
"""Longer side at which large photos are searched first, in pixels."""

PROPOSED_SIDE = 12
PROPOSAL_SCORE = 0.05
"""In a photo that was shrunk, what may be a face is looked at again from this score on. Of LFW's
faces 99% reach it at a width of 12 pixels, 93% at 10; in noisy scenes of 12 megapixels half of the
faces do at 10. Looking in vain costs half a millisecond; a large photo has some two such places.
"""

DETAIL_SIDE = 24
"""A face so large, in pixels, is found when it is looked at: of LFW's faces, all."""

SURE_SIDE = 40
"""From this size on, landmarks gain little from more detail."""

WINDOW_SIDE, WINDOW_FACE = 128, 48
"""The second look: a square of so many pixels, in which the face has so many."""

MAX_WINDOWS = 256
"""Looked at together; a mosaic may have thousands."""

SAME_FACE_OVERLAP = 0.3
"""A face seen at the second look is the one proposed if their boxes overlap so much."""

SEEN_WIDTHS = (48.0, 96.0, 128.0, 160.0, 200.0, 300.0)
TILT_FOLLOWED = (0.2, 0.3, 0.55, 0.7, 0.8, 0.9)
"""The network learned on upright faces, and its landmarks follow but a part of a tilt: by the width
of the face, in pixels as the network sees it. Measured on 201 LFW photos turned by up to 40
degrees; beyond 200 pixels extrapolated."""

TILTED_DEGREES, MAX_TILTED_DEGREES = 10.0, 60.0
"""A face that is tilted so far, and not further than can be told, is looked at again, upright: one
of seven in LFW."""

UPRIGHT_SIDE, UPRIGHT_FACE = 256, 160
"""That look's window, and how wide the face is in it, in pixels."""


def _sample_input() -> NDArray[np.float32]:
    return np.ascontiguousarray(smooth_images(2, 640, 640).transpose(0, 3, 1, 2))


YUNET = NetworkSource(
    "yunet", published(YUNET_FILE), YUNET_FILE.sha256, _sample_input, Rewrite(image_size=True)
)


class YuNetDetector:
    """OpenCV's YuNet network; see `faces.models.weights` for its source and licence.

    A large photo is searched at reduced size first. Where that shows something that may be a
    small face, the detector looks again, with more detail.

    Args:
        threads: processor cores to use.
        placement: where it runs.
        min_score: least score of a face, [0, 1]; 0.7 by default.
        min_face: large photos are searched so that faces of this many pixels are found
            (shorter side of the box; 48 by default); smaller ones may be.
    """

    name = "yunet"

    def __init__(
        self,
        *,
        threads: int,
        placement: Placement = Placement("cpu"),
        min_score: float | None = None,
        min_face: int | None = None,
    ) -> None:
        self.prepared = prepare(YUNET, placement)
        self.runs_on = str(self.prepared)
        self._threads = threads
        self.weights_digest = YUNET.digest
        self.min_score = MIN_SCORE if min_score is None else min_score
        self.min_face = MIN_FACE if min_face is None else min_face

    @cached_property
    def _network(self) -> Network:
        return self.prepared.open(threads=self._threads)

    def reduction_for(self, longer_side: int) -> int:
        """See `faces.models.pipeline.FaceDetector`."""
        for reduction in REDUCTIONS:
            enough_for_faces = self.min_face >= DETAIL_SIDE * reduction
            if enough_for_faces and longer_side >= self._search_side(longer_side) * reduction:
                return reduction
        return 1

    def _search_side(self, longer_side: int) -> int:
        """Longer side at which a photo is searched for anything that may be a face."""
        needed = longer_side * PROPOSED_SIDE // self.min_face
        return min(longer_side, max(MIN_SEARCH_SIDE, min(needed, MAX_SEARCH_SIDE)))

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """See `faces.models.pipeline.FaceDetector`."""
        images = [photo.image for photo in photos]
        sides = [self._search_side(max(photo.width, photo.height)) for photo in photos]
        searched = [_shrunk(image, side) for image, side in zip(images, sides, strict=True)]
        shrunk = [small is not image for small, image in zip(searched, images, strict=True)]
        proposal_score = min(PROPOSAL_SCORE, self.min_score)
        min_scores = [proposal_score if less else self.min_score for less in shrunk]
        found = self._run(searched, min_scores)
        for row, image in enumerate(images):
            if shrunk[row]:
                scale = max(searched[row].shape[:2]) / max(image.shape[:2])
                found[row] = self._looked_at_again(image, found[row], scale)
        scales = [max(s.shape) / max(i.shape) for s, i in zip(searched, images, strict=True)]
        self._set_upright(images, found, scales)
        return [
            _to_detections(faces, photo.reduction)
            for faces, photo in zip(found, photos, strict=True)
        ]

    def _run(
        self, images: Sequence[Image], min_scores: Sequence[float]
    ) -> list[NDArray[np.float32]]:
        """Faces in each image, rows as of `read_faces`, in pixels of the image."""
        found = [np.empty((0, 15), dtype=np.float32)] * len(images)
        for rows in _same_shape_batches(images):
            batch = _to_network_input([images[row] for row in rows])
            outputs = self._network.run(batch)
            for place, row in enumerate(rows):
                found[row] = read_faces(outputs, place, batch.shape[3], min_scores[row])
        return found

    def _set_upright(
        self,
        images: Sequence[Image],
        found: Sequence[NDArray[np.float32]],
        scales: Sequence[float],
    ) -> None:
        """Look at tilted faces again, upright, for their landmarks, and put these into `found`.

        Args:
            images: in all the detail there is.
            found: faces of each in its pixels, rows as of `decode_outputs`.
            scales: pixels of what was searched per pixel of `images`.
        """
        tilted = [
            (image, face, degrees)
            for image, faces, scale in zip(images, found, scales, strict=True)
            for face, degrees in zip(faces, tilts(faces, scale).tolist(), strict=True)
            if abs(degrees) >= TILTED_DEGREES
        ]
        for start in range(0, len(tilted), MAX_WINDOWS):
            some = tilted[start : start + MAX_WINDOWS]
            transforms = [_upright_window(face, degrees) for _, face, degrees in some]
            windows = [
                warped(image, transform, (UPRIGHT_SIDE, UPRIGHT_SIDE))
                for (image, _, _), transform in zip(some, transforms, strict=True)
            ]
            looks = self._run(windows, [STEADY_SCORE] * len(windows))
            for (_, face, _), look, transform in zip(some, looks, transforms, strict=True):
                middles = look[:, :2] + look[:, 2:4] / 2 - (UPRIGHT_SIDE - 1) / 2
                central = look[np.hypot(*middles.T) < look[:, 2] / 2][:1]
                if len(central):
                    back = cv2.invertAffineTransform(transform)
                    landmarks = central[0, 4:14].reshape(5, 2) @ back[:, :2].T + back[:, 2]
                    face[4:14] = landmarks.reshape(-1)

    def _looked_at_again(
        self, image: Image, proposed: NDArray[np.float32], scale: float
    ) -> NDArray[np.float32]:
        """What of the faces proposed in a shrunk image are faces.

        Args:
            image: in all the detail there is.
            proposed: rows as of `decode_outputs`, in pixels of the shrunk image.
            scale: its pixels per pixel of `image`.

        Returns:
            Faces in pixels of `image`.
        """
        sides = proposed[:, 2:4].max(axis=1)
        sure = (sides >= SURE_SIDE) & (proposed[:, 14] >= self.min_score)
        faces = [_scaled(proposed[sure], 1 / scale)]
        unsure = _scaled(proposed[sides < SURE_SIDE], 1 / scale)
        for start in range(0, len(unsure), MAX_WINDOWS):
            looked_at = unsure[start : start + MAX_WINDOWS]
            windows = [_Window.around(face, image) for face in looked_at]
            looks = self._run([w.pixels for w in windows], [self.min_score] * len(windows))
            for window, look, face in zip(windows, looks, looked_at, strict=True):
                seen = window.to_image(look)
                faces.append(seen[overlaps(seen[:, :4], face[:4]) >= SAME_FACE_OVERLAP][:1])
        return best_of_overlapping(np.concatenate(faces))


class _Window(NamedTuple):
    """A square part of an image around a proposed face, at a size that suits the network."""

    pixels: Image
    left: int  # in pixels of the image
    top: int
    scale: float  # its pixels per pixel of the image

    @classmethod
    def around(cls, face: NDArray[np.float32], image: Image) -> _Window:
        side = max(WINDOW_SIDE, round(WINDOW_SIDE / WINDOW_FACE * float(max(face[2:4]))))
        left, top = (round(float(face[i] + face[2 + i] / 2) - side / 2) for i in (0, 1))
        bottom, right = top + side, left + side
        part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        before, beside = max(0, -top), max(0, -left)
        after, beyond = (side - before - part.shape[0]), (side - beside - part.shape[1])
        whole = cv2.copyMakeBorder(part, before, after, beside, beyond, cv2.BORDER_CONSTANT)
        return cls(_shrunk(np.asarray(whole, np.uint8), WINDOW_SIDE), left, top, WINDOW_SIDE / side)

    def to_image(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows as of `decode_outputs` in pixels of the window to pixels of the image."""
        moved = _scaled(faces, 1 / self.scale)
        moved[:, [0, *range(4, 14, 2)]] += self.left
        moved[:, [1, *range(5, 14, 2)]] += self.top
        return moved


def tilts(faces: NDArray[np.float32], scale: float) -> NDArray[np.float64]:
    """(n,) degrees by which faces would have to be turned to stand upright.

    Args:
        faces: rows as of `decode_outputs`.
        scale: pixels of what was searched per pixel of these.
    """
    upright = np.asarray(ARCFACE_112.points)
    turns = [similarity_transform(face[4:14].reshape(5, 2), upright) for face in faces]
    shown = np.array([np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) for turn in turns])
    seen = faces[:, 2] * scale
    if scale < 1:  # smaller ones were looked at again
        seen = np.where(faces[:, 2:4].max(axis=1) * scale < SURE_SIDE, WINDOW_FACE, seen)
    told = shown / np.interp(seen, SEEN_WIDTHS, TILT_FOLLOWED)
    return np.asarray(told.clip(-MAX_TILTED_DEGREES, MAX_TILTED_DEGREES))


def _upright_window(face: NDArray[np.float32], degrees: float) -> NDArray[np.float64]:
    """The (2, 3) matrix from pixels of the image to a window in which a tilted face is upright."""
    turn = np.radians(degrees)
    scale = UPRIGHT_FACE / max(float(face[2]), 1e-3)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = face[:2] + face[2:4] / 2
    return np.column_stack([rotation, (UPRIGHT_SIDE - 1) / 2 - rotation @ centre])


def _shrunk(image: Image, longer_side: int) -> Image:
    """`image` with its longer side so long; itself if it is no longer."""
    scale = longer_side / max(image.shape[:2])
    if scale >= 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _padded_size(image: Image) -> tuple[int, int]:
    """Height and width, as multiples of the network's coarsest stride."""
    height, width = image.shape[:2]
    return height + -height % STRIDES[-1], width + -width % STRIDES[-1]


def _to_network_input(images: Sequence[Image]) -> NDArray[np.float32]:
    """(n, 3, height, width) BGR 0 to 255, padded right and bottom to one size."""
    height, width = _padded_size(images[0])
    padded = [
        cv2.copyMakeBorder(
            image, 0, height - image.shape[0], 0, width - image.shape[1], cv2.BORDER_CONSTANT
        )
        for image in images
    ]
    return np.asarray(cv2.dnn.blobFromImages(padded, swapRB=True))


def _same_shape_batches(images: Sequence[Image]) -> Iterator[list[int]]:
    """Rows of `images` that can go through the network together."""
    by_size = defaultdict(list)
    for row, image in enumerate(images):
        by_size[_padded_size(image)].append(row)
    for (height, width), rows in by_size.items():
        size = max(1, BATCH_PIXELS // (height * width))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _scaled(faces: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Rows as of `decode_outputs`, all places and sides multiplied."""
    scaled = faces.copy()
    scaled[:, :14] *= factor
    return scaled


def _to_detections(faces: NDArray[np.float32], reduction: int) -> list[Detection]:
    """Rows as of `decode_outputs` in pixels of a reduced photo to detections in photo pixels."""
    return [
        Detection(
            box=face[:4] * reduction,
            landmarks=face[4:14].reshape(5, 2) * reduction,
            score=float(face[14]),
        )
        for face in faces
    ]
