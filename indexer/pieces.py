"""Partial indexes, which workers build from some of a dataset's parts and the driver merges.

<piece>.d/vectors.npy, faces.arrow   as in a segment
<piece>.d/codes.faiss                a FAISS index of these rows, made with the common quantiser
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.folders import make_inner_folder
from faces.dataset.store import Dataset
from indexer.codes import write_codes
from indexer.faces_file import Faces
from indexer.recipes import add, unwrapped
from indexer.segment_files import CODES_FILE, FACES_FILE, VECTORS_FILE, FaceBatch, write_faces
from indexer.vectors import load_vectors


def _folder(piece: Path) -> Path:
    """Return the folder with the files of a partial index."""
    return piece.with_name(f"{piece.name}.d")


def write_piece(piece: Path, source: Dataset, batches: Iterable[FaceBatch]) -> None:
    """Write the embeddings and faces of a partial index, replacing what a lost worker left."""
    folder = _folder(piece)
    make_inner_folder(folder, exist_ok=True)
    write_faces(folder, batches, source.contract.dimension, source.metadata)


def read_piece(piece: Path, source: Dataset) -> Iterator[FaceBatch]:
    """Iterate over the embeddings and faces of a partial index in the order of their rows."""
    folder = _folder(piece)
    vectors = load_vectors(folder / VECTORS_FILE)
    start = 0
    for batch in Faces(folder / FACES_FILE, len(vectors)).batches():
        yield FaceBatch(vectors[start : start + len(batch)], pa.Table.from_batches([batch]))
        start += len(batch)


def write_trained(codes: faiss.Index, path: Path) -> None:
    """Write a trained, empty FAISS index, which workers read to encode partial indexes.

    Raises:
        WrongUsageError: FAISS cannot merge indexes of this kind, as it has no inverted lists.
    """
    if not isinstance(unwrapped(codes), faiss.IndexIVF):
        raise WrongUsageError(
            "partial indexes can be merged only for recipes with inverted lists; choose auto or "
            "one with IVF, or build without --pieces"
        )
    faiss.write_index(codes, str(path))


def encode_piece(trained: Path, piece: Path) -> None:
    """Encode the embeddings of a partial index with the common quantiser, on one thread."""
    faiss.omp_set_num_threads(1)
    codes = faiss.read_index(str(trained))
    for _ in add(codes, load_vectors(_folder(piece) / VECTORS_FILE)):
        pass
    write_codes(_folder(piece), codes)


def join_codes(codes: faiss.Index, piece: Path) -> None:
    """Append the codes of a partial index to the whole index, after the rows it has already."""
    part = faiss.read_index(str(_folder(piece) / CODES_FILE))
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
