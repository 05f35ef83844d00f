"""A segment's codes.faiss: a FAISS index that proposes candidates, which are compared exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, WrongUsageError, first_line
from faces.core.storage import Folder
from indexer.codes_file import read_codes
from indexer.exact_search import inner_products, nearest_rows
from indexer.faiss_library import faiss
from indexer.layout import REBUILD
from indexer.manifest import SegmentEntry
from indexer.options import Recipe
from indexer.recipes import search_parameters
from indexer.segment_files import CODES_FILE
from indexer.vectors import RowMask, Vectors

PROBES_AT_ONCE = 4096
"""Probes per call of FAISS. Searching codes in blocks of thousands is a fifth faster than in blocks
of 1,024."""


def open_codes(folder: Folder, entry: SegmentEntry, dimension: int) -> faiss.Index:
    """Read a segment's codes.faiss.

    Args:
        folder: the segment's folder.
        entry: the segment's entry in the manifest.
        dimension: number of dimensions of an embedding.

    Raises:
        CorruptFileError: the file cannot be read, or does not hold what the manifest says.
    """
    path = folder.at(CODES_FILE)
    codes = read_codes(folder, CODES_FILE, entry.files[CODES_FILE])
    try:
        search_parameters(codes, entry.recipe)
    except WrongUsageError as error:
        raise CorruptFileError(f"{path} cannot be read ({first_line(error)}); {REBUILD}") from error
    found = (codes.ntotal, codes.d, codes.metric_type)
    if found != (entry.num_faces, dimension, faiss.METRIC_INNER_PRODUCT):
        expected = (entry.num_faces, dimension, faiss.METRIC_INNER_PRODUCT)
        raise CorruptFileError(
            f"{path} has (vectors, dimensions, metric) {found}, but its manifest says {expected}; "
            f"{REBUILD}"
        )
    return codes


def search_rows(
    vectors: Vectors,
    codes: faiss.Index | None,
    recipe: Recipe,
    probes: Vectors,
    *,
    k: int,
    mask: RowMask | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k most similar rows for each probe, by the codes' candidates or exhaustively.

    The search is exhaustive if there are no codes, or if the mask selects so few rows that
    comparing with all of these is faster. Probes for which the codes propose fewer than k rows
    fall back to it.

    Args:
        vectors: (n, d) embeddings of unit length.
        codes: FAISS index of the same n rows; None: search exhaustively.
        recipe: the search settings of `codes`.
        probes: (p, d) embeddings of unit length.
        k: number of rows to find for each probe.
        mask: the rows that may be found; None: all.

    Returns:
        (p, k) exact similarities, descending, and (p, k) rows. Where fewer than k rows may be
        found, they are padded with -inf and -1.
    """
    num_selected = len(vectors) if mask is None else mask.count
    few = k * recipe.candidates >= num_selected or num_selected < recipe.exact_share * len(vectors)
    if codes is None or few:
        return nearest_rows(vectors, probes, k, mask)
    similarities, rows = search_codes(vectors, codes, recipe, probes, k=k, mask=mask)
    short = rows[:, -1] < 0  # the probed inverted lists hold fewer than k rows
    if short.any():
        similarities[short], rows[short] = nearest_rows(vectors, probes[short], k, mask)
    return similarities, rows


def search_codes(
    vectors: Vectors,
    codes: faiss.Index,
    recipe: Recipe,
    probes: Vectors,
    *,
    k: int,
    mask: RowMask | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k best of the candidates that the codes propose, without an exhaustive fallback.

    Args:
        vectors, codes, recipe, probes, k, mask: as in `search_rows`.

    Returns:
        Similarities and rows as in `search_rows`, padded where the codes propose fewer than k.
    """
    depth = k * recipe.candidates
    parameters = search_parameters(codes, recipe, mask)
    similarities = np.empty((len(probes), k), np.float32)
    rows = np.empty((len(probes), k), np.int64)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        some = slice(start, start + PROBES_AT_ONCE)
        try:
            _, found = codes.search(np.ascontiguousarray(probes[some]), depth, params=parameters)
        except RuntimeError as error:
            raise CorruptFileError(
                f"codes.faiss cannot be searched ({first_line(error)}); {REBUILD}"
            ) from error
        similarities[some], rows[some] = best_of(vectors, probes[some], found, k)
    return similarities, rows


def best_of(
    vectors: Vectors, probes: Vectors, candidates: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Compare each probe with its candidates exactly, and return the k best.

    Args:
        vectors: (n, d) embeddings of unit length.
        probes: (p, d) embeddings of unit length.
        candidates: (p, m) rows for each probe; -1 is padding.
        k: number of rows to return for each probe, up to m.

    Returns:
        (p, k) similarities, descending, and (p, k) rows; -inf and -1 for padding.

    Raises:
        CorruptFileError: a candidate is not a row of `vectors`.
    """
    if candidates.size and not -1 <= candidates.min() <= candidates.max() < len(vectors):
        raise CorruptFileError(
            f"codes.faiss proposes rows from {candidates.min()} to {candidates.max()}, but its "
            f"segment has {len(vectors)} rows; {REBUILD}"
        )
    products = inner_products(vectors, probes, candidates)
    if k < products.shape[1]:
        order = np.argpartition(-products, k - 1, axis=1)[:, :k]
        products = np.take_along_axis(products, order, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
    order = np.argsort(-products, axis=1, kind="stable")
    return np.take_along_axis(products, order, 1), np.take_along_axis(candidates, order, 1)
