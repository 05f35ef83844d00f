"""The files of a segment: the one module that spells their names.

    vectors.npy    the embeddings; see indexer.vectors
    faces.arrow    the faces, row by row as the embeddings; see indexer.faces_file
    photos.arrow   the dataset's rows of photos that were read for the segment
    codes.faiss    a FAISS index of the same rows, which proposes candidates; none if exact

A segment's files never change once they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from faces.core.arrow_checks import require_values
from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import FileDigest, Folder
from faces.dataset.schema import PHOTO_SCHEMA
from faces.photos.metadata import METADATA_TYPES
from indexer.faces_file import BATCH_ROWS, stored_schema
from indexer.layout import REBUILD, SEGMENTS, index_folder, new_id, segment_folder
from indexer.manifest import SegmentEntry
from indexer.vectors import Vectors, write_vectors

VECTORS_FILE, FACES_FILE = "vectors.npy", "faces.arrow"
PHOTOS_FILE, CODES_FILE = "photos.arrow", "codes.faiss"

PHOTO_COLUMNS = ("uri", "photo_id", "width", "height", "status", "is_copy", "num_faces", "part")
"""The columns of photos.arrow beside the photos' metadata."""

_PHOTOS_SCHEMA = pa.schema(
    [
        *(PHOTO_SCHEMA.field(name) for name in PHOTO_COLUMNS if name != "part"),
        pa.field("part", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class FaceBatch:
    """A batch of faces to be written into a segment.

    Attributes:
        vectors: (m, d) float32 embeddings of unit length.
        faces: m rows with the columns of `indexer.faces_file.stored_schema`.
    """

    vectors: Vectors
    faces: pa.Table


@contextmanager
def new_segment(index_dir: Path) -> Iterator[Folder]:
    """Make the folder of a new segment; remove it again if the `with` block raises."""
    folder, name = index_folder(index_dir), f"{SEGMENTS}/{new_id()}"
    folder.make_folder(SEGMENTS)
    folder.make_folder(name)
    try:
        yield folder.folder(name)
    except BaseException:
        folder.remove_folder(name)
        raise


def write_faces(
    folder: Folder, batches: Iterable[FaceBatch], dimension: int, metadata: pa.Schema
) -> int:
    """Write vectors.npy and faces.arrow; return the number of faces.

    Args:
        folder: the segment's folder.
        batches: the segment's faces.
        dimension: number of dimensions of an embedding.
        metadata: the columns of the photos' metadata.
    """
    schema = stored_schema(metadata)
    with (
        write_vectors(folder, VECTORS_FILE, dimension) as vectors,
        folder.put(FACES_FILE) as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        waiting = schema.empty_table()
        for batch in batches:
            vectors.append(batch.vectors)
            waiting = pa.concat_tables([waiting, batch.faces.select(schema.names).cast(schema)])
            while len(waiting) >= BATCH_ROWS:
                _write_batch(writer, waiting.slice(0, BATCH_ROWS))
                waiting = waiting.slice(BATCH_ROWS)
        if len(waiting):
            _write_batch(writer, waiting)
    return vectors.num_rows


def _write_batch(writer: pa.RecordBatchWriter, table: pa.Table) -> None:
    (batch,) = table.combine_chunks().to_batches()
    writer.write_batch(batch)


def write_photos(folder: Folder, photos: pa.Table) -> None:
    """Write photos.arrow from rows of `Dataset.photo_rows`, for the next update to compare with."""
    for name in ("status", "part"):
        column_index = photos.schema.get_field_index(name)
        column = photos[name]
        if not pa.types.is_dictionary(column.type):
            column = pa.chunked_array([column.combine_chunks().dictionary_encode()])
        photos = photos.set_column(column_index, name, column.unify_dictionaries())
    write_arrow(folder, PHOTOS_FILE, photos.combine_chunks())


def read_photos(index_dir: Path, entry: SegmentEntry) -> pa.Table:
    """Read photos.arrow, with its dictionary-encoded columns as plain strings.

    Raises:
        CorruptFileError: the file is not what was written.
    """
    folder = segment_folder(index_dir, entry.segment_id)
    content = folder.mapped(PHOTOS_FILE, entry.files[PHOTOS_FILE])
    try:
        photos = read_arrow(content)
        metadata = [field for field in photos.schema if field.name not in _PHOTOS_SCHEMA.names]
        if any(field.type not in METADATA_TYPES.values() for field in metadata):
            raise pa.ArrowInvalid("a column has another type")
        photos = photos.select([*_PHOTOS_SCHEMA.names, *(field.name for field in metadata)])
        photos = photos.cast(pa.schema([*_PHOTOS_SCHEMA, *metadata]))
        require_values(photos, _PHOTOS_SCHEMA)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(PHOTOS_FILE)} is corrupt ({first_line(error)}); {REBUILD}"
        ) from error
    return photos


def digests(folder: Folder) -> dict[str, FileDigest]:
    """Compute the digests of a finished segment's files, by file name."""
    return {name: folder.digest(name) for name in sorted(folder.names())}
