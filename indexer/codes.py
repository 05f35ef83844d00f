"""A segment's codes.faiss: a FAISS index that proposes candidates, which are compared exactly."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, first_line
from faces.core.files import atomic_write
from indexer.exact_search import inner_products, nearest_rows
from indexer.manifest import REBUILD, SegmentEntry
from indexer.options import Recipe
from indexer.recipes import search_parameters
from indexer.segment_files import CODES_FILE
from indexer.vectors import RowMask, Vectors

PROBES_AT_ONCE = 4096
"""FAISS searches codes a fifth faster in blocks of thousands than in blocks of 1,024."""


def write_codes(folder: Path, codes: faiss.Index) -> None:
    """Write codes.faiss."""
    with atomic_write(folder / CODES_FILE) as temporary:
        faiss.write_index(codes, str(temporary))


def open_codes(path: Path, entry: SegmentEntry, dimension: int) -> faiss.Index:
    """Read a segment's codes.faiss.

    Raises:
        CorruptFileError: it cannot be read, or is not what the manifest says.
    """
    try:
        codes = faiss.read_index(str(path))
        search_parameters(codes, entry.recipe)
    except RuntimeError as error:
        raise CorruptFileError(f"{path} cannot be read ({first_line(error)}); {REBUILD}") from error
    found = (codes.ntotal, codes.d, codes.metric_type)
    if found != (entry.num_faces, dimension, faiss.METRIC_INNER_PRODUCT):
        raise CorruptFileError(f"{path} does not hold what the manifest says; {REBUILD}")
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
    """`Segment.search` among vectors and codes that may not be in a segment yet."""
    num_selected = len(vectors) if mask is None else mask.count
    few = k * recipe.candidates >= num_selected or num_selected < recipe.exact_share * len(vectors)
    if codes is None or few:
        return nearest_rows(vectors, probes, k, mask)
    similarities, rows = search_codes(vectors, codes, recipe, probes, k=k, mask=mask)
    short = rows[:, -1] < 0  # the groups looked at held fewer
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
    """Search among the candidates that the codes propose, without an exhaustive fallback.

    Arguments and result are as of `search_rows`; fewer than k rows may be found.
    """
    wanted = k * recipe.candidates
    parameters = search_parameters(codes, recipe, mask)
    similarities = np.empty((len(probes), k), np.float32)
    rows = np.empty((len(probes), k), np.int64)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        some = slice(start, start + PROBES_AT_ONCE)
        _, found = codes.search(np.ascontiguousarray(probes[some]), wanted, params=parameters)
        similarities[some], rows[some] = best_of(vectors, probes[some], found, k)
    return similarities, rows


def best_of(
    vectors: Vectors, probes: Vectors, candidates: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of each probe's candidates, compared exactly."""
    if candidates.size and not -1 <= candidates.min() <= candidates.max() < len(vectors):
        raise CorruptFileError(f"codes.faiss names rows that are not there; {REBUILD}")
    products = inner_products(vectors, probes, candidates)
    if k < products.shape[1]:
        order = np.argpartition(-products, k - 1, axis=1)[:, :k]
        products = np.take_along_axis(products, order, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
    order = np.argsort(-products, axis=1, kind="stable")
    return np.take_along_axis(products, order, 1), np.take_along_axis(candidates, order, 1)
