"""Faces that lie in their photo turned by any angle: on their side, upside down, or askew."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import require_few
from faces.models.engines import Network
from faces.models.face import intersection_over_union
from faces.models.yunet_angles import (
    ANGLE_SCORE,
    NEAR_DEGREES,
    TILTED_DEGREES,
    Angle,
    angles_of,
    glances,
    made_upright,
    shown_degrees,
    tilts,
)
from faces.models.yunet_directions import (
    CLEAR_SCORE,
    DIAGONALS,
    DIAGONALS_SIDE,
    QUARTERS,
    QUARTERS_SIDE,
    STRONG_SCORE,
    SURE_SCORE,
    SearchedPhoto,
    search_directions,
    search_sideways,
)
from faces.models.yunet_network import find_in
from faces.models.yunet_outputs import NMS_OVERLAP, non_maximum_suppression
from faces.models.yunet_search import MAX_UNTILED_SIDE
from faces.models.yunet_windows import Look, faces_to_image, scaled, turned_whole

LIKELY_SCORE = 0.85
"""Minimum score of a face that is upright if it scores highest as it is, by a margin."""

PUZZLING_SCORE = 0.4
"""Minimum score of a proposal for a photo without any face to be searched in further directions."""

BESIDE_SCORE = 0.4
"""Minimum score of a proposal beside a face that is upright for certain to be looked at from all
angles."""

TURNED_SCORE, PROPOSED_SCORE = 0.8, 0.88
"""Minimum score, seen upright, of a turned face that was found as it is, and of one that was only
proposed. 99% of LFW's turned faces, 28 to 95 pixels wide, reach 0.88; hands, ears and microphones,
which look like faces from some angle, seldom do."""

GLANCE_SCORE, CLEAR_GLANCE_SCORE = 0.4, 0.25
"""Minimum score that a glance from all angles has to give a weak proposal for its angle to be
measured, and to give one of `CLEAR_SCORE`. It leaves out four of five places of photos without
faces."""

LYING_MARGIN = 0.15
"""Score by which a likely upright face has to be surer than at angles of 90 degrees or more."""

AGREED_DEGREES, SAME_SIZE, MIN_TILT_WIDTH = 20.0, 0.85, 64
"""Maximum difference between a found face's angle and the tilt that its landmarks show, and minimum
width at that angle relative to the box, for the face to stay as it was found; and minimum width in
pixels, in the searched image, of a face whose landmarks show its tilt."""

MAX_WEAK = 1024
"""Maximum number of a photo's weak proposals that are looked at at other angles, the strongest."""

SEEN_SIDE = 40
"""Minimum side in pixels of a place in the searched image for that image to show its angle; smaller
ones are looked at in the whole image."""

SAME_PLACE = 0.5
"""Minimum share of the smaller of two boxes that lies in the other, for a turned face and a surer
one to be the same face."""


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

    @classmethod
    def directed(cls, photo: SearchedPhoto, face: NDArray[np.float32], degrees: float) -> _Place:
        """Return the place of a face that was seen in the photo turned by some degrees."""
        place = cls.of(photo, None, face)
        return place._replace(look=place.look._replace(degrees=degrees))


def find_turned(network: Network, photos: Sequence[SearchedPhoto], min_score: float) -> None:
    """Find the turned faces of photos, and drop what is no face when it is seen upright.

    Args:
        network: the opened network.
        photos: searched photos; their `turned` is set, and from their `upright` is taken what is
            not.
        min_score: minimum score of a face, seen upright.
    """
    _confirm_upright(network, photos)
    unsure = [photo for photo in photos if not photo.sure.any()]
    search_sideways(network, unsure)
    search_directions(network, unsure, QUARTERS, QUARTERS_SIDE)
    places = _promising(network, [place for photo in photos for place in _places(photo)])
    _look_at(network, photos, places + _directed(unsure), min_score)
    puzzling = [
        photo
        for photo in unsure
        if photo.sign >= PUZZLING_SCORE and not len(photo.turned) and not len(photo.upright.faces)
    ]
    search_directions(network, puzzling, DIAGONALS, DIAGONALS_SIDE)
    _look_at(network, puzzling, _directed(puzzling), min_score)
    _search_as_turned(network, [photo for photo in photos if len(photo.turned)], min_score)


def _directed(photos: Sequence[SearchedPhoto]) -> list[_Place]:
    """Return the places of faces that were seen in turned photos."""
    return [_Place.directed(photo, *one) for photo in photos for one in photo.directed]


def _look_at(
    network: Network, photos: Sequence[SearchedPhoto], places: Sequence[_Place], min_score: float
) -> None:
    """Measure the angle at each place, look at it turned upright, and take what is a face there."""
    angles = angles_of(network, [place.look for place in places])
    turned = [_Turned(*pair) for pair in zip(places, angles, strict=True)]
    turned = [one for one in turned if one.is_likely]
    seen = made_upright(network, [one.look for one in turned])
    by_photo = defaultdict(list)
    for one, face in zip(turned, seen, strict=True):
        by_photo[id(one.place.photo)].append((one, face))
    for photo in photos:
        _take(photo, by_photo[id(photo)], min_score)


def _confirm_upright(network: Network, photos: Sequence[SearchedPhoto]) -> None:
    """Look at the best face of photos whose scores do not say for certain that one is upright."""
    best = [
        (photo, int(photo.upright.scores.argmax()))
        for photo in photos
        if not photo.sure.any() and photo.upright.scores.max(initial=0) >= LIKELY_SCORE
    ]
    nearly = [photo.upright.scores[row] >= SURE_SCORE for photo, row in best]
    looks = [_Place.of(photo, row, photo.upright.faces[row]).look for photo, row in best]
    scores = iter(glances(network, list(compress(looks, nearly))))
    is_settled = [is_near and not next(scores).argmax() for is_near in nearly]
    angles = iter(angles_of(network, [x for x, y in zip(looks, is_settled, strict=True) if not y]))
    for (photo, row), is_near, settled in zip(best, nearly, is_settled, strict=True):
        angle = None if settled else next(angles)
        if is_near:
            if angle is None or (angle.is_near and not angle.is_turned):
                photo.sure |= photo.upright.scores >= SURE_SCORE
        elif angle is not None:
            least = max(angle.score, angle.lying_score + LYING_MARGIN, GLANCE_SCORE)
            photo.sure[row] = angle.upright_score >= least


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
        return bool(self.place.look.degrees) or self.angle.is_turned

    @property
    def is_likely(self) -> bool:
        """Whether the place is to be looked at turned upright."""
        if self.place.row is None:
            return self.is_clear and self.angle.score >= ANGLE_SCORE
        alone = not self.place.photo.sure.any()  # bystanders stay as they are, unless it is clear
        turned = self.angle.is_lying or (not self.angle.is_near and (alone or self.is_clear))
        return turned and not self.is_exact

    @property
    def is_exact(self) -> bool:
        """Whether a face was found as it is with the box and the tilt that its angle shows."""
        row = np.array([self.place.row])
        found = self.place.photo.upright.of(row)
        (tilt,) = tilts(found.faces, found.seen_widths).tolist()
        agrees = abs((self.angle.look.degrees - tilt + 180) % 360 - 180) <= AGREED_DEGREES
        same_size = self.angle.look.width >= SAME_SIZE * self.place.look.width
        return agrees and same_size and found.seen_widths[0] >= MIN_TILT_WIDTH


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
    photo.upright, photo.sure = photo.upright.of(keep), photo.sure[keep]
    _add(photo, faces)


def _add(
    photo: SearchedPhoto, faces: Sequence[NDArray[np.float32]], *, replaces: bool = False
) -> None:
    """Add turned faces to those of a photo, in place of less certain ones that were found as is.

    Args:
        photo: the photo.
        faces: (15,) each, in pixels of `photo.image`.
        replaces: whether they also take the place of turned faces that the photo has already.
    """
    added: list[NDArray[np.float32]] = []
    for face in sorted(faces, key=lambda face: -float(face[14])):
        same, older = _at(face, photo.upright.faces), _at(face, photo.turned)
        is_near = abs(shown_degrees(face)) < NEAR_DEGREES
        stays = (photo.upright.scores >= face[14]) | photo.sure | is_near
        if (same & stays).any() or _at(face, added).any() or (older.any() and not replaces):
            continue
        photo.upright, photo.sure = photo.upright.of(~same), photo.sure[~same]
        photo.turned = photo.turned[~older]
        added.append(face)
    photo.turned = np.vstack([photo.turned, *added])


def _search_as_turned(network: Network, photos: Sequence[SearchedPhoto], min_score: float) -> None:
    """Search photos with turned faces turned as the surest one, and take what is found there.

    So photos that lie on their side give what they would give upright: all their faces, and
    landmarks that were seen at the same size.
    """
    for photo in photos:
        degrees = shown_degrees(photo.turned[photo.turned[:, 14].argmax()])
        level = next(i for i, img in enumerate(photo.levels) if max(img.shape) <= MAX_UNTILED_SIDE)
        pixels, to_turned = turned_whole(photo.levels[level], degrees)
        (found,) = find_in(network, [pixels], [max(min_score, PROPOSED_SCORE)])
        exact = (found[:, 2] >= SEEN_SIDE) & (np.abs(tilts(found, found[:, 2])) < TILTED_DEGREES)
        faces = scaled(faces_to_image(found, to_turned), 1 / photo.scales[level])
        _add(photo, list(faces[exact]), replaces=True)
        photo.directed = [(face, degrees) for face in faces[~exact]]
    _look_at(network, photos, _directed(photos), min_score)


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


def _at(
    face: NDArray[np.float32], others: Sequence[NDArray[np.float32]] | NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return (n,) whether each of other faces is at the same place as a face."""
    return np.array([_shared(face, other) >= SAME_PLACE for other in others], dtype=bool)


def _shared(face: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the share of the smaller of two boxes that lies in the other, in [0, 1]."""
    sides = np.minimum(face[:2] + face[2:4], other[:2] + other[2:4]) - np.maximum(
        face[:2], other[:2]
    )
    smaller = min(float(np.prod(face[2:4])), float(np.prod(other[2:4])))
    return float(np.prod(sides.clip(0))) / max(smaller, 1e-6)
