"""The metadata columns that photo lists add to photos: allowed types and reserved names."""

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
"""Arrow types that metadata columns may have, by the name that dataset.json stores."""

RESERVED_COLUMNS = frozenset(
    {
        # Columns of photos: faces.dataset.schema.PHOTO_SCHEMA.
        *("uri", "num_bytes", "mtime_ns", "photo_id", "width", "height", "num_faces"),
        *("status", "reason", "is_copy", "picture_hash", "kept_away", "partly_read"),
        # Columns of faces: faces.dataset.schema.face_schema.
        *("face_id", "box", "landmarks", "score", "face_size", "sharpness", "brightness"),
        *("yaw", "pitch", "roll", "embedding_norm", "embedding"),
        # Columns that reading a dataset adds: faces.dataset.store.Dataset.photos and faces.
        *("part", "faces_part", "also_at"),
        # Columns that listing photos and planning a job add.
        *("reading_order", "result_before"),
        # Columns to come: people that were named, and a list's columns beside ours of that name.
        *("person_id", "photo_person", "photo_taken", "photo_expression"),
    }
)
"""Names of facetrove's own columns, today's and those to come. No metadata column may have one."""

RESERVED_PREFIX = "facetrove_"
"""Beginning of names that facetrove may give to helper columns, and no metadata column may have."""


def is_reserved(name: str) -> bool:
    """Return whether no metadata column of a photo list may have a name."""
    return name in RESERVED_COLUMNS or name.startswith(RESERVED_PREFIX)
