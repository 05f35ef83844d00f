"""Pieces of an index that is built by many: each the embeddings, faces and codes of some parts.

<piece>.d/vectors.npy, faces.arrow   as of a segment
<piece>.d/codes.faiss                a FAISS index of these rows, with the common quantiser
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.files import PRIVATE
from faces.dataset.store import Dataset
from indexer.codes import write_codes
from indexer.faces_file import Faces
from indexer.recipes import add, unwrapped
from indexer.segment_files import CODES_FILE, FACES_FILE, VECTORS_FILE, FaceBatch, write_faces
from indexer.vectors import load_vectors


def _folder(piece: Path) -> Path:
    return piece.with_name(f"{piece.name}.d")


def write_piece(piece: Path, source: Dataset, batches: Iterable[FaceBatch]) -> None:
    """Write a piece's embeddings and faces; again, if a worker was lost meanwhile."""
    folder = _folder(piece)
    folder.mkdir(exist_ok=True, mode=PRIVATE)
    write_faces(folder, batches, source.contract.dimension, source.metadata)


def read_piece(piece: Path, source: Dataset) -> Iterator[FaceBatch]:
    """Read them again."""
    folder = _folder(piece)
    vectors = load_vectors(folder / VECTORS_FILE)
    start = 0
    for batch in Faces(folder / FACES_FILE, len(vectors)).batches():
        yield FaceBatch(vectors[start : start + len(batch)], pa.Table.from_batches([batch]))
        start += len(batch)


def write_trained(codes: faiss.Index, path: Path) -> None:
    """Keep a trained FAISS index for those who encode pieces.

    Raises:
        WrongUsageError: FAISS cannot join indexes of its kind.
    """
    if not isinstance(unwrapped(codes), faiss.IndexIVF):
        raise WrongUsageError(
            "an index is built in pieces only by recipes that group faces; choose auto or one "
            "with IVF, or build it at once"
        )
    faiss.write_index(codes, str(path))


def encode_piece(trained: Path, piece: Path) -> None:
    """Write a piece's codes on one thread, by a quantiser trained for all."""
    faiss.omp_set_num_threads(1)
    codes = faiss.read_index(str(trained))
    for _ in add(codes, load_vectors(_folder(piece) / VECTORS_FILE)):
        pass
    write_codes(_folder(piece), codes)


def join_codes(codes: faiss.Index, piece: Path) -> None:
    """Append a piece's codes, its rows counted on from those that are there."""
    part = faiss.read_index(str(_folder(piece) / CODES_FILE))
    _join_full_blocks(codes, part)
    codes.merge_from(part, codes.ntotal)


def _join_full_blocks(codes: faiss.Index, part: faiss.Index) -> None:
    """Join those groups that FAISS, up to 1.15 at least, would write beyond the end of.

    Fast-scan codes lie in blocks of 32 faces. Where a group's faces are a multiple of a block's
    bytes, `BlockInvertedLists::add_entries` copies as many blocks as there are of both.
    """
    lists, others = (
        faiss.downcast_InvertedLists(unwrapped(index).invlists) for index in (codes, part)
    )
    if not isinstance(lists, faiss.BlockInvertedLists):
        return
    for number in range(lists.nlist):
        before, more = lists.list_size(number), others.list_size(number)
        if before == 0 or more == 0 or before % lists.block_size:
            continue
        ids = np.concatenate([_ids(lists, number), _ids(others, number) + codes.ntotal])
        blocks = np.concatenate([_blocks(lists, number), _blocks(others, number)])
        for emptied in (lists, others):
            emptied.resize(number, 0)
        lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(blocks))


def _ids(lists: faiss.BlockInvertedLists, number: int) -> NDArray[np.int64]:
    """A copy of the rows in a group."""
    return np.array(faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)))


def _blocks(lists: faiss.BlockInvertedLists, number: int) -> NDArray[np.uint8]:
    """A copy of the blocks of codes in a group."""
    num_blocks = -(-lists.list_size(number) // lists.n_per_block)
    return np.array(faiss.rev_swig_ptr(lists.get_codes(number), num_blocks * lists.block_size))
