"""The pictures that deleted faces were in, as far as they are kept to recognise edited copies.

    DATASET/deleted_pictures.parquet   of each deleted face: its `face_digest`, a digest of its
                                       photo's content, its place in the photo, and the hash of
                                       the photo without its faces

Nothing of a face is kept: neither its embedding, nor a bit that was computed from its pixels. So a
face cannot be searched for, nor rebuilt. Whoever has a photo at hand can tell whether it is one of
these, which is what the file is for. `faces.dataset.picture_hash` describes the hash.

A row counts while the face's digest stands in the deletions. It is written before that, so a
deletion that was stopped has left nothing that counts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, LinkFoundError
from faces.dataset.deletions import (
    Deletions,
    content_digest,
    face_digests,
    read_deletions,
    sole_writer,
)
from faces.dataset.layout import DELETED_PICTURES_FILE, dataset_folder
from faces.dataset.picture_hash import MIN_BITS, num_compared, unpack_hashes
from faces.dataset.schema import matrix_of, read_table, write_table
from faces.dataset.store import Dataset

PICTURES_SCHEMA = pa.schema(
    [
        pa.field("digest", pa.string(), nullable=False),  # face_digest
        pa.field("content", pa.string(), nullable=False),  # content_digest of the photo_id
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # shares of the photo
        pa.field("picture_hash", pa.binary(), nullable=False),
    ]
)


def read_deleted_pictures(dataset_dir: Path, deletions: Deletions | None = None) -> pa.Table:
    """Read the pictures of the faces that are deleted, one row of `PICTURES_SCHEMA` for each face.

    Args:
        dataset_dir: the dataset's folder.
        deletions: the dataset's deletions, if they have been read; None: they are read.

    Raises:
        CorruptFileError: the file cannot be read, so edited copies would not be recognised.
    """
    folder = dataset_folder(dataset_dir)
    if not folder.exists(DELETED_PICTURES_FILE):
        return PICTURES_SCHEMA.empty_table()
    try:
        rows = read_table(folder, DELETED_PICTURES_FILE, PICTURES_SCHEMA)
    except LinkFoundError:
        raise
    except CorruptFileError as error:
        raise CorruptFileError(
            f"{folder.at(DELETED_PICTURES_FILE)} is corrupt, and without it deleted faces could "
            "come back in edited copies of their photos; restore it from a backup, or delete it "
            "to withhold only files of the same bytes"
        ) from error
    in_force = (deletions or read_deletions(dataset_dir)).digests
    return rows.filter(pc.is_in(rows["digest"], value_set=in_force))


def add_deleted_pictures(dataset_dir: Path, pictures: pa.Table) -> None:
    """Keep further pictures, and drop those of faces that are deleted no more.

    Args:
        dataset_dir: the dataset's folder.
        pictures: rows of `PICTURES_SCHEMA`. They count as soon as their faces are deleted.

    Raises:
        BusyError: another process is writing the deletions.
    """
    if not len(pictures):
        return
    with sole_writer(dataset_dir):
        before = read_deleted_pictures(dataset_dir)
        others = pc.invert(
            pc.is_in(before["digest"], value_set=pictures["digest"].combine_chunks())
        )
        _write(dataset_dir, pa.concat_tables([before.filter(others), pictures]))


def drop_released_pictures(dataset_dir: Path) -> None:
    """Remove from the file the pictures of faces that are deleted no more."""
    if dataset_folder(dataset_dir).exists(DELETED_PICTURES_FILE):
        with sole_writer(dataset_dir):
            _write(dataset_dir, read_deleted_pictures(dataset_dir))


def _write(dataset_dir: Path, pictures: pa.Table) -> None:
    with dataset_folder(dataset_dir).put(DELETED_PICTURES_FILE) as file:
        write_table(pictures.sort_by("digest"), file)


PLACE_COLUMNS = ("face_id", "photo_id", "uri", "box")
"""The columns of faces that `pictures_of` needs."""


def pictures_of(dataset: Dataset, faces: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return what is kept of the photos of faces that are going to be deleted.

    Args:
        dataset: the dataset that has the faces.
        faces: rows of faces with `PLACE_COLUMNS`.

    Returns:
        Rows of `PICTURES_SCHEMA` of the faces whose photos have a hash; and the faces whose photos
        have none, with the columns width and height of their photos added: an older version of
        facetrove embedded these.
    """
    contents = faces["photo_id"].combine_chunks()
    tables = []
    for part in dataset.committed_parts():  # one by one, since hashes of all photos are large
        rows = dataset.photo_rows(["width", "height", "picture_hash"], parts=[part])
        tables.append(rows.filter(pc.is_in(rows["photo_id"], value_set=contents)))
    if not tables:
        return PICTURES_SCHEMA.empty_table(), faces.slice(0, 0)
    photos = pa.concat_tables(tables)
    # Rows with a hash first: rows of copies have none.
    photos = pa.concat_tables(
        photos.filter(mask(photos["picture_hash"])) for mask in (pc.is_valid, pc.is_null)
    )
    row = pc.index_in(faces["photo_id"], value_set=photos["photo_id"].combine_chunks())
    faces = faces.select(PLACE_COLUMNS)
    for name in ("width", "height", "picture_hash"):
        faces = faces.append_column(name, photos[name].take(row))
    hashed = pc.is_valid(faces["picture_hash"])
    without = faces.filter(pc.and_(pc.invert(hashed), pc.is_valid(faces["width"])))
    return as_pictures(faces.filter(hashed)), without.drop_columns(["picture_hash"])


def as_pictures(faces: pa.Table) -> pa.Table:
    """Return rows of `PICTURES_SCHEMA`.

    Args:
        faces: rows of faces with `PLACE_COLUMNS`, width, height and picture_hash.
    """
    contents = pa.array(map(content_digest, faces["photo_id"].to_pylist()), pa.string())
    boxes = relative_boxes(faces["box"], faces["width"], faces["height"])
    columns = [
        face_digests(faces["face_id"]),
        contents,
        pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4),
        faces["picture_hash"],
    ]
    return pa.table(columns, schema=PICTURES_SCHEMA)


def relative_boxes(
    boxes: pa.ChunkedArray, widths: pa.ChunkedArray, heights: pa.ChunkedArray
) -> NDArray[np.float32]:
    """Return (n, 4) boxes as shares of their photos' width and height.

    Args:
        boxes: n boxes in pixels.
        widths: n widths of the boxes' photos, in pixels.
        heights: n heights of the boxes' photos, in pixels.
    """
    size = np.stack([widths.to_numpy(), heights.to_numpy()], axis=1).astype(np.float32)
    return np.asarray(matrix_of(boxes) / np.tile(size, 2), np.float32)


def num_recognisable(pictures: pa.Table) -> int:
    """Return of how many pictures edited copies are recognised: faces do not fill them."""
    if not len(pictures):
        return 0
    hashes = unpack_hashes(pictures["picture_hash"].to_pylist())
    return int((num_compared(hashes) >= MIN_BITS).sum())
