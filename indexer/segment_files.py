"""A segment's files, on their way to disk. The one place that knows their names.

    vectors.npy    the embeddings; see indexer.vectors
    faces.arrow    row by row what they are embeddings of; see indexer.faces_file
    photos.arrow   the dataset's rows of photos that were read for it
    codes.faiss    a FAISS index of the same rows, which proposes candidates; not if exact

A segment never changes once written.
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
from faces.core.files import PRIVATE, atomic_write, sync_dir
from indexer.faces_file import BATCH_ROWS, faces_schema
from indexer.layout import new_id, segment_dir
from indexer.manifest import FileDigest, SegmentEntry
from indexer.vectors import Vectors, write_vectors

VECTORS_FILE, FACES_FILE = "vectors.npy", "faces.arrow"
PHOTOS_FILE, CODES_FILE = "photos.arrow", "codes.faiss"

PHOTO_COLUMNS = ("uri", "photo_id", "width", "height", "status", "is_copy", "num_faces", "part")


@dataclass(frozen=True)
class FaceBatch:
    """Some faces on their way into a segment.

    Attributes:
        vectors: (m, d) float32 of unit length.
        faces: m rows of `faces_schema`.
    """

    vectors: Vectors
    faces: pa.Table


@contextmanager
def new_segment_dir(index_dir: Path) -> Iterator[Path]:
    """A new segment's folder; it is removed again if it is not finished."""
    folder = segment_dir(index_dir, new_id())
    folder.parent.mkdir(exist_ok=True, mode=PRIVATE)
    sync_dir(index_dir)
    folder.mkdir(mode=PRIVATE)
    try:
        yield folder
        sync_dir(folder.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_faces(
    folder: Path, batches: Iterable[FaceBatch], dimension: int, metadata: pa.Schema
) -> int:
    """Write vectors.npy and faces.arrow; gives the number of faces."""
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
    """Write photos.arrow: rows of `Dataset.photo_rows`, which let the next update compare."""
    for name in ("status", "part"):
        place = photos.schema.get_field_index(name)
        column = photos[name]
        if not pa.types.is_dictionary(column.type):
            column = pa.chunked_array([column.combine_chunks().dictionary_encode()])
        photos = photos.set_column(place, name, column.unify_dictionaries())
    write_arrow(folder / PHOTOS_FILE, photos.combine_chunks())


def read_photos(index_dir: Path, entry: SegmentEntry) -> pa.Table:
    """The rows of photos.arrow, texts in full."""
    path = segment_dir(index_dir, entry.segment_id) / PHOTOS_FILE
    entry.files[PHOTOS_FILE].require(path)
    with pa.memory_map(str(path)) as file:
        photos = pa.ipc.open_file(file).read_all()
    for name in ("status", "part"):
        place = photos.schema.get_field_index(name)
        photos = photos.set_column(place, name, pc.cast(photos[name], pa.string()))
    return photos


def digests(folder: Path) -> dict[str, FileDigest]:
    """Digests of a finished segment's files, by name."""
    return {path.name: FileDigest.of(path) for path in sorted(folder.iterdir())}
