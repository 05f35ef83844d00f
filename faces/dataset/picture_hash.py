"""Perceptual hashes of photos, by which an edited copy of a photo is recognised without its faces.

A hash says of neighbouring cells of the photo which is the brighter one, except for cells that a
face touches. It is made of the photo without its margins, so that a cropped copy still has
everything that was hashed. A photo is compared in several windows, as a copy may be cropped.

The method is a gradient hash (dHash, N. Krawetz, "Kind of Like That", 2013) with three values in
place of two: brighter, darker, and not compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.float32]
"""(n, `NUM_BITS`) float32: 1 brighter, -1 darker, 0 not compared."""

GRID = 16
"""Number of cells along each side of the hashed part of a photo."""

MARGIN = 0.05
"""Share of a photo's width and height that is left out on each side before it is hashed, so that a
copy that lost as much has the same hash."""

NUM_BITS = 2 * GRID * (GRID - 1)
"""Number of pairs of neighbouring cells."""

HASH_BYTES = 2 * NUM_BITS // 8
"""Length of a stored hash: a bit for each pair that is compared, then a bit for brighter."""

MIN_DIFFERENCE, MIN_OF_MEDIAN = 1.0, 0.3
"""Minimum difference between two cells that are compared: in grey levels of 256, and as a share of
the photo's median difference. Smaller ones change sign when a copy is compressed again."""

BLURRED = 0.025
"""Width of the margin around a face in which the pixels of a thumbnail may have something of it, as
a share of the photo: one and a half pixels of 64."""

MIN_BITS = 64
"""Minimum number of compared pairs of a hash that is used at all. With fewer, which is so where
faces fill a photo, strangers' photos agree by chance."""

WINDOWS = tuple((cut, cut, 1 - cut, 1 - cut) for cut in (0.0, 0.025, 0.05, 0.075, 0.1))
"""Windows of a photo that are compared with a hash: left, top, right and bottom as shares of the
photo. That of 0.05 is the hashed part of the photo itself; the one of 0 that of a photo of which a
copy lost 5% on each side; and that of 0.1 the other way round."""

BLOCK_PHOTOS = 64
"""Number of photos that are compared with all hashes at once, which bounds the memory."""


@dataclass(frozen=True)
class Comparison:
    """How well photos agree with hashes, in the window of each photo that agrees best.

    Attributes:
        agreement: (n, m) float32, of the compared pairs of each of m hashes the share that agrees
            with each of n photos less the share that does not: 1 for the same picture, about 0.5
            for the nearest of a thousand others.
        window: (n, m) int64, the number of the window in `WINDOWS`.
    """

    agreement: NDArray[np.float32]
    window: NDArray[np.int64]


def hash_pictures(
    thumbnails: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]]
) -> list[bytes]:
    """Hash photos without their faces.

    Args:
        thumbnails: n (64, 64) grey images of whole photos, see `faces.photos.thumbnails`.
        boxes: for each photo (f, 4) the boxes of its faces: x, y, width and height as shares of
            the photo's width and height. No cell that one of them touches is used.

    Returns:
        n hashes of `HASH_BYTES` bytes.
    """
    if not thumbnails:
        return []
    differences = _differences(np.stack(thumbnails), (MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN))
    compared = np.stack([~_pairs_touching(of_photo) for of_photo in boxes])
    size = np.where(compared, np.abs(differences), np.nan)  # a face has no part in the median
    with warnings.catch_warnings(action="ignore"):  # faces may fill a photo
        median = np.nan_to_num(np.nanmedian(size, axis=1, keepdims=True))
    compared &= np.nan_to_num(size) >= np.maximum(MIN_DIFFERENCE, MIN_OF_MEDIAN * median)
    bits = np.concatenate([compared, compared & (differences > 0)], axis=1)
    return [packed.tobytes() for packed in np.packbits(bits, axis=1)]


def unpack_hashes(stored: Sequence[bytes]) -> Hashes:
    """Return n stored hashes as (n, `NUM_BITS`) float32."""
    packed = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), HASH_BYTES)
    bits = np.unpackbits(packed, axis=1).astype(np.float32)
    compared, brighter = bits[:, :NUM_BITS], bits[:, NUM_BITS:]
    return 2 * brighter - compared


def num_compared(hashes: Hashes) -> NDArray[np.int64]:
    """Return the (n,) numbers of pairs of cells that n hashes compare."""
    return np.asarray(np.count_nonzero(hashes, axis=1), np.int64)


def compare_pictures(thumbnails: NDArray[np.uint8], hashes: Hashes) -> Comparison:
    """Compare each of n photos with each of m hashes.

    Args:
        thumbnails: (n, 64, 64) grey images of whole photos.
        hashes: (m, `NUM_BITS`), from `unpack_hashes`.
    """
    shape = (len(thumbnails), len(hashes))
    agreement, window = np.full(shape, -1, np.float32), np.zeros(shape, np.int64)
    by_pair = np.ascontiguousarray((hashes / np.maximum(num_compared(hashes), 1)[:, None]).T)
    by_pair = by_pair.astype(np.float32)
    for start in range(0, len(thumbnails), BLOCK_PHOTOS):
        block = slice(start, start + BLOCK_PHOTOS)
        for number, cut in enumerate(WINDOWS):
            here = np.sign(_differences(thumbnails[block], cut)) @ by_pair
            better = here > agreement[block]
            agreement[block][better] = here[better]
            window[block][better] = number
    return Comparison(agreement, window)


def box_in_window(box: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return where a box of a hashed photo is in a photo that agrees with the hash in a window.

    Args:
        box: (4,) x, y, width, height as shares of the hashed photo's width and height.
        window: number of the window in `WINDOWS`.

    Returns:
        (4,) the same as shares of the compared photo's width and height.
    """
    left, top, right, bottom = WINDOWS[window]
    scale = np.array([right - left, bottom - top], np.float32) / (1 - 2 * MARGIN)
    start = (box[:2] - MARGIN) * scale + np.array([left, top], np.float32)
    return np.concatenate([start, box[2:] * scale])


def _differences(
    thumbnails: NDArray[np.uint8], window: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Return the (n, `NUM_BITS`) differences of neighbouring cells in a window of n thumbnails."""
    left, top, right, bottom = window
    side = thumbnails.shape[1]
    rows, columns = _cell_weights(top, bottom, side), _cell_weights(left, right, side)
    cells = rows @ thumbnails.astype(np.float32) @ columns.T
    n = len(thumbnails)
    across = (cells[:, :, 1:] - cells[:, :, :-1]).reshape(n, -1)
    down = (cells[:, 1:] - cells[:, :-1]).reshape(n, -1)
    return np.concatenate([across, down], axis=1)


@cache
def _cell_weights(start: float, stop: float, side: int) -> NDArray[np.float32]:
    """Return (`GRID`, side) weights with which the pixels of a row are averaged to cells.

    Args:
        start: where the first cell begins, as a share of the row.
        stop: where the last cell ends.
        side: number of pixels in the row.
    """
    edges = np.linspace(start, stop, GRID + 1) * side
    pixels = np.arange(side)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(covered, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _pairs_touching(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return an (`NUM_BITS`,) mask of the pairs of which a cell touches one of (f, 4) boxes."""
    cells = np.zeros((GRID, GRID), dtype=bool)
    for box in boxes:
        # First and last corner, x and y.
        span = np.stack([box[:2] - BLURRED, box[:2] + box[2:] + BLURRED])
        span = (span - MARGIN) / (1 - 2 * MARGIN) * GRID
        (left, top), (right, bottom) = np.floor(span[0]), np.ceil(span[1])
        cells[_within(top) : _within(bottom), _within(left) : _within(right)] = True
    across, down = cells[:, 1:] | cells[:, :-1], cells[1:] | cells[:-1]
    return np.concatenate([across.ravel(), down.ravel()])


def _within(cell: float) -> int:
    return int(min(max(cell, 0), GRID))
