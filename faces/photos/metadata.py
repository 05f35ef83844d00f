"""Columns that photo lists add to photos: their types, and the names they may not have."""

from __future__ import annotations

import pyarrow as pa

METADATA_TYPES = {
    str(kind): kind
    for kind in (
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("us"),
    )
}
"""Types of the columns that photo lists may add to a dataset's photos, by their stored names."""

RESERVED_COLUMNS = frozenset(
    {
        # Of a photo: faces.dataset.schema.PHOTO_SCHEMA.
        *("uri", "num_bytes", "mtime_ns", "photo_id", "width", "height", "num_faces"),
        *("status", "reason", "is_copy"),
        # Of a face: faces.dataset.schema.face_schema.
        *("face_id", "box", "landmarks", "score", "face_size", "sharpness", "brightness"),
        *("yaw", "pitch", "roll", "embedding_norm", "embedding"),
        # What reading a dataset adds: faces.dataset.store.Dataset.photos and faces.
        *("part", "faces_part", "also_at"),
        # What listing and planning a job add.
        *("reading_order", "result_before"),
    }
)
"""Names of the program's own columns: a photo list may not have one of its own by such a name."""
