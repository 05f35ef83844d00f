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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError

Hashes = NDArray[np.float32]
"""(n, `NUM_BITS`) float32: 1 brighter, -1 darker, 0 not compared."""

PackedHashes = NDArray[np.uint64]
"""(n, 16) uint64: the bits of stored hashes, those of each half filled up to whole words."""

GRID = 16
"""Number of cells along each side of the hashed part of a photo."""

MARGIN = 0.05
"""Share of a photo's width and height that is left out on each side before it is hashed, so that a
copy that lost as much has the same hash."""

NUM_BITS = 2 * GRID * (GRID - 1)
"""Number of pairs of neighbouring cells."""

HASH_BYTES = 2 * NUM_BITS // 8
"""Length of a stored hash: a bit for each pair that is compared, then a bit for brighter."""

_HALF_WORDS = -(-HASH_BYTES // 2 // 8)
"""Number of words of 64 bits that hold half a hash."""

MIN_DIFFERENCE, MIN_OF_MEDIAN = 1.0, 0.3
"""Minimum difference between two cells that are compared: in grey levels of 256, and as a share of
the photo's median difference. Smaller ones change sign when a copy is compressed again."""

BLURRED = 0.025
"""Width of the margin around a face in which the pixels of a thumbnail may have something of it, as
a share of the photo: one and a half pixels of 64."""

MIN_BITS = 48
"""Minimum number of compared pairs of a hash that is used at all. With fewer, which is so where
faces fill a photo, other photos agree by chance."""

DARKEST, BRIGHTEST = 2.0, 253.0
"""Grey levels beyond which a change of exposure has erased differences: pairs of such cells of a
photo are not compared. Without this, 0.8% of the copies that are a stop brighter are missed."""

_CUT = MARGIN / (1 - MARGIN)
"""Share of a copy that lost `MARGIN` on one side, of the margin on the other side."""

WINDOWS = (
    *((cut, cut, 1 - cut, 1 - cut) for cut in (0.0, 0.025, MARGIN, 0.075, 0.1)),
    (0.0, MARGIN, 1 - _CUT, 1 - MARGIN),
    (_CUT, MARGIN, 1.0, 1 - MARGIN),
    (MARGIN, 0.0, 1 - MARGIN, 1 - _CUT),
    (MARGIN, _CUT, 1 - MARGIN, 1.0),
)
"""Windows of a photo that are compared with a hash: left, top, right and bottom as shares of the
photo. That of `MARGIN` is the hashed part of the photo itself; that of 0 the same of a copy that
lost 5% on each side, and that of 0.1 the other way round. The last four are for copies that lost 5%
on one side."""

WHOLE = 2
"""Number of the window in which a photo agrees with its own hash."""

BLOCK_PHOTOS = 64
"""Number of photos that are compared with all hashes at once, which bounds the memory."""


SAME_PICTURE = 0.95
"""Minimum agreement of two hashes of one picture. Of copies of 366 photos of LFW, at 0.4 to 2 times
the size and of JPEG quality 60, each agrees with its original by 0.99 or more. Of 2,439 pairs of
different photos of one person, whose faces are in the same place, none agrees by 0.8."""


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
    differences = _differences(_cells(np.stack(thumbnails), WINDOWS[WHOLE]))
    compared = np.stack([~_pairs_touching(of_photo) for of_photo in boxes])
    size = np.where(compared, np.abs(differences), np.nan)  # a face has no part in the median
    with warnings.catch_warnings(action="ignore"):  # faces may fill a photo
        median = np.nan_to_num(np.nanmedian(size, axis=1, keepdims=True))
    compared &= np.nan_to_num(size) >= np.maximum(MIN_DIFFERENCE, MIN_OF_MEDIAN * median)
    bits = np.concatenate([compared, compared & (differences > 0)], axis=1)
    return [packed.tobytes() for packed in np.packbits(bits, axis=1)]


def unpack_hashes(stored: Sequence[bytes]) -> Hashes:
    """Return n stored hashes as (n, `NUM_BITS`) float32.

    Raises:
        CorruptFileError: a hash has another length.
    """
    if any(len(one) != HASH_BYTES for one in stored):
        raise CorruptFileError(
            f"a stored hash of a picture has another length than {HASH_BYTES} bytes, so the "
            "dataset is corrupt; embed the photos into a new one"
        )
    packed = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), HASH_BYTES)
    bits = np.unpackbits(packed, axis=1).astype(np.float32)
    compared, brighter = bits[:, :NUM_BITS], bits[:, NUM_BITS:]
    return 2 * brighter - compared


def num_compared(hashes: Hashes) -> NDArray[np.int64]:
    """Return the (n,) numbers of pairs of cells that n hashes compare."""
    return np.asarray(np.count_nonzero(hashes, axis=1), np.int64)


def packed_hashes(stored: Sequence[bytes]) -> PackedHashes:
    """Return n stored hashes, each of `HASH_BYTES` bytes, for `same_pictures`."""
    halves = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), 2, HASH_BYTES // 2)
    words = np.zeros((len(stored), 2, 8 * _HALF_WORDS), np.uint8)
    words[:, :, : HASH_BYTES // 2] = halves
    return words.reshape(len(stored), 16 * _HALF_WORDS).view(np.uint64)


def same_pictures(hashes: PackedHashes, others: PackedHashes) -> NDArray[np.bool_]:
    """Return which hashed photos show the same picture as others, in whatever size: (n, m) bool.

    Hashes that compare fewer than `MIN_BITS` pairs in common do not tell, and are not the same. The
    bits are counted, as products of small matrices would wait for threads.

    Args:
        hashes: (n, w) uint64, from `packed_hashes`.
        others: (m, w) uint64, likewise.
    """
    shape = (len(hashes), len(others))
    compared, differing = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    for word in range(_HALF_WORDS):
        both = hashes[:, None, word] & others[None, :, word]
        brighter = hashes[:, None, _HALF_WORDS + word] ^ others[None, :, _HALF_WORDS + word]
        compared += np.bitwise_count(both)
        differing += np.bitwise_count(both & brighter)
    agreement = compared - 2 * differing
    return np.asarray((compared >= MIN_BITS) & (agreement >= SAME_PICTURE * compared))


def compare_pictures(thumbnails: NDArray[np.uint8], hashes: Hashes) -> Comparison:
    """Compare each of n photos with each of m hashes.

    Args:
        thumbnails: (n, 64, 64) grey images of whole photos.
        hashes: (m, `NUM_BITS`), from `unpack_hashes`.
    """
    shape = (len(thumbnails), len(hashes))
    agreement, window = np.full(shape, -1, np.float32), np.zeros(shape, np.int64)
    by_pair = np.ascontiguousarray(hashes.T)
    for start in range(0, len(thumbnails), BLOCK_PHOTOS):
        block = slice(start, start + BLOCK_PHOTOS)
        for number, cut in enumerate(WINDOWS):
            here = _agreement(_cells(thumbnails[block], cut), by_pair)
            better = here > agreement[block]
            agreement[block][better] = here[better]
            window[block][better] = number
    return Comparison(agreement, window)


def _agreement(cells: NDArray[np.float32], by_pair: Hashes) -> NDArray[np.float32]:
    """Return the (n, m) agreement of n photos in one window with m hashes; -1 if undecided.

    Args:
        cells: (n, `GRID`, `GRID`) grey levels.
        by_pair: (`NUM_BITS`, m), the hashes, transposed.
    """
    signs, erased = np.sign(_differences(cells)), _erased(cells)
    signs[erased] = 0
    compared = np.broadcast_to(np.abs(by_pair).sum(axis=0), (len(cells), by_pair.shape[1])).copy()
    some = erased.any(axis=1)
    compared[some] -= erased[some].astype(np.float32) @ np.abs(by_pair)
    decided = compared >= MIN_BITS
    return np.where(decided, (signs @ by_pair) / np.maximum(compared, 1), np.float32(-1))


def _erased(cells: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return an (n, `NUM_BITS`) mask of the pairs of cells that are both black or both white."""
    masks = []
    for beyond in (cells <= DARKEST, cells >= BRIGHTEST):
        across, down = beyond[:, :, 1:] & beyond[:, :, :-1], beyond[:, 1:] & beyond[:, :-1]
        masks.append(_joined(across, down))
    return np.asarray(masks[0] | masks[1])


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


def _differences(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (n, `NUM_BITS`) differences of neighbouring cells of n photos."""
    return _joined(cells[:, :, 1:] - cells[:, :, :-1], cells[:, 1:] - cells[:, :-1])


def _joined(across: NDArray[Any], down: NDArray[Any]) -> NDArray[Any]:
    """Return values of the pairs beside each other and above each other as (n, `NUM_BITS`)."""
    n = len(across)
    return np.concatenate([across.reshape(n, -1), down.reshape(n, -1)], axis=1)


def _cells(
    thumbnails: NDArray[np.uint8], window: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Return the (n, `GRID`, `GRID`) mean grey levels of the cells in a window of n thumbnails."""
    left, top, right, bottom = window
    side = thumbnails.shape[1]
    rows, columns = _cell_weights(top, bottom, side), _cell_weights(left, right, side)
    return np.asarray(rows @ thumbnails.astype(np.float32) @ columns.T, np.float32)


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
    return np.asarray(_joined(across[None], down[None])[0], bool)


def _within(cell: float) -> int:
    return int(min(max(cell, 0), GRID))
