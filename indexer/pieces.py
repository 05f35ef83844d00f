"""Partial indexes, which workers build from some of a dataset's parts and the driver merges.

trained.faiss                        the common quantiser: a trained FAISS index without rows
<piece>.photos                       the photos whose faces the partial index covers
<piece>.d/vectors.npy, faces.arrow   as in a segment
<piece>.d/codes.faiss                a FAISS index of these rows, made with the common quantiser
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.errors import WrongUsageError
from faces.core.storage import Folder
from faces.dataset.store import Dataset
from indexer.codes_file import read_codes, write_codes
from indexer.faces_file import Faces
from indexer.recipes import add, unwrapped
from indexer.segment_files import CODES_FILE, FACES_FILE, VECTORS_FILE, FaceBatch, write_faces
from indexer.vectors import load_vectors

TRAINED_FILE = "trained.faiss"


def _folder(work: Folder, piece: str) -> Folder:
    """Return the folder with the files of a partial index."""
    return work.folder(f"{piece}.d")


def list_photos(work: Folder, piece: str, photos: pa.Table) -> None:
    """Write the list of photos, rows of `Dataset.photos`, whose faces a partial index covers."""
    write_arrow(work, f"{piece}.photos", photos)


def listed_photos(work: Folder, piece: str) -> pa.Table:
    """Read the list of photos whose faces a partial index covers."""
    return read_arrow(work.mapped(f"{piece}.photos"))


def write_piece(work: Folder, piece: str, source: Dataset, batches: Iterable[FaceBatch]) -> None:
    """Write the embeddings and faces of a partial index, replacing what a lost worker left."""
    work.make_folder(f"{piece}.d")
    write_faces(_folder(work, piece), batches, source.contract.dimension, source.face_metadata)


def read_piece(work: Folder, piece: str) -> Iterator[FaceBatch]:
    """Iterate over the embeddings and faces of a partial index in the order of their rows."""
    folder = _folder(work, piece)
    vectors = load_vectors(folder, VECTORS_FILE)
    start = 0
    for batch in Faces(folder, FACES_FILE, len(vectors)).batches():
        yield FaceBatch(vectors[start : start + len(batch)], pa.Table.from_batches([batch]))
        start += len(batch)


def write_trained(work: Folder, codes: faiss.Index) -> None:
    """Write a trained, empty FAISS index, which workers read to encode partial indexes.

    Raises:
        WrongUsageError: FAISS cannot merge indexes of this kind, as it has no inverted lists.
    """
    if not isinstance(unwrapped(codes), faiss.IndexIVF):
        raise WrongUsageError(
            "partial indexes can be merged only for recipes with inverted lists; choose auto or "
            "one with IVF, or build without --pieces"
        )
    write_codes(work, TRAINED_FILE, codes)


def encode_piece(work: Folder, piece: str) -> None:
    """Encode the embeddings of a partial index with the common quantiser, on one thread."""
    faiss.omp_set_num_threads(1)
    codes, folder = read_codes(work, TRAINED_FILE), _folder(work, piece)
    for _ in add(codes, load_vectors(folder, VECTORS_FILE)):
        pass
    write_codes(folder, CODES_FILE, codes)


def join_codes(codes: faiss.Index, work: Folder, piece: str) -> None:
    """Append the codes of a partial index to the whole index, after the rows it has already."""
    part = read_codes(_folder(work, piece), CODES_FILE)
    _join_full_blocks(codes, part)
    codes.merge_from(part, codes.ntotal)


def _join_full_blocks(codes: faiss.Index, part: faiss.Index) -> None:
    """Merge those inverted lists that FAISS, at least up to 1.15, would write past the end of.

    Fast-scan codes are stored in blocks of 32 faces. If the number of faces in a list is a multiple
    of a block's size in bytes, `BlockInvertedLists::add_entries` copies as many blocks as both
    lists have together.
    """
    lists, others = (
        faiss.downcast_InvertedLists(unwrapped(index).invlists) for index in (codes, part)
    )
    if not isinstance(lists, faiss.BlockInvertedLists):
        return
    for list_number in range(lists.nlist):
        before, more = lists.list_size(list_number), others.list_size(list_number)
        if before == 0 or more == 0 or before % lists.block_size:
            continue
        ids = np.concatenate([_ids(lists, list_number), _ids(others, list_number) + codes.ntotal])
        blocks = np.concatenate([_blocks(lists, list_number), _blocks(others, list_number)])
        for emptied in (lists, others):
            emptied.resize(list_number, 0)
        lists.add_entries(list_number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(blocks))


def _ids(lists: faiss.BlockInvertedLists, list_number: int) -> NDArray[np.int64]:
    """Return a copy of the row numbers in an inverted list."""
    return np.array(faiss.rev_swig_ptr(lists.get_ids(list_number), lists.list_size(list_number)))


def _blocks(lists: faiss.BlockInvertedLists, list_number: int) -> NDArray[np.uint8]:
    """Return a copy of the blocks of codes in an inverted list."""
    num_blocks = -(-lists.list_size(list_number) // lists.n_per_block)
    return np.array(faiss.rev_swig_ptr(lists.get_codes(list_number), num_blocks * lists.block_size))
