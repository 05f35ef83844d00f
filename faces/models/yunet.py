"""YuNet, the default face detector: boxes and landmarks in images of any size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import Pace, require_few, require_time
from faces.models.alignment import ARCFACE_112, similarity_transform, warped
from faces.models.engines import Network
from faces.models.face import Detection, intersection_over_union
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.weights import YUNET_FILE, NetworkSource, Rewrite, published, smooth_images
from faces.models.yunet_outputs import (
    MIN_LANDMARK_SCORE,
    STRIDES,
    non_maximum_suppression,
    read_faces,
)
from faces.photos.decoding import REDUCTIONS, Image, Photo
from faces.photos.opencv import cv2

BATCH_PIXELS = 2 * 256 * 256
"""Maximum number of pixels in a batch of several images, since more do not fit into the CPU cache
(2.2 ms a photo of 256x256 in batches of eight, 1.9 ms in batches of two)."""

MIN_SCORE = 0.7
"""Default minimum score of a face."""

MIN_FACE = 48
"""Default size in pixels (shorter side of the box) of the smallest faces that large photos are
searched for."""

MIN_SEARCH_SIDE, MAX_SEARCH_SIDE = 640, 2560
"""Minimum and maximum of the longer side, in pixels, to which a large photo is reduced for the
first pass of the detector."""

PROPOSED_SIDE = 12
"""Side in pixels of the smallest face to be proposed by the first pass."""

PROPOSAL_SCORE = 0.05
"""Minimum score of a proposal in the first pass over a reduced photo. 99% of LFW's faces reach this
score at a width of 12 pixels, and 93% at 10; in noisy scenes of 12 megapixels, half of the faces do
at 10. A false proposal costs half a millisecond in the second pass; a large photo has about two."""

DETAIL_SIDE = 24
"""Minimum side in pixels that a face needs in a photo to be found in the second pass; of that size,
all of LFW's faces are found."""

SURE_SIDE = 40
"""Side in pixels of a face in the first pass, from which on landmarks gain little from a second
pass."""

WINDOW_SIDE, WINDOW_FACE = 128, 48
"""Side in pixels of the second pass's square window, and of the proposed face in it."""

MAX_WINDOWS = 256
"""Maximum number of windows in memory at once, since a photo may have thousands of faces."""

SAME_FACE_OVERLAP = 0.3
"""Minimum intersection over union of a proposal and a face that the second pass finds for it."""

SEEN_WIDTHS = (48.0, 96.0, 128.0, 160.0, 200.0, 300.0)
TILT_FOLLOWED = (0.2, 0.3, 0.55, 0.7, 0.8, 0.9)
"""Share of a face's tilt that the landmarks show, by the face's width in pixels in the network's
input. The network was trained on upright faces, so the share is under 1. Measured on 201 LFW photos
turned by up to 40 degrees; extrapolated beyond 200 pixels."""

TILTED_DEGREES, MAX_TILTED_DEGREES = 10.0, 60.0
"""Minimum estimated tilt, in degrees, of a face whose landmarks are refined on an upright window
(one of seven in LFW), and the maximum to which estimates are clipped."""

UPRIGHT_SIDE, UPRIGHT_FACE = 256, 160
"""Side of the upright window, and width of the face in it, in pixels."""


def _sample_input() -> NDArray[np.float32]:
    return np.ascontiguousarray(smooth_images(2, 640, 640).transpose(0, 3, 1, 2))


YUNET = NetworkSource(
    "yunet",
    published(YUNET_FILE),
    YUNET_FILE.sha256,
    _sample_input,
    Rewrite(
        image_size=True,
        result="7a42e2ea7b69a107b143eb12dfef0d2311ed789937f98c2b6ab0e74663b10c00",
    ),
)
"""The published YuNet, whose image size is made dynamic."""


class YuNetDetector:
    """A face detector that runs OpenCV's YuNet; see `faces.models.weights` for source and licence.

    A first pass searches a large photo at reduced size. Where it proposes a small face, a second
    pass searches a window around the proposal with more detail. Tilted faces are then searched once
    more in an upright window, for better landmarks.

    Args:
        threads: number of CPU cores to use.
        placement: device and precision that the network runs with.
        min_score: minimum score of a face, in [0, 1]; None: 0.7.
        min_face: shorter side of the box, in pixels, of the smallest faces that have to be found in
            large photos; smaller ones may be found too. None: 48.

    Attributes:
        prepared: the prepared network in the cache.

    Raises:
        ModelUnavailableError: the weights cannot be fetched, or no engine computes them correctly.
        WrongUsageError: the network does not run on that device.
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
        """Return how far a photo may be reduced; see `FaceDetector.reduction_for`."""
        for reduction in REDUCTIONS:
            enough_for_faces = self.min_face >= DETAIL_SIDE * reduction
            if enough_for_faces and longer_side >= self._search_side(longer_side) * reduction:
                return reduction
        return 1

    def _search_side(self, longer_side: int) -> int:
        """Return the longer side, in pixels, to which a photo is reduced for the first pass."""
        needed = longer_side * PROPOSED_SIDE // self.min_face
        return min(longer_side, max(MIN_SEARCH_SIDE, min(needed, MAX_SEARCH_SIDE)))

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """Detect the faces of each photo; see `faces.models.pipeline.FaceDetector.detect`."""
        images = [photo.image for photo in photos]
        sides = [self._search_side(max(photo.width, photo.height)) for photo in photos]
        searched = [_reduced(image, side) for image, side in zip(images, sides, strict=True)]
        is_reduced = [small is not image for small, image in zip(searched, images, strict=True)]
        proposal_score = min(PROPOSAL_SCORE, self.min_score)
        min_scores = [proposal_score if less else self.min_score for less in is_reduced]
        found = self._run(searched, min_scores)
        for row, image in enumerate(images):
            if is_reduced[row]:
                scale = max(searched[row].shape[:2]) / max(image.shape[:2])
                found[row] = self._verify_proposals(image, found[row], scale)
        scales = [max(s.shape) / max(i.shape) for s, i in zip(searched, images, strict=True)]
        self._refine_tilted(images, found, scales)
        return [
            _to_detections(faces, photo.reduction)
            for faces, photo in zip(found, photos, strict=True)
        ]

    def _run(
        self, images: Sequence[Image], min_scores: Sequence[float]
    ) -> list[NDArray[np.float32]]:
        """Run the network once on each image.

        Args:
            images: images of any sizes.
            min_scores: minimum score of a face, for each image.

        Returns:
            The faces of each image, (n, 15) as `decode_outputs` gives them, in pixels of the image.
        """
        found = [np.empty((0, 15), dtype=np.float32)] * len(images)
        for rows in _same_shape_batches(images):
            require_time()
            batch = _to_network_input([images[row] for row in rows])
            outputs = self._network.run(batch)
            for batch_row, row in enumerate(rows):
                found[row] = read_faces(outputs, batch_row, batch.shape[3], min_scores[row])
        return found

    def _refine_tilted(
        self,
        images: Sequence[Image],
        found: Sequence[NDArray[np.float32]],
        scales: Sequence[float],
    ) -> None:
        """Replace the landmarks of tilted faces by those of a second look at them, upright.

        Args:
            images: the images with all their detail.
            found: faces of each image in its pixels, (n, 15) as `decode_outputs` gives them; the
                landmarks are replaced in place.
            scales: scale of each image in the first pass, in searched pixels per pixel of the
                image.
        """
        tilted = [
            (image, face, degrees)
            for image, faces, scale in zip(images, found, scales, strict=True)
            for face, degrees in zip(faces, tilts(faces, scale).tolist(), strict=True)
            if abs(degrees) >= TILTED_DEGREES
        ]
        for start in range(0, len(tilted), MAX_WINDOWS):
            block = tilted[start : start + MAX_WINDOWS]
            transforms = [_upright_window(face, degrees) for _, face, degrees in block]
            windows = [
                warped(image, transform, (UPRIGHT_SIDE, UPRIGHT_SIDE))
                for (image, _, _), transform in zip(block, transforms, strict=True)
            ]
            upright = self._run(windows, [MIN_LANDMARK_SCORE] * len(windows))
            for (_, face, _), faces, transform in zip(block, upright, transforms, strict=True):
                offsets = faces[:, :2] + faces[:, 2:4] / 2 - (UPRIGHT_SIDE - 1) / 2
                central = faces[np.hypot(*offsets.T) < faces[:, 2] / 2][:1]
                if len(central):
                    to_image = cv2.invertAffineTransform(transform)
                    landmarks = central[0, 4:14].reshape(5, 2) @ to_image[:, :2].T + to_image[:, 2]
                    face[4:14] = landmarks.reshape(-1)

    def _verify_proposals(
        self, image: Image, proposed: NDArray[np.float32], scale: float
    ) -> NDArray[np.float32]:
        """Search windows around the small faces that the first pass proposed in one image.

        Args:
            image: the image with all its detail.
            proposed: (n, 15) proposals as `decode_outputs` gives them, in pixels of the reduced
                image.
            scale: pixels of the reduced image per pixel of `image`.

        Returns:
            (m, 15) faces in pixels of `image`, highest score first: the large proposals that reach
            the minimum score, and the small ones that the second pass found again.
        """
        sides = proposed[:, 2:4].max(axis=1)
        sure = (sides >= SURE_SIDE) & (proposed[:, 14] >= self.min_score)
        faces = [_scaled(proposed[sure], 1 / scale)]
        unsure = _scaled(proposed[sides < SURE_SIDE], 1 / scale)
        require_few(len(unsure))
        pace = Pace(len(unsure))
        for start in range(0, len(unsure), MAX_WINDOWS):
            pace.require_time(start)
            block = unsure[start : start + MAX_WINDOWS]
            windows = [_Window.around(face, image) for face in block]
            found = self._run([w.pixels for w in windows], [self.min_score] * len(windows))
            for window, in_window, face in zip(windows, found, block, strict=True):
                in_image = window.to_image(in_window)
                overlap = intersection_over_union(in_image[:, :4], face[:4])
                faces.append(in_image[overlap >= SAME_FACE_OVERLAP][:1])
        return non_maximum_suppression(np.concatenate(faces))


class _Window(NamedTuple):
    """A square window of an image around a proposed face, for the second pass.

    Attributes:
        pixels: (`WINDOW_SIDE`, `WINDOW_SIDE`, 3) uint8; black outside the image.
        left, top: corner of the window in pixels of the image.
        scale: pixels of the window per pixel of the image.
    """

    pixels: Image
    left: int
    top: int
    scale: float

    @classmethod
    def around(cls, face: NDArray[np.float32], image: Image) -> _Window:
        side = max(WINDOW_SIDE, round(WINDOW_SIDE / WINDOW_FACE * float(max(face[2:4]))))
        left, top = (round(float(face[i] + face[2 + i] / 2) - side / 2) for i in (0, 1))
        bottom, right = top + side, left + side
        part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        above, beside = max(0, -top), max(0, -left)
        below, beyond = (side - above - part.shape[0]), (side - beside - part.shape[1])
        padded = cv2.copyMakeBorder(part, above, below, beside, beyond, cv2.BORDER_CONSTANT)
        pixels = _reduced(np.asarray(padded, np.uint8), WINDOW_SIDE)
        return cls(pixels, left, top, WINDOW_SIDE / side)

    def to_image(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert faces, as `decode_outputs` gives them, from window pixels to image pixels."""
        moved = _scaled(faces, 1 / self.scale)
        moved[:, [0, *range(4, 14, 2)]] += self.left
        moved[:, [1, *range(5, 14, 2)]] += self.top
        return moved


def tilts(faces: NDArray[np.float32], scale: float) -> NDArray[np.float64]:
    """Estimate the tilt of faces from their landmarks.

    Args:
        faces: (n, 15) faces as `decode_outputs` gives them, in pixels of the image.
        scale: scale of the image in the first pass, in searched pixels per pixel of the image.

    Returns:
        (n,) degrees by which each face has to be turned to be upright, clipped to
        +-`MAX_TILTED_DEGREES`.
    """
    upright = np.asarray(ARCFACE_112.points)
    turns = [similarity_transform(face[4:14].reshape(5, 2), upright) for face in faces]
    shown = np.array([np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) for turn in turns])
    widths = faces[:, 2] * scale
    if scale < 1:  # the network last saw smaller faces in windows of the second pass
        widths = np.where(faces[:, 2:4].max(axis=1) * scale < SURE_SIDE, WINDOW_FACE, widths)
    estimated = shown / np.interp(widths, SEEN_WIDTHS, TILT_FOLLOWED)
    return np.asarray(estimated.clip(-MAX_TILTED_DEGREES, MAX_TILTED_DEGREES))


def _upright_window(face: NDArray[np.float32], degrees: float) -> NDArray[np.float64]:
    """Compute the (2, 3) matrix from image pixels to a window in which a tilted face is upright."""
    turn = np.radians(degrees)
    scale = UPRIGHT_FACE / max(float(face[2]), 1e-3)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = face[:2] + face[2:4] / 2
    return np.column_stack([rotation, (UPRIGHT_SIDE - 1) / 2 - rotation @ centre])


def _reduced(image: Image, longer_side: int) -> Image:
    """Reduce an image to a longer side in pixels; a smaller image is returned itself."""
    scale = longer_side / max(image.shape[:2])
    if scale >= 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _padded_size(image: Image) -> tuple[int, int]:
    """Return an image's height and width, rounded up to multiples of the coarsest stride."""
    height, width = image.shape[:2]
    return height + -height % STRIDES[-1], width + -width % STRIDES[-1]


def _to_network_input(images: Sequence[Image]) -> NDArray[np.float32]:
    """Make a network input of images that have one padded size.

    Returns:
        (n, 3, height, width) float32 BGR, 0 to 255, padded with black at the right and bottom.
    """
    height, width = _padded_size(images[0])
    padded = [
        cv2.copyMakeBorder(
            image, 0, height - image.shape[0], 0, width - image.shape[1], cv2.BORDER_CONSTANT
        )
        for image in images
    ]
    return np.asarray(cv2.dnn.blobFromImages(padded, swapRB=True))


def _same_shape_batches(images: Sequence[Image]) -> Iterator[list[int]]:
    """Group images of one padded size into batches; yields the positions in `images` of each."""
    by_size = defaultdict(list)
    for row, image in enumerate(images):
        by_size[_padded_size(image)].append(row)
    for (height, width), rows in by_size.items():
        size = max(1, BATCH_PIXELS // (height * width))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _scaled(faces: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Multiply the coordinates of faces, as `decode_outputs` gives them, by a factor."""
    scaled = faces.copy()
    scaled[:, :14] *= factor
    return scaled


def _to_detections(faces: NDArray[np.float32], reduction: int) -> list[Detection]:
    """Convert faces, as `decode_outputs` gives them, in a reduced photo to detections.

    Args:
        faces: (n, 15) faces in pixels of the reduced photo.
        reduction: pixels of the whole photo per pixel of the reduced one.

    Returns:
        Detections in pixels of the whole photo.
    """
    return [
        Detection(
            box=face[:4] * reduction,
            landmarks=face[4:14].reshape(5, 2) * reduction,
            score=float(face[14]),
        )
        for face in faces
    ]
