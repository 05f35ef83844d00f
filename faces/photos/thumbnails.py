"""Small grey images of whole photos, from which `faces.dataset.picture_hash` makes hashes."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from faces.core.settings import PhotoLimits
from faces.photos.decoding import REDUCTIONS, Image
from faces.photos.limited import decode_limited
from faces.photos.opencv import cv2
from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError

Thumbnail = NDArray[np.uint8]
"""A whole photo as a (64, 64) grey image, whatever the photo's shape."""

THUMBNAIL_SIDE = 64
"""Side of a thumbnail in pixels."""

_SAMPLED_SIDE = 2 * THUMBNAIL_SIDE
"""Side in pixels of the image that a photo is sampled to first. Averaging over every pixel, as
OpenCV's INTER_AREA does, would take 20 ms for 1.5 megapixels; this takes 0.05 ms."""


def thumbnail(image: Image) -> Thumbnail:
    """Return the thumbnail of a decoded photo.

    Args:
        image: (H, W, 3) uint8 RGB, upright.
    """
    sampled = cv2.resize(image, (_SAMPLED_SIDE, _SAMPLED_SIDE), interpolation=cv2.INTER_LINEAR)
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = cv2.resize(sampled, side, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def read_thumbnail(uri: str, photo_id: str) -> Thumbnail | None:
    """Read a photo and return its thumbnail.

    Args:
        uri: where the photo is.
        photo_id: sha256 of the content that is expected there.

    Returns:
        The thumbnail; None where the photo cannot be read any more, or has another content now.
    """
    limits = PhotoLimits()
    try:
        content = read_photo(uri, limits.max_bytes)
        if hashlib.sha256(content).hexdigest() != photo_id:
            return None
        photo = decode_limited(content, limits=limits, reduction_for=_reduction_for)
        return thumbnail(photo.image)
    except (PhotoRejectedError, MemoryError):
        return None


def _reduction_for(longer_side: int) -> int:
    return next((r for r in REDUCTIONS if longer_side >= 2 * _SAMPLED_SIDE * r), 1)
