"""Searching images for faces of all sizes: at several scales, in tiles, upright and turned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.models.engines import Network
from faces.models.yunet_network import find_in
from faces.models.yunet_outputs import rows_kept
from faces.models.yunet_windows import moved, scaled
from faces.photos.decoding import Image

USUAL_MIN_FACE = 48
"""Default size in pixels (shorter side of the box) of the smallest faces that large photos are
searched for."""

MIN_SEARCH_SIDE = 640
"""Minimum of the longer side, in pixels, to which a large photo is reduced for the search."""

PROPOSED_SIDE = 12
"""Side in pixels of the smallest face to be proposed by the search."""

TILE_SIDE, TILE_OVERLAP, MAX_UNTILED_SIDE = 768, 96, 1280
"""Side and overlap in pixels of the tiles in which larger searched images are searched, and the
longer side up to which an image is searched at once. Memory is bounded thus, and tiles fit into the
CPU cache: an image of 2560x1920 pixels takes 20 ns a pixel at once, and 14 in tiles."""


class Proposals(NamedTuple):
    """Places of an image that may be faces.

    Attributes:
        faces: (n, 15) as `decode_outputs` gives them, in pixels of the image.
        scales: (n,) pixels of the network's input per pixel of the image, where each was seen.
    """

    faces: NDArray[np.float32]
    scales: NDArray[np.float32]

    @classmethod
    def at(cls, faces: NDArray[np.float32], scale: float) -> Proposals:
        """Return proposals that were all seen at one scale."""
        return cls(faces, np.full(len(faces), scale, np.float32))

    @property
    def seen_sides(self) -> NDArray[np.float32]:
        """(n,) longer side of each box in pixels of the network's input."""
        return np.asarray(self.faces[:, 2:4].max(axis=1, initial=0) * self.scales)

    @property
    def seen_widths(self) -> NDArray[np.float32]:
        """(n,) width of each box in pixels of the network's input."""
        return np.asarray(self.faces[:, 2] * self.scales)

    @property
    def scores(self) -> NDArray[np.float32]:
        """(n,) score of each proposal."""
        return self.faces[:, 14]

    def of(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Proposals:
        """Return the proposals of some rows."""
        return Proposals(self.faces[rows], self.scales[rows])


def joined(parts: Sequence[Proposals]) -> Proposals:
    """Return the proposals of all parts."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Proposals.at(np.empty((0, 15), np.float32), 1.0)
    return Proposals(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def strongest(proposals: Proposals) -> Proposals:
    """Return the proposal of highest score among overlapping ones."""
    return proposals.of(rows_kept(proposals.faces))


def usual_side(longer_side: int, min_face: int) -> int:
    """Return the longer side to which a photo is reduced for faces of `USUAL_MIN_FACE` or more.

    Args:
        longer_side: longer side of the whole photo in pixels.
        min_face: shorter side of the box, in pixels, of the smallest faces to be proposed.
    """
    needed = longer_side * PROPOSED_SIDE // max(min_face, USUAL_MIN_FACE)
    return min(longer_side, max(MIN_SEARCH_SIDE, needed))


def search_sides(longer_side: int, min_face: int) -> list[int]:
    """Return the longer sides to which a photo is reduced, so that faces of all sizes are found.

    From `USUAL_MIN_FACE` down, the sides for a smaller `min_face` include those for a larger one,
    so that no face is lost.

    Args:
        longer_side, min_face: see `usual_side`.

    Returns:
        Sides in pixels, largest first.
    """
    sides = [usual_side(longer_side, min_face)]
    while sides[0] < min(longer_side, longer_side * PROPOSED_SIDE // min_face):
        sides.insert(0, min(longer_side, 2 * sides[0]))
    while sides[-1] > MIN_SEARCH_SIDE:
        sides.append(coarser_side(sides[-1]))
    return sides


def coarser_side(side: int) -> int:
    """Return the side at which large faces are searched that were missed at a side, in pixels."""
    return max(1, side // (2 if side > MAX_UNTILED_SIDE else 4))


class _Part(NamedTuple):
    """A part of a reduced image that is searched at once.

    Attributes:
        row: position of the image.
        scale: pixels of the reduced image per pixel of the image.
        pixels: (height, width, 3) uint8, the part.
        corner: left and top of the part in pixels of the reduced image.
        core: left, top, right and bottom, in these pixels, of the area whose faces this part gives;
            its neighbours give the others.
        max_face: maximum side in pixels of a box that no edge between parts cuts.
    """

    row: int
    scale: float
    pixels: Image
    corner: tuple[int, int] = (0, 0)
    core: tuple[float, float, float, float] = (-math.inf, -math.inf, math.inf, math.inf)
    max_face: float = math.inf

    def proposals(self, faces: NDArray[np.float32]) -> Proposals:
        """Return the faces that the part gives, in pixels of the whole image."""
        if self.max_face == math.inf:
            return Proposals.at(scaled(faces, 1 / self.scale), self.scale)
        placed = moved(faces, *self.corner)
        centres = placed[:, :2] + placed[:, 2:4] / 2
        within = (centres >= self.core[:2]) & (centres < self.core[2:])
        uncut = placed[:, 2:4].max(axis=1, initial=0) <= self.max_face
        placed = placed[within.all(axis=1) & uncut]
        return Proposals.at(scaled(placed, 1 / self.scale), self.scale)


def search(
    network: Network,
    levels: Sequence[Sequence[Image]],
    scales: Sequence[Sequence[float]],
    min_scores: Sequence[float],
) -> list[Proposals]:
    """Search each image at each of its scales.

    Args:
        network: the opened network.
        levels: for each image the reduced images that are searched.
        scales: pixels of each reduced image per pixel of the image.
        min_scores: minimum score of a proposal, for each image.

    Returns:
        The proposals of each image and scale, in pixels of the image.
    """
    parts = [
        part
        for row, (images, their_scales) in enumerate(zip(levels, scales, strict=True))
        for image, scale in zip(images, their_scales, strict=True)
        for part in _parts(row, image, scale)
    ]
    found = find_in(network, [p.pixels for p in parts], [min_scores[p.row] for p in parts])
    by_image: list[list[Proposals]] = [[] for _ in levels]
    for part, faces in zip(parts, found, strict=True):
        by_image[part.row].append(part.proposals(faces))
    return [joined(proposals) for proposals in by_image]


def _parts(row: int, image: Image, scale: float) -> Iterator[_Part]:
    """Cut a reduced image into the parts that are searched; see `_Part`."""
    height, width = image.shape[:2]
    if max(height, width) <= MAX_UNTILED_SIDE:
        yield _Part(row, scale, image)
        return
    for top, down in _tiles(height):
        for left, right in _tiles(width):
            pixels = image[top : top + TILE_SIDE, left : left + TILE_SIDE]
            core = (right[0], down[0], right[1], down[1])
            yield _Part(row, scale, pixels, (left, top), core, TILE_OVERLAP)


def _tiles(length: int) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield the start of each tile along one axis, and the bounds of its core."""
    count = max(1, math.ceil((length - TILE_OVERLAP) / (TILE_SIDE - TILE_OVERLAP)))
    starts = np.linspace(0, max(0, length - TILE_SIDE), count).round().astype(int).tolist()
    inner = [(left + TILE_SIDE + right) / 2 for left, right in pairwise(starts)]
    yield from zip(starts, pairwise([-math.inf, *inner, math.inf]), strict=True)


def turned_back(proposals: Proposals, width: float) -> Proposals:
    """Convert boxes in an image that was turned by a quarter to boxes in the image itself.

    Args:
        proposals: proposals in `numpy.rot90` of an image, in pixels of the image.
        width: width of the image itself in pixels.

    Returns:
        The proposals in pixels of the image itself. Their landmarks are not converted.
    """
    faces = proposals.faces.copy()
    faces[:, 0] = width - proposals.faces[:, 1] - proposals.faces[:, 3]
    faces[:, 1] = proposals.faces[:, 0]
    faces[:, 2:4] = proposals.faces[:, [3, 2]]
    return Proposals(faces, proposals.scales)
