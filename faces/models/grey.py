"""Crops of ArcFace's template made grey and smaller, by products with two matrices.

A pixel of the result is the mean of the area of the crop that it covers. Rows, columns and colours
are averaged by matrix products, since a graph that begins so needs no transposition of its input,
which takes as long as a convolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CROP_SHAPE = (112, 112, 3)
"""Height, width and colours of a crop by ArcFace's template."""

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""


def grey_products(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matrices that make a crop grey and smaller.

    Args:
        side: side of the result in pixels, 1 to 112.

    Returns:
        (side, 112) float32 rows and (336, side) float32 columns: of a crop as (112, 336), rows
        times crop times columns is the (side, side) grey picture, 0 to 255.
    """
    height, width, _ = CROP_SHAPE
    columns = np.kron(_area_shares(width, side), np.array(GREY)[:, None])
    return _area_shares(height, side).T.astype(np.float32), columns.astype(np.float32)


def _area_shares(size: int, side: int) -> NDArray[np.float64]:
    """Return (size, side) shares of old pixels in new ones, which sum to 1 for a new pixel."""
    edges = np.arange(side + 1) * size / side
    old = np.arange(size)[:, None]
    overlap = np.minimum(old + 1, edges[1:]) - np.maximum(old, edges[:-1])
    return np.asarray(np.maximum(overlap, 0.0) * side / size)
