"""Compare a dataset with an index: which photos and faces are new, changed or gone.

An index keeps the rows of photos that it was made from (photos.arrow of each segment), so an update
reads only the dataset's new parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.dataset.deletions import Deletions, face_digests
from faces.dataset.schema import PhotoStatus, current_photos, last_rows
from faces.dataset.store import Dataset
from indexer.faces_file import Faces, with_columns
from indexer.layout import REBUILD
from indexer.manifest import SegmentEntry
from indexer.segment_files import PHOTO_COLUMNS, read_photos


@dataclass(frozen=True)
class Changes:
    """The changes in a dataset that an update of an index has to apply.

    Attributes:
        photo_rows: rows of the parts that are new to the index, as from `Dataset.photo_rows`.
        photos: current rows of the photos whose faces are to be read, as from `Dataset.photos`,
            with their metadata.
        outdated: (n,) string, photo ids whose faces are to be removed from older segments.
    """

    photo_rows: pa.Table
    photos: pa.Table
    outdated: pa.Array

    @property
    def num_faces(self) -> int:
        """The number of faces to be read."""
        once = self.photos.take(last_rows(self.photos, "photo_id"))
        return int(pc.sum(once["num_faces"]).as_py() or 0)

    @property
    def is_empty(self) -> bool:
        """Whether the index has read every part of the dataset, and lacks no face of it."""
        return len(self.photo_rows) == len(self.outdated) == 0


def all_changes(source: Dataset) -> Changes:
    """Return the changes that a full build applies: all photos of the dataset."""
    rows = source.photo_rows(_columns(source))
    return Changes(rows, _embedded(current_photos(rows)), pa.array([], pa.string()))


def changes_since(
    source: Dataset, indexed: pa.Table, incomplete: pa.Array | None = None
) -> Changes | None:
    """Compare a dataset with the rows of photos that an index has read.

    Args:
        source: the dataset.
        indexed: the rows of photos that the index was made from, as from `indexed_photos`.
        incomplete: (n,) string, photo ids whose faces are to be read again; None: no photo's.

    Returns:
        The changes; None if parts that the index has read are gone, so that it must be built again.
    """
    parts = set(source.committed_parts())
    indexed_parts = set(pc.unique(indexed["part"]).to_pylist())
    if not indexed_parts <= parts:
        return None
    new = source.photo_rows(_columns(source), parts=sorted(parts - indexed_parts))
    indexed = with_columns(indexed, new.schema).select(new.column_names).cast(new.schema)
    # Contents that the new rows belong to, and contents that these uris had before.
    new_uris = new["uri"].combine_chunks()
    moved = indexed.filter(pc.is_in(indexed["uri"], value_set=new_uris))
    columns = [table["photo_id"].drop_null().combine_chunks() for table in (new, moved)]
    if incomplete is not None:
        columns.append(incomplete)
    touched = pa.concat_arrays(columns).unique()
    # Which of these contents' photos are current depends on all their rows, and on all rows of
    # every uri that they ever had.
    rows_of_touched = indexed.filter(pc.is_in(indexed["photo_id"], value_set=touched))
    uris = pa.concat_arrays([new_uris, rows_of_touched["uri"].combine_chunks()]).unique()
    affected = pc.or_(
        pc.is_in(indexed["uri"], value_set=uris), pc.is_in(indexed["photo_id"], value_set=touched)
    )
    rows = pa.concat_tables([indexed.filter(affected), new])
    rows = rows.take(pc.sort_indices(rows["part"]))
    standing = _embedded(current_photos(rows))
    standing = standing.filter(pc.is_in(standing["photo_id"], value_set=touched))
    return Changes(new, standing, touched)


def indexed_photos(index_dir: Path, entries: Sequence[SegmentEntry]) -> pa.Table:
    """Return the rows of photos that an index has read, from all its segments."""
    return joined_photos([read_photos(index_dir, entry) for entry in entries])


def joined_photos(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables of photos; columns that an older table lacks are null in its rows.

    Raises:
        CorruptFileError: tables have columns of one name and of different types.
    """
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise CorruptFileError(
            f"segments of the index do not go together ({first_line(error)}); {REBUILD}"
        ) from error


def outdated_rows(faces: Faces, changes: Changes) -> NDArray[np.bool_]:
    """Return (n,) bool: which of a segment's n faces an update replaces."""
    if len(changes.outdated) == 0:
        return np.zeros(len(faces), dtype=bool)
    return rows_in(faces, "photo_id", changes.outdated)


def deleted_rows(faces: Faces, deletions: Deletions) -> NDArray[np.bool_]:
    """Return (n,) bool: which of a segment's n faces were deleted from the dataset."""
    found = [
        pc.is_in(face_digests(batch.column("face_id")), value_set=deletions.digests)
        for batch in faces.batches()
    ]
    return _joined(found)


def rows_in(faces: Faces, column: str, values: pa.Array) -> NDArray[np.bool_]:
    """Return (n,) bool: which of a segment's n faces have one of `values` in a string column."""
    found = [pc.is_in(batch.column(column), value_set=values) for batch in faces.batches()]
    return _joined(found)


def _joined(found: list[pa.Array]) -> NDArray[np.bool_]:
    empty = np.zeros(0, dtype=bool)
    return np.concatenate([empty, *(part.to_numpy(zero_copy_only=False) for part in found)])


def _columns(source: Dataset) -> list[str]:
    return [*(name for name in PHOTO_COLUMNS if name != "part"), *source.metadata.names]


def _embedded(photos: pa.Table) -> pa.Table:
    """Return the photos that have faces.

    A purge may have taken all faces of a content out of its parts since the index read the row of a
    copy: that row says embedded, and no part has the faces.
    """
    is_embedded = pc.equal(photos["status"], PhotoStatus.EMBEDDED.value)
    return photos.filter(pc.and_(is_embedded, pc.is_valid(photos["faces_part"])))
