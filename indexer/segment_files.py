"""The files of a segment: the one module that spells their names.

    vectors.npy    the embeddings; see indexer.vectors
    faces.arrow    the faces, row by row as the embeddings; see indexer.faces_file
    photos.arrow   the dataset's rows of photos that were read for the segment
    codes.faiss    a FAISS index of the same rows, which proposes candidates; none if exact

A segment's files never change once they are written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.arrow_files import write_arrow
from faces.core.files import atomic_write, sync_dir
from faces.core.folders import make_inner_folder
from indexer.faces_file import BATCH_ROWS, faces_schema
from indexer.layout import new_id, segment_dir
from indexer.manifest import FileDigest, SegmentEntry
from indexer.vectors import Vectors, write_vectors

VECTORS_FILE, FACES_FILE = "vectors.npy", "faces.arrow"
PHOTOS_FILE, CODES_FILE = "photos.arrow", "codes.faiss"

PHOTO_COLUMNS = ("uri", "photo_id", "width", "height", "status", "is_copy", "num_faces", "part")
"""The columns of photos.arrow beside the photos' metadata."""


@dataclass(frozen=True)
class FaceBatch:
    """A batch of faces to be written into a segment.

    Attributes:
        vectors: (m, d) float32 embeddings of unit length.
        faces: m rows with the columns of `indexer.faces_file.faces_schema`.
    """

    vectors: Vectors
    faces: pa.Table


@contextmanager
def new_segment_dir(index_dir: Path) -> Iterator[Path]:
    """Make a folder for a new segment; remove it again if the `with` block raises."""
    folder = segment_dir(index_dir, new_id())
    make_inner_folder(folder.parent, exist_ok=True)
    sync_dir(index_dir)
    make_inner_folder(folder)
    try:
        yield folder
        sync_dir(folder.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_faces(
    folder: Path, batches: Iterable[FaceBatch], dimension: int, metadata: pa.Schema
) -> int:
    """Write vectors.npy and faces.arrow; return the number of faces.

    Args:
        folder: path of the segment's folder.
        batches: the segment's faces.
        dimension: number of dimensions of an embedding.
        metadata: the columns of the photos' metadata.
    """
    schema = faces_schema(metadata)
    with (
        write_vectors(folder / VECTORS_FILE, dimension) as vectors,
        atomic_write(folder / FACES_FILE) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
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


def write_photos(folder: Path, photos: pa.Table) -> None:
    """Write photos.arrow from rows of `Dataset.photo_rows`, for the next update to compare with."""
    for name in ("status", "part"):
        column_index = photos.schema.get_field_index(name)
        column = photos[name]
        if not pa.types.is_dictionary(column.type):
            column = pa.chunked_array([column.combine_chunks().dictionary_encode()])
        photos = photos.set_column(column_index, name, column.unify_dictionaries())
    write_arrow(folder / PHOTOS_FILE, photos.combine_chunks())


def read_photos(index_dir: Path, entry: SegmentEntry) -> pa.Table:
    """Read photos.arrow, with its dictionary-encoded columns as plain strings.

    Raises:
        CorruptFileError: the file is not what was written.
    """
    path = segment_dir(index_dir, entry.segment_id) / PHOTOS_FILE
    entry.files[PHOTOS_FILE].require(path)
    with pa.memory_map(str(path)) as file:
        photos = pa.ipc.open_file(file).read_all()
    for name in ("status", "part"):
        column_index = photos.schema.get_field_index(name)
        photos = photos.set_column(column_index, name, pc.cast(photos[name], pa.string()))
    return photos


def digests(folder: Path) -> dict[str, FileDigest]:
    """Compute the digests of a finished segment's files, by file name."""
    return {path.name: FileDigest.of(path) for path in sorted(folder.iterdir())}
