"""Columns of a shard's photos: when they were taken, and which rows are news to the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from faces.photos.metadata import TAKEN, as_taken
from faces.photos.rejection import TRANSIENT_REASONS


def taken_columns(
    taken: Mapping[int, datetime | None], by_lists: pa.ChunkedArray | None, schema: pa.Schema
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Return the columns that say when the photos were taken.

    Args:
        taken: what the photos say, by row.
        by_lists: (n,) what photo lists say, which counts first; None: nothing.
        schema: the dataset's `photo_schema`.
    """
    number = len(taken)
    of_photos = pa.array([taken.get(row) for row in range(number)], pa.timestamp("us"))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"exif_taken": of_photos}
    if TAKEN in schema.names:
        columns[TAKEN] = as_taken(of_photos, schema.field(TAKEN).type)
        if by_lists is not None:
            columns[TAKEN] = pc.coalesce(by_lists, columns[TAKEN])
    return columns


def is_news(reason: pa.ChunkedArray, before: pa.ChunkedArray) -> pa.Array:
    """Return a mask of rows to keep: a transient reason replaces neither a result nor itself."""
    transient = pc.is_in(reason, value_set=pa.array([r.value for r in TRANSIENT_REASONS]))
    nothing_new = pc.or_(pc.equal(before, ""), pc.equal(before, reason))
    return pc.invert(pc.and_(transient, pc.fill_null(nothing_new, False)))
