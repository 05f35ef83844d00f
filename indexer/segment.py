"""A segment's files. The one place that knows them.

    vectors.npy    the embeddings; see indexer.vectors
    faces.arrow    row by row what they are embeddings of, memory-mapped; batches of BATCH_ROWS
    photos.arrow   the dataset's rows of photos that were read for it
    codes.faiss    a FAISS index of the same rows, which proposes candidates; not if exact

A segment never changes once written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import DamagedFileError, first_line
from faces.core.files import PRIVATE, atomic_write, sync_dir, write_arrow
from faces.core.settings import Device
from faces.dataset.schema import face_schema
from indexer.filters import passing_rows
from indexer.gpu import MOST_MATCHES, GpuVectors, on_gpu
from indexer.manifest import REBUILD, FileDigest, SegmentEntry
from indexer.recipes import Recipe, search_parameters
from indexer.vectors import (
    Passing,
    Vectors,
    inner_products,
    nearest_rows,
    open_vectors,
    write_vectors,
)

if TYPE_CHECKING:
    import faiss

VECTORS_FILE, FACES_FILE = "vectors.npy", "faces.arrow"
PHOTOS_FILE, CODES_FILE = "photos.arrow", "codes.faiss"

BATCH_ROWS = 1 << 14

FEW_ROWS = 64
"""So many rows are faster read one by one (3 us each) than picked out of their batches (10 us)."""

DIGESTED_BYTES = 64_000_000
"""Files up to this size are digested when they are opened, which takes 30 ms at most. So is
codes.faiss of any size, which FAISS reads in trust; the others are safe to read whatever is in
them, and `verify` digests them all."""

PROBES_AT_ONCE = 4096
"""FAISS searches codes a fifth faster in blocks of thousands than in blocks of 1,024."""

FACES_SCHEMA = pa.schema(
    [
        *(column for column in face_schema(1) if column.name != "embedding"),
        pa.field("also_at", pa.list_(pa.string())),
    ]
)
"""What faces.arrow holds of each face: what the dataset does but the embedding, and the other
places where its photo lies. The metadata columns of the photo follow."""

PHOTO_COLUMNS = ("uri", "photo_id", "width", "height", "status", "is_copy", "num_faces", "part")


def metadata_of(segments: Sequence[Segment]) -> pa.Schema:
    """The metadata columns of all segments' faces."""
    columns: dict[str, pa.Field] = {}
    for segment in segments:
        columns |= {
            column.name: column
            for column in segment.faces.schema
            if column.name not in FACES_SCHEMA.names
        }
    return pa.schema(columns.values())


def with_columns(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """A table with further columns, null where it does not have them yet."""
    for column in columns:
        if column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return table


def faces_schema(metadata: pa.Schema) -> pa.Schema:
    """Columns of faces.arrow for a dataset with metadata columns."""
    return pa.schema([*FACES_SCHEMA, *metadata])


class Faces:
    """A faces.arrow, memory-mapped. What is read of it is checked when it is first read."""

    def __init__(self, path: Path, num_faces: int) -> None:
        self.path = path
        self._num_faces = num_faces
        self._checked: dict[int, pa.RecordBatch] = {}
        with self._damage_named():
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.schema: pa.Schema = self._reader.schema
            self._names = frozenset(self.schema.names)
            wanted = {column.name: column.type for column in FACES_SCHEMA}
            types = dict(zip(self.schema.names, self.schema.types, strict=True))
            if types | wanted != types:
                raise pa.ArrowInvalid("it has other columns")
            if self._reader.num_record_batches != -(-num_faces // BATCH_ROWS):
                raise pa.ArrowInvalid("it has another number of rows")

    def __len__(self) -> int:
        return self._num_faces

    def row(self, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """Columns of one face; those that are not there are left out."""
        batch, place = self._batch(row // BATCH_ROWS), row % BATCH_ROWS
        return {n: batch.column(n)[place].as_py() for n in columns if n in self._names}

    @cached_property
    def table(self) -> pa.Table:
        """All rows."""
        numbers = range(self._reader.num_record_batches)
        return pa.Table.from_batches(map(self._batch, numbers), self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, some at a time."""
        return map(self._batch, range(self._reader.num_record_batches))

    def values(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """One column of some faces."""
        if len(rows) <= FEW_ROWS:
            return [self.row(row, (column,))[column] for row in rows.tolist()]
        values = np.empty(len(rows), dtype=object)
        numbers = rows // BATCH_ROWS
        for number in np.unique(numbers).tolist():
            here = numbers == number
            picked = self._batch(number).column(column).take(pa.array(rows[here] % BATCH_ROWS))
            values[here] = picked.to_pylist()
        return values.tolist()

    def _batch(self, number: int) -> pa.RecordBatch:
        if number not in self._checked:
            with self._damage_named():
                batch = self._reader.get_batch(number)
                batch.validate(full=True)  # offsets that point outside would be read as memory
                expected = min(BATCH_ROWS, self._num_faces - number * BATCH_ROWS)
                if batch.num_rows != expected or _has_unwanted_nulls(batch):
                    raise pa.ArrowInvalid("a batch does not hold what it should")
            self._checked[number] = batch
        return self._checked[number]

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise DamagedFileError(
                f"{self.path} is damaged ({first_line(error)}); {REBUILD}"
            ) from error


def _has_unwanted_nulls(batch: pa.RecordBatch) -> bool:
    return any(
        batch.column(column.name).null_count for column in batch.schema if not column.nullable
    )


@dataclass(frozen=True)
class Segment:
    """A segment opened for searching.

    Attributes:
        path: its folder.
        entry: what the manifest says of it.
        vectors: (n, d) float32, memory-mapped.
        codes: FAISS index over the same rows; None if exact.
        faces: its n faces.
        deleted: (n,) bool, faces deleted since; None: none.
        gpu: the embeddings on a GPU, which then compares with all of them; None: not there.
        fills_up: compare with every face where the codes propose fewer than are wanted.
    """

    path: Path
    entry: SegmentEntry
    vectors: Vectors
    codes: faiss.Index | None
    faces: Faces
    deleted: NDArray[np.bool_] | None = None
    gpu: GpuVectors | None = None
    fills_up: bool = True

    @property
    def num_live(self) -> int:
        """Faces that were not deleted."""
        return len(self.vectors) if self._live is None else self._live.count

    @cached_property
    def _live(self) -> Passing | None:
        return None if self.deleted is None else Passing(~self.deleted)

    def rows(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """All faces and their embeddings, some at a time, deleted ones too."""
        start = 0
        for batch in self.faces.batches():
            yield batch, self.vectors[start : start + len(batch)]
            start += len(batch)

    def passing(self, where: str, metadata: pa.Schema) -> NDArray[np.bool_]:
        """(n,) bool, which faces a filter lets pass and were not deleted.

        Args:
            where: as of `indexer.filters.passing_rows`.
            metadata: columns that may be asked for, null if this segment does not have them.
        """
        return passing_rows(with_columns(self.faces.table, metadata), where) & self.live()

    def live(self) -> NDArray[np.bool_]:
        """(n,) bool, which faces were not deleted."""
        if self.deleted is None:
            return np.ones(len(self.vectors), dtype=bool)
        return ~self.deleted

    def search(
        self, probes: Vectors, k: int, passing: Passing | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows most similar to each probe.

        Args:
            probes: (p, d) of unit length.
            k: rows wanted.
            passing: which rows may be found; by default all that were not deleted.

        Returns:
            (p, k) exact similarities, descending, and (p, k) rows; -inf and -1 where fewer than
            k rows pass.

        Raises:
            DamagedFileError: vectors or codes are not what was written.
        """
        if passing is None:
            passing = self._live
        similarities, rows = self._search(probes, k, passing)
        if np.nanmax(similarities, initial=-1.0) > 1.001 or np.isnan(similarities).any():
            raise DamagedFileError(
                f"{self.path / VECTORS_FILE} is damaged: it holds vectors that do not have length "
                "1; build the index again with --rebuild"
            )
        return similarities, rows

    def _search(
        self, probes: Vectors, k: int, passing: Passing | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        num_unwanted = 0 if passing is None else len(self.vectors) - passing.count
        if self.gpu is None or k + num_unwanted > MOST_MATCHES:
            recipe = self.entry.recipe
            return search_rows(
                *(self.vectors, self.codes, recipe, probes),
                k=k,
                passing=passing,
                fills_up=self.fills_up,
            )
        # The GPU knows no filter: it finds so many more that enough are left.
        found = self.gpu.nearest(probes, min(k + num_unwanted, len(self.vectors)))
        if passing is not None:
            found = np.where(passing.rows[found], found, -1)
        short = max(0, k - found.shape[1])
        found = np.pad(found, ((0, 0), (0, short)), constant_values=-1)
        return _best(self.vectors, probes, found, k)


def search_rows(
    vectors: Vectors,
    codes: faiss.Index | None,
    recipe: Recipe,
    probes: Vectors,
    *,
    k: int,
    passing: Passing | None = None,
    fills_up: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`Segment.search` among vectors and codes that may not be in a segment yet."""
    num_passing = len(vectors) if passing is None else passing.count
    wanted = k * recipe.candidates
    few = wanted >= num_passing or num_passing < recipe.exact_share * len(vectors)
    if codes is None or (few and fills_up):
        return nearest_rows(vectors, probes, k, passing)
    parameters = search_parameters(codes, recipe, passing)
    similarities = np.empty((len(probes), k), np.float32)
    rows = np.empty((len(probes), k), np.int64)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        some = slice(start, start + PROBES_AT_ONCE)
        _, found = codes.search(np.ascontiguousarray(probes[some]), wanted, params=parameters)
        similarities[some], rows[some] = _best(vectors, probes[some], found, k)
    short = rows[:, -1] < 0  # the groups looked at held fewer
    if short.any() and fills_up:
        similarities[short], rows[short] = nearest_rows(vectors, probes[short], k, passing)
    return similarities, rows


def _best(
    vectors: Vectors, probes: Vectors, candidates: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of each probe's candidates, compared exactly."""
    if candidates.size and not -1 <= candidates.min() <= candidates.max() < len(vectors):
        raise DamagedFileError(f"codes.faiss names rows that are not there; {REBUILD}")
    products = inner_products(vectors, probes, candidates)
    if k < products.shape[1]:
        order = np.argpartition(-products, k - 1, axis=1)[:, :k]
        products = np.take_along_axis(products, order, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
    order = np.argsort(-products, axis=1, kind="stable")
    return np.take_along_axis(products, order, 1), np.take_along_axis(candidates, order, 1)


def segment_dir(index_dir: Path, segment_id: str) -> Path:
    """Folder of a segment's files."""
    return index_dir / "segments" / segment_id


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
    folder = segment_dir(index_dir, uuid4().hex[:12])
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


def write_codes(folder: Path, codes: faiss.Index) -> None:
    """Write codes.faiss."""
    import faiss

    with atomic_write(folder / CODES_FILE) as temporary:
        faiss.write_index(codes, str(temporary))


def digests(folder: Path) -> dict[str, FileDigest]:
    """Digests of a finished segment's files, by name."""
    return {path.name: FileDigest.of(path) for path in sorted(folder.iterdir())}


def open_segment(
    index_dir: Path, entry: SegmentEntry, dimension: int, device: Device = "cpu"
) -> Segment:
    """Open a segment, checking what is cheap to check (see `DIGESTED_BYTES`).

    Args:
        index_dir: of the index.
        entry: of the segment.
        dimension: numbers in an embedding.
        device: where it is to be searched.

    Raises:
        DamagedFileError: naming the file that is not what was written.
    """
    folder = segment_dir(index_dir, entry.segment_id)
    wanted = {VECTORS_FILE, FACES_FILE, PHOTOS_FILE}
    if entry.files.keys() != (wanted if entry.recipe.is_exact else {*wanted, CODES_FILE}):
        raise DamagedFileError(f"the manifest of {index_dir} lacks files of segment {folder.name}")
    for name, digest in entry.files.items():
        if digest.num_bytes <= DIGESTED_BYTES or name == CODES_FILE:
            digest.require(folder / name)
        else:
            digest.require_size(folder / name)
    vectors = open_vectors(folder / VECTORS_FILE, entry.num_faces, dimension)
    return Segment(
        folder,
        entry,
        vectors,
        None if entry.recipe.is_exact else _open_codes(folder / CODES_FILE, entry, dimension),
        Faces(folder / FACES_FILE, entry.num_faces),
        gpu=on_gpu(vectors, device),
    )


def _open_codes(path: Path, entry: SegmentEntry, dimension: int) -> faiss.Index:
    import faiss

    try:
        codes = faiss.read_index(str(path))
        search_parameters(codes, entry.recipe)
    except RuntimeError as error:
        raise DamagedFileError(f"{path} cannot be read ({first_line(error)}); {REBUILD}") from error
    found = (codes.ntotal, codes.d, codes.metric_type)
    if found != (entry.num_faces, dimension, faiss.METRIC_INNER_PRODUCT):
        raise DamagedFileError(f"{path} does not hold what the manifest says; {REBUILD}")
    return codes
