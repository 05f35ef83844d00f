"""YuNet, the default face detector: boxes and landmarks in images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import paced_blocks, require_few
from faces.models.engines import Network
from faces.models.face import Detection, intersection_over_union
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.yunet_angles import TILTED_DEGREES, seen_upright, tilts
from faces.models.yunet_directions import SURE_SCORE, SearchedPhoto
from faces.models.yunet_network import YUNET, find_in
from faces.models.yunet_outputs import NMS_OVERLAP
from faces.models.yunet_search import (
    USUAL_MIN_FACE,
    Proposals,
    coarser_side,
    joined,
    search,
    search_sides,
    strongest,
    usual_side,
)
from faces.models.yunet_turned import find_turned
from faces.models.yunet_windows import WINDOW_FACE, WINDOW_SIDE, Look, Window, reduced
from faces.photos.decoding import REDUCTIONS, Image, Photo

MIN_SCORE = 0.7
"""Default minimum score of a face."""

PROPOSAL_SCORE = 0.05
"""Minimum score of a proposal in the first pass over a reduced photo. 99% of LFW's faces reach this
score at a width of 12 pixels, and 93% at 10; in noisy scenes of 12 megapixels, half of the faces do
at 10. A false proposal costs half a millisecond in the second pass; a large photo has about two."""

WHOLE_PROPOSAL_SCORE = 0.1
"""Minimum score of a proposal in a photo that is searched at full size, where it matters only for
faces that are turned."""

DETAIL_SIDE = 24
"""Minimum side in pixels that a face needs in a photo to be found in the second pass; of that size,
all of LFW's faces are found."""

SURE_SIDE = 40
"""Side in pixels of a face in the first pass, from which on landmarks gain little from a second
pass."""

MAX_WINDOWS = 256
"""Maximum number of windows in memory at once, since a photo may have thousands of faces."""

LARGE_FACE = 250
"""Width in pixels, in the searched image, of a proposal that may be a sign of a larger face. LFW's
faces are all found up to 450 pixels, 98% at 500 and 60% at 600. All leave a sign of some score."""

MAX_EXACT_FACE = 400
"""Width in pixels, in the searched image, from which on a face's scores fall, so that a smaller
scale shows it more exactly."""

SAME_FACE_OVERLAP = 0.3
"""Minimum intersection over union of a proposal and a face that the second pass finds for it."""


class YuNetDetector:
    """A face detector that runs OpenCV's YuNet; see `faces.models.weights` for source and licence.

    A first pass searches a large photo at reduced sizes. Where it proposes a small face, a second
    pass searches a window around the proposal with more detail. Turned faces are then looked for
    (`faces.models.yunet_turned`), and tilted ones are searched once more in an upright window, for
    better landmarks. A face that cannot be made upright is no face.

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
    refined_from = TILTED_DEGREES
    """Minimum estimated tilt, in degrees, of a face whose landmarks are refined."""

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
        self.min_face = USUAL_MIN_FACE if min_face is None else min_face
        self._floor = min(self.min_score, MIN_SCORE)

    @cached_property
    def _network(self) -> Network:
        return self.prepared.open(threads=self._threads)

    def reduction_for(self, longer_side: int) -> int:
        """Return how far a photo may be reduced; see `FaceDetector.reduction_for`."""
        for reduction in REDUCTIONS:
            enough_for_faces = self.min_face >= DETAIL_SIDE * reduction
            if (
                enough_for_faces
                and longer_side >= search_sides(longer_side, self.min_face)[0] * reduction
            ):
                return reduction
        return 1

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """Detect the faces of each photo; see `faces.models.pipeline.FaceDetector.detect`."""
        searched = self._searched(photos)
        find_turned(self._network, searched, self.min_score)
        self._refine_tilted(searched)
        found = []
        for one, photo in zip(searched, photos, strict=True):
            faces = np.concatenate([one.upright.faces, one.turned])
            faces = faces[faces[:, 14] >= self.min_score]
            best_first = np.argsort(-faces[:, 14], kind="stable")
            found.append(_to_detections(faces[best_first], photo.reduction))
        return found

    def _searched(self, photos: Sequence[Photo]) -> list[SearchedPhoto]:
        """Find the faces of each photo that are as the network knows them, nearly upright."""
        images = [photo.image for photo in photos]
        sides = [search_sides(max(p.width, p.height), self.min_face) for p in photos]
        levels = [_levels(image, to) for image, to in zip(images, sides, strict=True)]
        scales = [
            [max(level.shape) / max(image.shape) for level in reduced_images]
            for image, reduced_images in zip(images, levels, strict=True)
        ]
        min_scores = [
            min(self._floor, WHOLE_PROPOSAL_SCORE if own == [1.0] else PROPOSAL_SCORE)
            for own in scales
        ]
        proposed = search(self._network, levels, scales, min_scores)
        self._search_for_large(levels, scales, proposed)
        searched = []
        for row, photo in enumerate(photos):
            usual = usual_side(max(photo.width, photo.height), self.min_face)
            upright, weak = self._upright(
                images[row], proposed[row], usual / max(images[row].shape)
            )
            searched.append(
                SearchedPhoto(images[row], levels[row], scales[row], min_scores[row], upright, weak)
            )
        return searched

    def _search_for_large(
        self,
        levels: Sequence[list[Image]],
        scales: Sequence[list[float]],
        proposed: list[Proposals],
    ) -> None:
        """Search at a smaller scale too where there are signs of faces that fill the image."""
        rows = [
            row
            for row, proposals in enumerate(proposed)
            if ((proposals.seen_widths >= LARGE_FACE) & (proposals.scores < SURE_SCORE)).any()
            and len(levels[row]) == 1
        ]
        for row in rows:
            small = reduced(levels[row][0], coarser_side(max(levels[row][0].shape)))
            scales[row].append(scales[row][0] * max(small.shape) / max(levels[row][0].shape))
            levels[row].append(small)
        found = search(
            self._network,
            [levels[row][1:] for row in rows],
            [scales[row][1:] for row in rows],
            [PROPOSAL_SCORE] * len(rows),
        )
        for row, proposals in zip(rows, found, strict=True):
            proposed[row] = joined([proposed[row], proposals])

    def _upright(
        self, image: Image, proposed: Proposals, usual_scale: float
    ) -> tuple[Proposals, Proposals]:
        """Part the faces of an image from proposals, after a closer look at small ones.

        Args:
            image: the image with all its detail.
            proposed: the proposals of all scales.
            usual_scale: the scale that is searched for faces of usual size, in pixels of the
                reduced image per pixel of `image`.

        Returns:
            The faces, and the other proposals.
        """
        if self.min_face >= DETAIL_SIDE and (proposed.scales == 1).all():  # nothing more to see
            found = proposed.scores >= self._floor
            return proposed.of(found), proposed.of(~found)
        small, coarse = proposed.seen_sides < SURE_SIDE, proposed.scales < 0.99 * usual_scale
        tiny = (proposed.seen_sides < DETAIL_SIDE) & (self.min_face < DETAIL_SIDE)
        has_more_detail = proposed.scales < 1
        to_verify = np.where(has_more_detail, small & ~coarse, tiny)
        final = proposed.of(~to_verify & ~(small & coarse))
        verified, unverified = self._verified(image, strongest(proposed.of(to_verify)))
        found = final.scores >= self._floor
        weak = joined([final.of(~found), unverified])
        final = final.of(found)
        usual = (final.seen_widths < MAX_EXACT_FACE) & (final.scales >= 0.99 * usual_scale)
        first = strongest(joined([final.of(usual), verified]))
        return joined([first, _beside(first, strongest(final.of(~usual)))]), weak

    def _verified(self, image: Image, unsure: Proposals) -> tuple[Proposals, Proposals]:
        """Search windows around the small faces that were proposed in one image.

        Args:
            image: the image with all its detail.
            unsure: the proposals.

        Returns:
            The faces that were found again, and the proposals that were not.
        """
        require_few(len(unsure.faces))
        min_side = WINDOW_SIDE * min(self.min_face, DETAIL_SIDE) // DETAIL_SIDE
        faces = [np.empty((0, 15), np.float32)]
        is_missed: list[bool] = []
        for block in paced_blocks(list(unsure.faces), MAX_WINDOWS):
            windows = [Window.around(face, image, min_side) for face in block]
            found = find_in(
                self._network, [w.pixels for w in windows], [self._floor] * len(windows)
            )
            for window, in_window, face in zip(windows, found, block, strict=True):
                in_image = window.to_image(in_window)
                overlap = intersection_over_union(in_image[:, :4], face[:4])
                same = in_image[overlap >= SAME_FACE_OVERLAP][:1]
                faces.append(same)
                is_missed.append(not len(same))
        verified = np.concatenate(faces)
        scales = WINDOW_FACE / np.maximum(verified[:, 2], np.float32(1e-3))
        return Proposals(verified, scales.astype(np.float32)), unsure.of(
            np.array(is_missed, dtype=bool)
        )

    def _refine_tilted(self, photos: Sequence[SearchedPhoto]) -> None:
        """Replace the landmarks of tilted faces by those of a second look at them, upright."""
        tilted = []
        for photo in photos:
            degrees = tilts(photo.upright.faces, photo.upright.seen_widths)
            for face, turn in zip(photo.upright.faces, degrees.tolist(), strict=True):
                if abs(turn) >= self.refined_from:
                    x, y, width, height = face[:4].tolist()
                    look = Look(photo.image, x + width / 2, y + height / 2, width, turn)
                    tilted.append((face, look))
        seen = seen_upright(self._network, [look for _, look in tilted])
        for (face, _), again in zip(tilted, seen, strict=True):
            if again is not None:
                face[4:14] = again.face[4:14]


class RefinedYuNetDetector(YuNetDetector):
    """A `YuNetDetector` that refines the landmarks of every face by a second look."""

    name = "yunet-refined"
    refined_from = 0.0


def _beside(found: Proposals, further: Proposals) -> Proposals:
    """Return the further faces that are none of those that were found already."""
    for face in found.faces:
        overlap = intersection_over_union(further.faces[:, :4], face[:4])
        further = further.of(overlap < NMS_OVERLAP)
    return further


def _levels(image: Image, sides: Sequence[int]) -> list[Image]:
    """Reduce an image to each of several longer sides in pixels; no two results are equal."""
    longer = max(image.shape[:2])
    return [reduced(image, side) for side in dict.fromkeys(min(side, longer) for side in sides)]


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
