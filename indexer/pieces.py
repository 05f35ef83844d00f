"""Pieces of an index that is built by many: each the embeddings, faces and codes of some parts.

<piece>.d/vectors.npy, faces.arrow   as of a segment
<piece>.d/codes.faiss                a FAISS index of these rows, with the common quantiser
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from faces.dataset import Dataset
from faces.errors import WrongUsageError
from faces.files import PRIVATE
from indexer.recipes import add, unwrapped
from indexer.segment import (
    CODES_FILE,
    FACES_FILE,
    VECTORS_FILE,
    FaceBatch,
    Faces,
    write_codes,
    write_faces,
)
from indexer.vectors import load_vectors

if TYPE_CHECKING:
    import faiss


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
    import faiss

    if not isinstance(unwrapped(codes), faiss.IndexIVF):
        raise WrongUsageError(
            "an index is built in pieces only by recipes that group faces; choose auto or one "
            "with IVF, or build it at once"
        )
    faiss.write_index(codes, str(path))


def encode_piece(trained: Path, piece: Path) -> None:
    """Write a piece's codes on one thread, by a quantiser trained for all."""
    import faiss

    faiss.omp_set_num_threads(1)
    codes = faiss.read_index(str(trained))
    for _ in add(codes, load_vectors(_folder(piece) / VECTORS_FILE)):
        pass
    write_codes(_folder(piece), codes)


def join_codes(codes: faiss.Index, piece: Path) -> None:
    """Append a piece's codes, its rows counted on from those that are there."""
    import faiss

    part = faiss.read_index(str(_folder(piece) / CODES_FILE))
    codes.merge_from(part, codes.ntotal)
