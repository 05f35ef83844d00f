"""Searching photos, in which no face is upright for certain, sideways, upside down and askew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from faces.models.engines import Network
from faces.models.yunet_network import find_in
from faces.models.yunet_outputs import rows_kept
from faces.models.yunet_search import Proposals, joined, search, turned_back
from faces.models.yunet_windows import faces_to_image, reduced, scaled, turned_whole
from faces.photos.decoding import Image

CERTAIN_SCORE, SURE_SCORE = 0.918, 0.905
"""Minimum score of a photo's best face for it to be upright for certain; and of that face and of
others beside it, if it does not score higher at another angle. 98% of LFW's upright faces reach the
second. Of those turned by 60 degrees or more, 0.3% do, and none the first; of those turned by 30, a
quarter reach it. A photo without a certain face is searched for turned ones."""

QUARTERS, DIAGONALS = (90, 180, 270), (45, 135, 225, 315)
"""Degrees by which a photo is turned clockwise to be searched again for large faces, and then if
something was seen that proved to be no face."""

QUARTERS_SIDE, DIAGONALS_SIDE = 160, 113
"""Maximum longer side in pixels to which a photo is reduced for these searches, and to half at
most. Those of three quarters of a photo of 250 pixels take three quarters of the first search."""

DIRECTED_FACE = 32
"""Width in pixels of a face that these searches see for certain, so that a proposal of another
search needs no look of its own."""

STRONG_SCORE, CLEAR_SCORE = 0.5, 0.3
"""Minimum score of a proposal in these searches to be looked at from the angles near to that one,
and to be glanced at from all: all of 500 of LFW's faces, turned by 90 to 210 degrees, reached the
first in one of four directions, and one of ten photos without a face."""


@dataclass(eq=False)
class SearchedPhoto:
    """A photo that was searched for upright faces.

    Attributes:
        image: the image with all its detail.
        levels: the reduced images that were searched, largest first.
        scales: pixels of each reduced image per pixel of `image`.
        min_score: minimum score of a proposal in the search.
        upright: the faces that were found as they are in the image.
        weak: proposals that are no upright face.
        directed: places of turned faces, each with the angle in degrees by which it was seen nearly
            upright.
        sign: the highest score of a proposal that was no upright face, in any direction.
        turned: (n, 15) the faces that were found turned, in pixels of `image`.
        sure: (n,) whether each of `upright` is upright for certain.
    """

    image: Image
    levels: list[Image]
    scales: list[float]
    min_score: float
    upright: Proposals
    weak: Proposals
    directed: list[tuple[NDArray[np.float32], float]] = field(init=False)
    sign: float = field(init=False, default=0.0)
    turned: NDArray[np.float32] = field(init=False)
    sure: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no turned face, and with the scores alone."""
        self.directed = []
        self.turned = np.empty((0, 15), np.float32)
        is_certain = self.upright.scores.max(initial=0) >= CERTAIN_SCORE
        self.sure = (self.upright.scores >= SURE_SCORE) & is_certain


def search_sideways(network: Network, photos: Sequence[SearchedPhoto]) -> None:
    """Add to the weak proposals of photos what the network sees in them turned by a quarter.

    Small photos are reduced to half their size for that. Faces that are upside down need no search
    of their own, since the network sees them as they are.
    """
    searched, levels, scales = [], [], []
    for photo in photos:
        images, their_scales = photo.levels, photo.scales
        if their_scales == [1.0]:
            small = reduced(images[0], max(images[0].shape) // 2)
            images, their_scales = [small], [max(small.shape) / max(photo.image.shape)]
        if max(images[0].shape) > QUARTERS_SIDE:  # else `search_directions` does it
            searched.append(photo)
            levels.append([np.rot90(image) for image in images])
            scales.append(their_scales)
    found = search(network, levels, scales, [photo.min_score for photo in searched])
    for photo, sideways in zip(searched, found, strict=True):
        photo.weak = joined([photo.weak, turned_back(sideways, photo.image.shape[1])])


def search_directions(
    network: Network, photos: Sequence[SearchedPhoto], directions: Sequence[int], max_side: int
) -> None:
    """Search photos, much reduced, for large faces that are turned.

    Args:
        network: the opened network.
        photos: the photos; their `directed` is set, and their `weak` proposals are exchanged for
            those that the search cannot settle.
        directions: degrees by which the photos are turned clockwise.
        max_side: maximum longer side in pixels of the reduced photos.
    """
    small = [_small(photo, max_side) for photo in photos]
    pairs = [turned_whole(image, degrees) for image in small for degrees in directions]
    min_scores = [photo.min_score for photo in photos for _ in directions]
    found = find_in(network, [pixels for pixels, _ in pairs], min_scores)
    faces = iter([faces_to_image(seen, to) for seen, (_, to) in zip(found, pairs, strict=True)])
    for photo, image in zip(photos, small, strict=True):
        scale = max(image.shape) / max(photo.image.shape)
        by_direction = list(islice(faces, len(directions)))
        degrees = np.repeat(directions, [len(some) for some in by_direction])
        seen = Proposals.at(scaled(np.concatenate(by_direction), 1 / scale), scale)
        photo.sign = max(joined([photo.weak, seen]).scores.max(initial=0), photo.sign)
        strong, sideways = seen.scores >= STRONG_SCORE, degrees == QUARTERS[0]
        weak = joined([photo.weak, seen.of(~strong & sideways)])
        weak = weak.of(weak.faces[:, 2] * scale < DIRECTED_FACE)
        photo.weak = joined([weak, seen.of(~strong & (seen.scores >= CLEAR_SCORE))])
        rivals = np.concatenate([photo.upright.faces, seen.faces[strong]])
        kept = rows_kept(rivals) - len(photo.upright.faces)
        photo.directed = [
            (seen.faces[strong][row], float(degrees[strong][row])) for row in kept[kept >= 0]
        ]


def _small(photo: SearchedPhoto, max_side: int) -> Image:
    """Reduce a photo to a longer side of at most `max_side`, and to half its size or more."""
    longer = max(photo.image.shape)
    side = min(max_side, longer if longer < max_side else longer // 2)
    levels = reversed(photo.levels)
    return reduced(next(level for level in levels if max(level.shape) >= side), side)
