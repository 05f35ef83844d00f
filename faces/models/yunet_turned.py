"""Faces that lie in their photo turned by any angle: on their side, upside down, or askew."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import require_few
from faces.models.engines import Network
from faces.models.face import intersection_over_union
from faces.models.yunet_angles import (
    ANGLE_SCORE,
    Angle,
    angles_of,
    glances,
    made_upright,
    tilts,
)
from faces.models.yunet_outputs import NMS_OVERLAP, non_maximum_suppression
from faces.models.yunet_search import Proposals, joined, search, turned_back
from faces.models.yunet_windows import Look, reduced
from faces.photos.decoding import Image

SURE_SCORE, LIKELY_SCORE = 0.905, 0.85
"""Minimum score of a face that is upright for certain, and of one that is if a glance from all
angles agrees. 98% of LFW's upright faces reach the first, and 0.3% of those turned by 60 degrees or
more. A photo without such a face is searched for turned ones."""

BESIDE_SCORE = 0.4
"""Minimum score of a proposal beside a face that is upright for certain to be looked at from all
angles."""

STRONG_SCORE = 0.5
"""Minimum score of a proposal, in other photos, to be looked at without a glance, and again in part
if nothing is seen, since the boxes of turned faces may be too large."""

TURNED_SCORE, PROPOSED_SCORE = 0.8, 0.88
"""Minimum score, seen upright, of a turned face that was found as it is, and of one that was only
proposed. 99% of LFW's turned faces, 28 to 95 pixels wide, reach 0.88; hands, ears and microphones,
which look like faces from some angle, seldom do."""

PART = 0.6
"""Width of that part, relative to the box."""

GLANCE_SCORE, CLEAR_SCORE, CLEAR_GLANCE_SCORE = 0.4, 0.3, 0.25
"""Minimum score that a glance from all angles has to give a weak proposal for its angle to be
measured; and the score from which on a proposal is clear, so that less is asked of the glance. It
leaves out four of five places of photos without faces."""

GLANCE_MARGIN = 0.15
"""Score by which a glance has to be surer of a face at one angle than at others, to settle it."""

UPRIGHT_MARGIN = 0.05
"""Score by which a found face has to be surer at another angle than as it is, to be turned."""

NEAR_DEGREES, AGREED_DEGREES = 45.0, 20.0
"""Angle up to which a face may be found as it is and be aligned by its landmarks, if the tilt that
they show agrees with the angle so far. Beyond, a face found as it is gives way to the same face
turned if that scores higher."""

MIN_TILT_WIDTH = 64
"""Minimum width in pixels, in the searched image, of a face whose landmarks show its tilt."""

MAX_WEAK = 1024
"""Maximum number of a photo's weak proposals that are looked at at other angles, the strongest."""

SEEN_SIDE = 40
"""Minimum side in pixels of a place in the searched image for that image to show its angle; smaller
ones are looked at in the whole image."""

MIN_SIDEWAYS_SIDE = 80
"""Minimum longer side in pixels of a small photo that is reduced to half its size to be searched
sideways, which costs a quarter of the first search."""

SAME_PLACE = 0.5
"""Minimum share of the smaller of two boxes that lies in the other, for a turned face and a surer
one to be the same face."""


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
        turned: (n, 15) the faces that were found turned, in pixels of `image`.
        sure: (n,) whether each of `upright` is upright for certain.
    """

    image: Image
    levels: list[Image]
    scales: list[float]
    min_score: float
    upright: Proposals
    weak: Proposals
    turned: NDArray[np.float32] = field(init=False)
    sure: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no turned face, and with the scores alone."""
        self.turned = np.empty((0, 15), np.float32)
        self.sure = self.upright.scores >= SURE_SCORE


class _Place(NamedTuple):
    """A place of a photo that may show a turned face.

    Attributes:
        photo: the photo.
        row: the row of `photo.upright` that the place is; None for a weak proposal.
        score: score of the face or the proposal, as it is in the image.
        look: the place in an image that has the detail to see the angle by.
        scale: pixels of that image per pixel of `photo.image`.
    """

    photo: SearchedPhoto
    row: int | None
    score: float
    look: Look
    scale: float

    @classmethod
    def of(cls, photo: SearchedPhoto, row: int | None, face: NDArray[np.float32]) -> _Place:
        """Return the place of a face, (15,) as `decode_outputs` gives it."""
        x, y, width, height, score = face[[0, 1, 2, 3, 14]].tolist()
        enough = max(width, height) * photo.scales[0] >= SEEN_SIDE
        image, scale = (photo.levels[0], photo.scales[0]) if enough else (photo.image, 1.0)
        look = Look(image, x + width / 2, y + height / 2, math.sqrt(width * height))
        return cls(photo, row, score, look.scaled(image, scale), scale)


def find_turned(network: Network, photos: Sequence[SearchedPhoto], min_score: float) -> None:
    """Find the turned faces of photos, and drop what is no face when it is seen upright.

    Args:
        network: the opened network.
        photos: searched photos; their `turned` is set, and from their `upright` is taken what is
            not.
        min_score: minimum score of a face, seen upright.
    """
    _confirm_upright(network, photos)
    _search_sideways(network, [photo for photo in photos if not photo.sure.any()])
    places = _promising(network, [place for photo in photos for place in _places(photo)])
    angles = _angles(network, places)
    turned = [_Turned(*pair) for pair in zip(places, angles, strict=True)]
    turned = [one for one in turned if one.is_likely]
    seen = made_upright(network, [one.look for one in turned])
    by_photo = defaultdict(list)
    for one, face in zip(turned, seen, strict=True):
        by_photo[id(one.place.photo)].append((one, face))
    for photo in photos:
        _take(photo, by_photo[id(photo)], min_score)


def _confirm_upright(network: Network, photos: Sequence[SearchedPhoto]) -> None:
    """Glance at the best face of photos whose scores do not say for certain that one is upright."""
    likely = [
        photo
        for photo in photos
        if not photo.sure.any() and photo.upright.scores.max(initial=0) >= LIKELY_SCORE
    ]
    best = [int(photo.upright.scores.argmax()) for photo in likely]
    looks = [
        _Place.of(photo, row, photo.upright.faces[row]).look
        for photo, row in zip(likely, best, strict=True)
    ]
    for photo, row, scores in zip(likely, best, glances(network, looks), strict=True):
        others = scores[2:-1]  # the angles beside 0 may score nearly as high
        least = max(scores.max(), others.max() + GLANCE_MARGIN, GLANCE_SCORE)
        photo.sure[row] = scores[0] >= least


def _angles(network: Network, places: Sequence[_Place]) -> list[Angle]:
    """Measure the angle at each place, and again in part of strong ones that show no face."""
    angles = angles_of(network, [place.look for place in places])
    rows = [
        row
        for row, (place, angle) in enumerate(zip(places, angles, strict=True))
        if place.score >= STRONG_SCORE and angle.score < ANGLE_SCORE and not place.photo.sure.any()
    ]
    looks = [places[row].look for row in rows]
    parts = [look._replace(width=look.width * PART) for look in looks]
    for row, angle in zip(rows, angles_of(network, parts), strict=True):
        angles[row] = max(angles[row], angle, key=lambda angle: angle.score)
    return angles


class _Turned(NamedTuple):
    """A place that may show a turned face, with its angle."""

    place: _Place
    angle: Angle

    @property
    def look(self) -> Look:
        """Where the face is in the photo's image."""
        return self.angle.look.scaled(self.place.photo.image, 1 / self.place.scale)

    @property
    def is_clear(self) -> bool:
        """Whether the face scores clearly higher when it is turned."""
        return self.angle.score > self.angle.upright_score + UPRIGHT_MARGIN

    @property
    def is_likely(self) -> bool:
        """Whether the place is to be looked at turned upright."""
        if self.place.row is None:
            return self.is_clear and self.angle.score >= ANGLE_SCORE
        degrees = _within_half_turn(self.angle.look.degrees)
        if abs(degrees) > NEAR_DEGREES:
            return True
        found = self.place.photo.upright.of(np.array([self.place.row]))
        (tilt,) = tilts(found.faces, found.seen_widths).tolist()
        agreed = abs(_within_half_turn(degrees - tilt)) <= AGREED_DEGREES
        return self.is_clear and not (agreed and found.seen_widths[0] >= MIN_TILT_WIDTH)


def _within_half_turn(degrees: float) -> float:
    """Return the same angle in degrees, from -180 to 180."""
    return (degrees + 180) % 360 - 180


def _take(
    photo: SearchedPhoto,
    seen: Sequence[tuple[_Turned, NDArray[np.float32] | None]],
    min_score: float,
) -> None:
    """Set the turned faces of a photo, and drop found faces that are turned, or are none.

    Args:
        photo: the photo.
        seen: its places that may be turned faces, with the face that was seen upright there.
        min_score: minimum score of a face, seen upright.
    """
    faces, keep = [], np.ones(len(photo.upright.faces), dtype=bool)
    for one, face in seen:
        least = max(min_score, PROPOSED_SCORE if one.place.row is None else TURNED_SCORE)
        if not one.is_clear:
            least = max(least, one.place.score)
        if face is not None and face[14] >= least:
            faces.append(face)
        elif not one.is_clear:
            continue
        if one.place.row is not None:
            keep[one.place.row] = False
    for face in sorted(faces, key=lambda face: -float(face[14])):
        others = photo.upright.faces
        same = np.array([_shared(face, other) >= SAME_PLACE for other in others], dtype=bool) & keep
        surer = (others[:, 14] >= face[14]) | photo.sure
        if not (same & surer).any() and all(_shared(face, f) < SAME_PLACE for f in photo.turned):
            keep &= ~same
            photo.turned = np.vstack([photo.turned, face])
    photo.upright, photo.sure = photo.upright.of(keep), photo.sure[keep]


def _search_sideways(network: Network, photos: Sequence[SearchedPhoto]) -> None:
    """Add to the weak proposals of photos what the network sees in them turned by a quarter.

    Faces that are upside down need no search of their own, since the network sees them as they are.
    """
    levels, scales = [], []
    for photo in photos:
        images, their_scales = photo.levels, photo.scales
        if their_scales == [1.0] and max(images[0].shape) >= 2 * MIN_SIDEWAYS_SIDE:
            small = reduced(images[0], max(images[0].shape) // 2)
            images, their_scales = [small], [max(small.shape) / max(photo.image.shape)]
        levels.append([np.rot90(image) for image in images])
        scales.append(their_scales)
    found = search(network, levels, scales, [photo.min_score for photo in photos])
    for photo, sideways in zip(photos, found, strict=True):
        photo.weak = joined([photo.weak, turned_back(sideways, photo.image.shape[1])])


def _places(photo: SearchedPhoto) -> list[_Place]:
    """Return the places of a photo that are looked at: doubtful faces, and weak proposals."""
    upright, weak = photo.upright, photo.weak.faces
    if photo.sure.any():
        weak = weak[weak[:, 14] >= BESIDE_SCORE]
    weak = non_maximum_suppression(weak)
    for face in upright.faces:
        weak = weak[intersection_over_union(weak[:, :4], face[:4]) < NMS_OVERLAP]
    weak = weak[:MAX_WEAK]
    doubtful = np.flatnonzero(~photo.sure).tolist()
    require_few(len(weak) + len(doubtful))
    places = [_Place.of(photo, row, upright.faces[row]) for row in doubtful]
    return places + [_Place.of(photo, None, face) for face in weak]


def _promising(network: Network, places: Sequence[_Place]) -> list[_Place]:
    """Return the places that a glance does not settle: those that may show a turned face.

    In a photo without a face that is upright for certain, a glance at strong places would not be
    exact enough.
    """
    glanced = [
        place
        for place in places
        if place.photo.sure.any() or (place.row is None and place.score < STRONG_SCORE)
    ]
    settled = set()
    all_scores = glances(network, [place.look for place in glanced])
    for place, scores in zip(glanced, all_scores, strict=True):
        beside, clear = place.photo.sure.any(), place.score >= CLEAR_SCORE
        as_it_is = not scores.argmax()
        shows_none = scores.max() < (CLEAR_GLANCE_SCORE if clear and not beside else GLANCE_SCORE)
        if (as_it_is and (beside or not clear)) or (shows_none and place.row is None):
            settled.add(id(place))
    return [place for place in places if id(place) not in settled]


def _shared(face: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the share of the smaller of two boxes that lies in the other, in [0, 1]."""
    sides = np.minimum(face[:2] + face[2:4], other[:2] + other[2:4]) - np.maximum(
        face[:2], other[:2]
    )
    smaller = min(float(np.prod(face[2:4])), float(np.prod(other[2:4])))
    return float(np.prod(sides.clip(0))) / max(smaller, 1e-6)
