"""What is new, changed or gone in a dataset since an index was made of it.

An index keeps the rows of photos that it was made from (photos.arrow of its segments), so only the
dataset's new parts are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.deletions import Deletions, face_digests
from faces.dataset.schema import PhotoStatus, last_rows, standing_photos
from faces.dataset.store import Dataset
from indexer.faces_file import Faces, with_columns
from indexer.manifest import SegmentEntry
from indexer.segment_files import PHOTO_COLUMNS, read_photos


@dataclass(frozen=True)
class Changes:
    """What an update has to do.

    Attributes:
        photo_rows: of the parts that are new to the index, as `Dataset.photo_rows` gives them.
        photos: photos as they now stand whose faces are to be read, with metadata.
        outdated: (n,) string, contents of which the index must forget what it has.
    """

    photo_rows: pa.Table
    photos: pa.Table
    outdated: pa.Array

    @property
    def num_faces(self) -> int:
        """Faces to be read."""
        once = self.photos.take(last_rows(self.photos, "photo_id"))
        return int(pc.sum(once["num_faces"]).as_py() or 0)

    @property
    def is_empty(self) -> bool:
        """Whether the index has read everything there is."""
        return len(self.photo_rows) == 0


def everything(source: Dataset) -> Changes:
    """What a first build has to do."""
    rows = source.photo_rows(_columns(source))
    return Changes(rows, _embedded(standing_photos(rows)), pa.array([], pa.string()))


def changes_since(source: Dataset, known: pa.Table) -> Changes | None:
    """Compare a dataset with the rows of photos that an index has read.

    Returns:
        None if parts that the index has read are gone: it is to be built anew.
    """
    parts = set(source.committed_parts())
    known_parts = set(pc.unique(known["part"]).to_pylist())
    if not known_parts <= parts:
        return None
    new = source.photo_rows(_columns(source), parts=sorted(parts - known_parts))
    known = with_columns(known, new.schema).select(new.column_names).cast(new.schema)
    # Contents that a new row is of, and those that were where a new row now is.
    new_uris = new["uri"].combine_chunks()
    moved = known.filter(pc.is_in(known["uri"], value_set=new_uris))
    touched = pa.concat_arrays(
        [table["photo_id"].drop_null().combine_chunks() for table in (new, moved)]
    ).unique()
    # To know how these stand takes all rows of theirs, and of the places they ever had.
    theirs = known.filter(pc.is_in(known["photo_id"], value_set=touched))
    uris = pa.concat_arrays([new_uris, theirs["uri"].combine_chunks()]).unique()
    concerned = pc.or_(
        pc.is_in(known["uri"], value_set=uris), pc.is_in(known["photo_id"], value_set=touched)
    )
    rows = pa.concat_tables([known.filter(concerned), new])
    rows = rows.take(pc.sort_indices(rows["part"]))
    standing = _embedded(standing_photos(rows))
    standing = standing.filter(pc.is_in(standing["photo_id"], value_set=touched))
    return Changes(new, standing, touched)


def indexed_photos(index_dir: Path, entries: Sequence[SegmentEntry]) -> pa.Table:
    """The rows of photos that an index has read."""
    return joined_photos([read_photos(index_dir, entry) for entry in entries])


def joined_photos(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of photos that were read at different times, null in columns that came later."""
    return pa.concat_tables(tables, promote_options="default")


def outdated_rows(faces: Faces, changes: Changes) -> NDArray[np.bool_]:
    """(n,) bool, which faces of a segment an update supersedes."""
    if len(changes.outdated) == 0:
        return np.zeros(len(faces), dtype=bool)
    return rows_in(faces, "photo_id", changes.outdated)


def deleted_rows(faces: Faces, deletions: Deletions) -> NDArray[np.bool_]:
    """(n,) bool, which faces of a segment were deleted from the dataset."""
    found = [
        pc.is_in(face_digests(batch.column("face_id")), value_set=deletions.digests)
        for batch in faces.batches()
    ]
    return _joined(found)


def rows_in(faces: Faces, column: str, values: pa.Array) -> NDArray[np.bool_]:
    """(n,) bool, which faces of a segment have one of some values in a column of texts."""
    found = [pc.is_in(batch.column(column), value_set=values) for batch in faces.batches()]
    return _joined(found)


def _joined(found: list[pa.Array]) -> NDArray[np.bool_]:
    empty = np.zeros(0, dtype=bool)
    return np.concatenate([empty, *(part.to_numpy(zero_copy_only=False) for part in found)])


def _columns(source: Dataset) -> list[str]:
    return [*(name for name in PHOTO_COLUMNS if name != "part"), *source.metadata.names]


def _embedded(photos: pa.Table) -> pa.Table:
    return photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
