"""A segment's two files: vectors.faiss and faces.arrow. The one place that knows them.

Row i of faces.arrow describes vector i. A segment never changes once written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa

from faces.dataset import face_schema
from faces.errors import DamagedFileError, first_line
from faces.files import atomic_write
from indexer.manifest import FileDigest, Manifest, SegmentEntry

if TYPE_CHECKING:
    import faiss

VECTORS_FILE = "vectors.faiss"
FACES_FILE = "faces.arrow"

FACES_SCHEMA = pa.schema(
    [
        *(field for field in face_schema(1) if field.name != "embedding"),
        pa.field("also_at", pa.list_(pa.string())),
    ]
)
"""What faces.arrow holds of each face: what the dataset does but the embedding, and the other
places where its photo lies."""


@dataclass(frozen=True)
class Segment:
    """A segment opened for searching.

    Attributes:
        vectors: FAISS index over rows 0 to n - 1.
        faces: n rows of `FACES_SCHEMA`, memory-mapped.
    """

    vectors: faiss.Index
    faces: pa.Table


def segment_dir(index_dir: Path, segment_id: str) -> Path:
    """Folder of a segment's files."""
    return index_dir / "segments" / segment_id


def write_segment(index_dir: Path, vectors: faiss.Index, faces: Iterable[pa.Table]) -> SegmentEntry:
    """Write a new segment; it counts once a manifest that names it is published.

    Args:
        vectors: the FAISS index, n rows.
        faces: tables of `FACES_SCHEMA`'s columns, together n rows in the same order.
    """
    import faiss

    segment_id = uuid4().hex[:12]
    folder = segment_dir(index_dir, segment_id)
    folder.mkdir(parents=True)
    with atomic_write(folder / VECTORS_FILE) as temporary:
        faiss.write_index(vectors, str(temporary))
    with (
        atomic_write(folder / FACES_FILE) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, FACES_SCHEMA) as writer,
    ):
        for table in faces:
            writer.write_table(table.cast(FACES_SCHEMA))
    files = {name: FileDigest.of(folder / name) for name in (VECTORS_FILE, FACES_FILE)}
    return SegmentEntry(segment_id, int(vectors.ntotal), files)


def open_segment(index_dir: Path, manifest: Manifest, entry: SegmentEntry) -> Segment:
    """Open a segment whose every byte is what was written.

    Raises:
        DamagedFileError: naming the file that is not.
    """
    import faiss

    folder = segment_dir(index_dir, entry.segment_id)
    for name in (VECTORS_FILE, FACES_FILE):
        if name not in entry.files:
            raise DamagedFileError(f"the manifest of {index_dir} lacks {name}; build it again")
        entry.files[name].require(folder / name)
    try:
        vectors = faiss.read_index(str(folder / VECTORS_FILE))
        faces = pa.ipc.open_file(pa.memory_map(str(folder / FACES_FILE))).read_all()
        faces = faces.select(FACES_SCHEMA.names)
        faces.validate(full=True)  # offsets that point outside would be read as memory
        if faces.schema.types != FACES_SCHEMA.types:
            raise pa.ArrowInvalid("faces.arrow has other columns")
    except (RuntimeError, OSError, KeyError, pa.ArrowException) as error:
        raise DamagedFileError(
            f"segment {folder} cannot be read ({first_line(error)}); build the index again"
        ) from error
    if not isinstance(vectors, faiss.IndexFlat | faiss.IndexIVFFlat):
        raise DamagedFileError(f"segment {folder} holds no index of a known kind; build it again")
    expected = (entry.num_faces, manifest.contract.dimension, faiss.METRIC_INNER_PRODUCT)
    if (vectors.ntotal, vectors.d, vectors.metric_type) != expected or len(faces) != expected[0]:
        raise DamagedFileError(
            f"segment {folder} does not hold what its manifest says; build the index again"
        )
    if manifest.recipe.nprobe is not None and isinstance(vectors, faiss.IndexIVF):
        vectors.nprobe = manifest.recipe.nprobe
    return Segment(vectors, faces)
