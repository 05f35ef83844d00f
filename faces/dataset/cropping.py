"""Cutting the crops of faces that a dataset has, out of the photos where they were found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.models.alignment import ARCFACE_112
from faces.models.pipeline import MAX_ENLARGED
from faces.photos.decoding import REDUCTIONS, Photo
from faces.photos.limited import ReadingRules, decode_limited, read_limited
from faces.photos.rejection import PhotoRejectedError

FACE_COLUMNS = ("face_id", "photo_id", "uri", "also_at", "box", "landmarks")
"""Columns of the faces to cut."""


def cut_crops(
    faces: pa.Table,
    rules: ReadingRules = ReadingRules(),
    *,
    reduction_for: Callable[[int], int] = lambda _: 1,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Cut faces out of their photos by the alignment of the embed job, ArcFace's template.

    Args:
        faces: faces with `FACE_COLUMNS`; those of one content stand together.
        rules: rules for reading photos.
        reduction_for: the detector's function that says how far the job reduces a photo of a given
            longer side; by default no photo is reduced, which is slower.

    Yields:
        The face_id and the (112, 112, 3) uint8 RGB crop of each face whose photo still has the
        content that it was found in, at any of its places.
    """
    for photo_id, rows in groupby(faces.to_pylist(), key=lambda row: row["photo_id"]):
        found = list(rows)
        shapes = [
            (np.array(row["box"], np.float32), np.array(row["landmarks"], np.float32).reshape(5, 2))
            for row in found
        ]
        detail = max(ARCFACE_112.pixels_needed(*shape) for shape in shapes)
        enough = next((r for r in REDUCTIONS if detail * r <= MAX_ENLARGED), 1)
        uris = [found[0]["uri"], *(found[0]["also_at"] or ())]
        photo = _read(uris, photo_id, rules, lambda side: min(enough, reduction_for(side)))  # noqa: B023
        if photo is None:
            continue
        scale = np.float32(photo.reduction)
        for row, (box, landmarks) in zip(found, shapes, strict=True):
            yield row["face_id"], ARCFACE_112.crop(photo.image, box / scale, landmarks / scale)


def _read(
    uris: Sequence[str], photo_id: str, rules: ReadingRules, reduction_for: Callable[[int], int]
) -> Photo | None:
    """Decode a photo from the first of its uris that still has the content with this photo_id.

    Returns:
        The photo, reduced as `reduction_for` says; None where no uri has it any more.
    """
    for uri in uris:
        try:
            content = read_limited(uri, rules)
            if hashlib.sha256(content).hexdigest() == photo_id:
                return decode_limited(content, limits=rules.limits, reduction_for=reduction_for)
        except PhotoRejectedError:
            continue
    return None
