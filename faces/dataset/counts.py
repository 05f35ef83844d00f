"""Numbers of photos and faces in a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.schema import Certainty, last_rows


@dataclass(frozen=True)
class DatasetCounts:
    """Numbers of photos and faces in a dataset.

    Attributes:
        num_photos: number of photos, rejected ones and copies included.
        num_faces: number of faces, those of photos with the same content counted once.
        num_copies: number of photos beyond the first of each content.
        by_status: number of photos by `faces.dataset.schema.PhotoStatus`.
        by_reason: number of rejected photos by `faces.photos.rejection.RejectReason`.
        num_kept_away: number of faces that were found and kept away, because they were deleted on
            request before; see `Dataset.kept_away`.
        num_uncertain: number of these that may be faces of another photo, such as one that was
            taken right before: somebody should look at them.
        by_partly_read: number of photos of which a part was not looked at, by
            `faces.photos.rejection.PartlyRead`.
    """

    num_photos: int
    num_faces: int
    num_copies: int
    by_status: dict[str, int]
    by_reason: dict[str, int]
    num_kept_away: int = 0
    num_uncertain: int = 0
    by_partly_read: dict[str, int] = field(default_factory=dict)


COUNTED_COLUMNS = ("num_faces", "reason", "kept_away", "partly_read")
"""Columns that `count_photos` needs beside those that `Dataset.photos` always returns."""


def count_photos(photos: pa.Table) -> DatasetCounts:
    """Count photos and their faces, given rows of `Dataset.photos` with `COUNTED_COLUMNS`."""
    contents = photos.filter(pc.is_valid(photos["photo_id"]))
    once = contents.take(last_rows(contents, "photo_id"))
    kept = pc.list_flatten(photos["kept_away"].combine_chunks())
    digests, certainty = (pc.struct_field(kept, name) for name in ("digest", "certainty"))
    uncertain = digests.filter(pc.equal(certainty, Certainty.UNCERTAIN.value))
    return DatasetCounts(
        num_photos=len(photos),
        num_faces=pc.sum(once["num_faces"]).as_py() or 0,
        num_copies=len(contents) - len(once),
        by_status=_count_values(photos["status"]),
        by_reason=_count_values(photos["reason"].drop_null()),
        num_kept_away=len(digests.unique()),
        num_uncertain=len(uncertain.unique()),
        by_partly_read=_count_values(
            pc.list_flatten(pc.split_pattern(photos["partly_read"].drop_null(), ","))
        ),
    )


def _count_values(column: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}
