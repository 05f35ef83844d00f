"""The crops of faces that networks are trained on, kept in the cache until they are purged.

    CACHE/crops/<dataset>-<crops>/part-*.arrow   face_id, crop (112x112 RGB, uint8)

<dataset> is a digest of the dataset's path, <crops> of how its faces were found and aligned. The
files hold pixels of faces, so `facetrove purge` looks here too: it removes the crops of the dataset
that is purged, and from all others every face that was deleted from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, first_line
from faces.core.machine import cache_dir
from faces.core.storage import Folder
from faces.dataset.deletions import face_digests

CROPS_DIR = "crops"
"""Name of the folder of all crops in the cache."""

CROP_SIDE = 112
"""Width and height of a crop in pixels: those of ArcFace's template."""

CROP_ALIGNMENT = "arcface-112"
"""Name of the alignment that crops are made with."""

CROP_BYTES = CROP_SIDE * CROP_SIDE * 3

SCHEMA = pa.schema([("face_id", pa.string()), ("crop", pa.binary(CROP_BYTES))])
"""Columns of a file of crops; a crop is (112, 112, 3) uint8 RGB, row by row."""

_REMEDY = "remove the file; the crops are cut again"


@dataclass(frozen=True)
class CropCache:
    """The cached crops of one dataset's faces.

    Attributes:
        folder: the storage of their files.
    """

    folder: Folder

    @classmethod
    def of(cls, dataset_dir: Path, contract: ModelContract) -> CropCache:
        """Return the cache of the crops of a dataset's faces, which is made if it is not there.

        Args:
            dataset_dir: the dataset's folder.
            contract: the dataset's contract; only the detector matters.
        """
        how = f"{contract.detector} {contract.detector_digest} {CROP_ALIGNMENT}"
        above = Folder(cache_dir(), remedy=_REMEDY)
        above.make()
        above.make_folder(CROPS_DIR)
        name = f"{CROPS_DIR}/{_dataset_digest(dataset_dir)}-{_short_digest(how)}"
        above.make_folder(name)
        return cls(above.folder(name))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right of the one writer, against other jobs and purges.

        Raises:
            BusyError: another process holds it.
        """
        with self.folder.lease(what=f"the crops in {self.folder.at()}"):
            self.folder.remove_temporary_files()
            yield

    @contextmanager
    def kept_as_it_is(self) -> Iterator[None]:
        """Remove the files of crops that are written while the context is open, when it ends."""
        before = set(_parts(self.folder))
        try:
            yield
        finally:
            for name in set(_parts(self.folder)) - before:
                self.folder.remove(name)

    def face_ids(self) -> pa.Array:
        """Return the ids of all faces that have a crop."""
        ids = [_read(self.folder, name)["face_id"] for name in _parts(self.folder)]
        return pa.concat_arrays([pa.array([], pa.string()), *(c for i in ids for c in i.chunks)])

    def write(self, face_ids: Sequence[str], crops: NDArray[np.uint8]) -> None:
        """Add a file of crops.

        Args:
            face_ids: ids of n faces.
            crops: (n, 112, 112, 3) uint8 RGB.
        """
        flat = pa.py_buffer(np.ascontiguousarray(crops))
        column = pa.FixedSizeBinaryArray.from_buffers(
            SCHEMA.field("crop").type, len(crops), [None, flat]
        )
        name = hashlib.sha256("".join(face_ids).encode()).hexdigest()[:16]
        table = pa.table([pa.array(face_ids, pa.string()), column], schema=SCHEMA)
        write_arrow(self.folder, f"part-{name}.arrow", table)

    def open(self, face_ids: pa.Array | pa.ChunkedArray) -> Crops:
        """Open the crops of faces, of which nothing is read yet.

        Args:
            face_ids: ids of n faces.

        Raises:
            CorruptFileError: a file of crops cannot be read.
        """
        files, ids = [], [pa.array([], pa.string())]
        for name in _parts(self.folder):
            table = _read(self.folder, name).combine_chunks()
            files.append(_pixels(table))
            ids += table["face_id"].chunks
        rows = pc.index_in(face_ids, value_set=pa.concat_arrays(ids)).fill_null(-1)
        starts = np.cumsum([0, *map(len, files)])
        return Crops(files, starts, rows.to_numpy(zero_copy_only=False).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of n faces, memory-mapped.

    Attributes:
        files: the crops of each file, (m, 112, 112, 3) uint8 RGB.
        starts: number of crops before each file, and of all.
        rows: (n,) number of each face's crop, counted through all files; -1 for a face without.
    """

    files: Sequence[NDArray[np.uint8]]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n,) bool, whether a face has a crop."""
        return np.greater_equal(self.rows, 0)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the crops of the faces at some positions: (len(positions), 112, 112, 3) uint8."""
        rows = self.rows[positions]
        crops = np.empty((len(rows), CROP_SIDE, CROP_SIDE, 3), np.uint8)
        file_of = np.searchsorted(self.starts, rows, side="right") - 1
        for file in np.unique(file_of):
            here = file_of == file
            crops[here] = self.files[file][rows[here] - self.starts[file]]
        return crops


def purge_crops(dataset_dir: Path, deleted: pa.Array) -> int:
    """Remove the crops of a dataset, and those of its deleted faces from the crops of all others.

    The dataset may have been elsewhere when crops were cut, or have copies.

    Args:
        dataset_dir: the dataset's folder.
        deleted: `face_digest` of each deleted face.

    Returns:
        The number of crops of deleted faces that were removed.

    Raises:
        BusyError: another process is cutting crops.
        CorruptFileError: a file of crops cannot be read.
        LinkFoundError: there is a link in the folder of crops.
    """
    above = Folder(cache_dir(), remedy=_REMEDY)
    num_removed = 0
    for name in sorted(above.names(CROPS_DIR)):
        cache = CropCache(above.folder(f"{CROPS_DIR}/{name}"))
        with cache.writing():
            for part in _parts(cache.folder):
                num_removed += _remove_from(cache.folder, part, deleted)
            if name.startswith(f"{_dataset_digest(dataset_dir)}-"):
                for part in _parts(cache.folder):
                    cache.folder.remove(part)
    return num_removed


def _remove_from(folder: Folder, part: str, deleted: pa.Array) -> int:
    """Remove deleted faces from one file of crops, and return how many there were."""
    table = _read(folder, part)
    gone = pc.is_in(face_digests(table["face_id"]), value_set=deleted)
    num_gone = int(pc.sum(gone).as_py() or 0)
    if num_gone == len(table):
        folder.remove(part)
    elif num_gone:
        write_arrow(folder, part, table.filter(pc.invert(gone)))
    return num_gone


def _parts(folder: Folder) -> list[str]:
    """Return the names of the files of crops in a folder."""
    return sorted(name for name in folder.names() if name.startswith("part-"))


def _read(folder: Folder, name: str) -> pa.Table:
    """Memory-map a file of crops.

    Raises:
        CorruptFileError: it is no such file.
    """
    try:
        table = read_arrow(folder.mapped(name))
    except (pa.ArrowException, ValueError) as error:
        raise CorruptFileError(
            f"{folder.at(name)} is not a file of crops ({first_line(error)}); {_REMEDY}"
        ) from error
    if table.schema != SCHEMA or any(column.null_count for column in table.columns):
        raise CorruptFileError(f"{folder.at(name)} is not a file of crops; {_REMEDY}")
    return table


def _pixels(table: pa.Table) -> NDArray[np.uint8]:
    """Return the crops of a file, of which nothing is copied: (m, 112, 112, 3) uint8."""
    column = table["crop"].combine_chunks()
    flat = np.frombuffer(column.buffers()[1], np.uint8) if len(column) else np.zeros(0, np.uint8)
    start = column.offset * CROP_BYTES
    stop = start + len(column) * CROP_BYTES
    return flat[start:stop].reshape(-1, CROP_SIDE, CROP_SIDE, 3)


def _dataset_digest(dataset_dir: Path) -> str:
    return _short_digest(str(Path(dataset_dir).resolve()))


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
