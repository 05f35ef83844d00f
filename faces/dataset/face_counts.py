"""The face counts and statuses of photos that lost faces, for good or until they are taken back."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.deletions import Deletions
from faces.dataset.schema import PhotoStatus, with_column


def without_faces(
    photos: pa.Table, faces: pa.Table, deleted: pa.Array
) -> tuple[pa.Table, pa.Table]:
    """Return photos and faces with some faces removed and the photos' face counts corrected.

    Args:
        photos: rows of photos.
        faces: n rows of faces, with all faces of a photo or none.
        deleted: (n,) bool, the mask of the faces to remove.
    """
    reduced = faces["photo_id"].filter(deleted).unique()
    faces = faces.filter(pc.invert(deleted))
    return with_face_counts(photos, reduced, faces["photo_id"].value_counts()), faces


def with_face_counts(photos: pa.Table, reduced: pa.Array, remaining: pa.StructArray) -> pa.Table:
    """Return photos with the face counts and statuses of contents that lost faces corrected.

    Args:
        photos: rows of photos.
        reduced: (n,) string, photo_ids of the contents that lost faces.
        remaining: numbers of faces that are left by photo_id, from Arrow's `value_counts`; a
            content that is not listed has none left.
    """
    affected = pc.is_in(photos["photo_id"], value_set=reduced)
    if not pc.any(affected).as_py():
        return photos
    content = pc.index_in(photos["photo_id"], value_set=remaining.field("values"))
    counts = pc.fill_null(remaining.field("counts").take(content), 0).cast(pa.int32())
    counts = pc.if_else(affected, counts, photos["num_faces"])
    emptied = pc.and_(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value), pc.equal(counts, 0))
    columns = {
        "num_faces": counts,
        "status": pc.if_else(emptied, PhotoStatus.DELETED.value, photos["status"]),
        "is_copy": pc.and_(photos["is_copy"], pc.invert(emptied)),
    }
    return _with_columns(photos, columns)


def without_withheld(photos: pa.Table, deletions: Deletions) -> pa.Table:
    """Return rows of photos as they are while faces are withheld.

    Args:
        photos: current rows of photos, which say what the parts hold.
        deletions: the dataset's deletions.

    Returns:
        The rows with the number of faces that readers see, where there is a column `num_faces`,
        and with the status `deleted` where no face is seen any more.
    """
    if not len(deletions.pending):
        return photos
    content = photos["photo_id"]
    emptied = pc.is_in(content, value_set=deletions.hidden_contents)
    counted = deletions.withheld_per_content
    lost = counted.field("counts").take(pc.index_in(content, value_set=counted.field("values")))
    embedded = pc.equal(photos["status"], PhotoStatus.EMBEDDED.value)
    emptied = pc.and_(emptied, embedded)
    columns = {
        "status": pc.if_else(emptied, PhotoStatus.DELETED.value, photos["status"]),
        "is_copy": pc.and_(photos["is_copy"], pc.invert(emptied)),
    }
    if "num_faces" in photos.column_names:
        # Faces may have other ids since their photo was embedded again, but one is left.
        left = pc.max_element_wise(pc.subtract(photos["num_faces"], pc.fill_null(lost, 0)), 1)
        fewer = pc.and_(embedded, pc.is_valid(lost))
        counts = pc.if_else(fewer, left.cast(pa.int32()), photos["num_faces"])
        columns["num_faces"] = pc.if_else(emptied, 0, counts).cast(pa.int32())
    return _with_columns(photos, columns)


def _with_columns(photos: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    for name, values in columns.items():
        photos = with_column(photos, name, values)
    return photos
