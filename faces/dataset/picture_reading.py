"""Hashing the photos of deleted faces that were embedded before photos had hashes."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.progress import OnProgress, Progress
from faces.dataset.deleted_pictures import as_pictures, relative_boxes
from faces.dataset.picture_hash import hash_pictures
from faces.photos.thumbnails import read_thumbnail


def pictures_read(faces: pa.Table, on_progress: OnProgress) -> pa.Table:
    """Return what is kept of the photos of faces, from the photos as far as they can be read.

    Args:
        faces: the second result of `faces.dataset.deleted_pictures.pictures_of`.
        on_progress: called before each photo.

    Returns:
        Rows of `PICTURES_SCHEMA`.
    """
    boxes = relative_boxes(faces["box"], faces["width"], faces["height"])
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    keys = zip(faces["uri"].to_pylist(), faces["photo_id"].to_pylist(), strict=True)
    for row, key in enumerate(keys):
        rows[key].append(row)
    hashes: list[bytes | None] = [None] * len(faces)
    for number, ((uri, photo_id), of_photo) in enumerate(rows.items()):
        on_progress(Progress("reading the photos of deleted faces", number, len(rows)))
        image = read_thumbnail(uri, photo_id)
        if image is not None:
            (picture_hash,) = hash_pictures([image], [boxes[of_photo]])
            for row in of_photo:
                hashes[row] = picture_hash
    faces = faces.append_column("picture_hash", pa.array(hashes, pa.binary()))
    return as_pictures(faces.filter(pc.is_valid(faces["picture_hash"])))
