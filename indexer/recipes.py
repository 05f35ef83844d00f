"""FAISS indexes by recipe: which recipe suits a gallery; made, trained, filled, searched.

`indexer.options` says what a recipe is.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import Device
from indexer.options import AUTO, EXACT, IndexOptions, Recipe
from indexer.vectors import RowMask, Vectors

EXACT_UP_TO_FACES = 100_000
"""Below, exact search takes some milliseconds, and nothing is gained by less."""

TRAINING_FACES_PER_GROUP = 64  # FAISS warns below 39; 40 costs 0.0005 of recall
MAX_GROUPS = 1 << 16
TRAINING_FACES = 1 << 16  # for codes, which learn little more from more
SEED = 20260101

ID_BYTES = 8  # of each face in a group, beside its code
MAX_CODE_NUMBERS = 256
"""Four-bit numbers in a code at most: 128 bytes, beyond which embeddings gain nothing."""


def choose_recipe(options: IndexOptions, num_faces: int, dimension: int) -> Recipe:
    """The recipe for a number of faces; its search is tuned once it is built.

    Raises:
        WrongUsageError: no such recipe, or none fits the memory.
    """
    if options.recipe == EXACT:
        return Recipe(reason="as asked")
    if options.recipe != AUTO:
        empty_index(options.recipe, dimension)  # refuses what cannot be searched
        return Recipe(options.recipe, reason="as asked")
    if num_faces <= EXACT_UP_TO_FACES:
        return Recipe(reason=f"{num_faces:,} faces are compared in milliseconds")
    numbers = _code_numbers(options, num_faces, dimension)
    return Recipe(
        f"IVF{_num_lists(num_faces)},PQ{numbers}x4fs",
        reason=f"{numbers // 2} bytes of code a face, the nearest candidates compared exactly",
    )


def _num_lists(num_faces: int) -> int:
    """Some 4 sqrt(n) groups balance finding the groups against looking through them (guidelines of
    the FAISS wiki); a power of two, and no more than can be trained."""
    most = min(4 * num_faces**0.5, num_faces / TRAINING_FACES_PER_GROUP, MAX_GROUPS)
    return 1 << max(0, int(np.log2(most) + 0.2))


def _code_numbers(options: IndexOptions, num_faces: int, dimension: int) -> int:
    """Four-bit numbers in a code: one for two numbers of an embedding, fewer if memory is short."""
    numbers = [m for m in range(2, MAX_CODE_NUMBERS + 1, 2) if dimension % m == 0]
    numbers = [m for m in numbers if 2 * m <= dimension] or [1]
    if options.memory_bytes is None:
        return numbers[-1]
    fixed = 4 * dimension * _num_lists(num_faces)
    fitting = [m for m in numbers if fixed + num_faces * (m / 2 + ID_BYTES) <= options.memory_bytes]
    if not fitting:
        least = fixed + num_faces * (numbers[0] / 2 + ID_BYTES)
        raise WrongUsageError(
            f"{num_faces:,} faces cannot be searched in {options.memory_bytes:,} bytes; give at "
            f"least {least:,.0f}"
        )
    return fitting[-1]


def empty_index(factory: str, dimension: int) -> faiss.Index:
    """A new FAISS index of a factory string, not trained yet.

    The faces of an index are compared by inner product; recipes that change the order of
    rows, or that answer by another measure, are refused.

    Raises:
        WrongUsageError: FAISS cannot make it, or we could not search it.
    """
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise WrongUsageError(
            f"FAISS knows no recipe {factory!r} for {dimension} numbers ({_cause(error)}); give "
            "auto, exact or a factory string such as IVF4096,PQ64x4fs or HNSW32,SQ8"
        ) from error
    search_parameters(index, Recipe(factory))  # raises where we could not search it
    inner = unwrapped(index)
    if isinstance(inner, faiss.IndexIVF):
        if inner.nlist < 1:
            raise WrongUsageError(f"recipe {factory!r} has no group; give 1 or more")
        inner.cp.min_points_per_centroid = 1  # few faces are no reason for FAISS to print
        inner.cp.seed = SEED
    return index


def _cause(error: RuntimeError) -> str:
    """The point of a message of FAISS, without the place in its sources."""
    return first_line(error).rpartition(": ")[2][:200]


def unwrapped(index: faiss.Index) -> faiss.Index:
    """The index that holds the codes, behind transformations of the vectors."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return index


def search_parameters(
    index: faiss.Index, recipe: Recipe, mask: RowMask | None = None
) -> faiss.SearchParameters:
    """FAISS's parameters for one search.

    Args:
        index: of the recipe.
        recipe: its settings.
        mask: the rows that may be found; all by default.

    Raises:
        WrongUsageError: it is of a kind that cannot be searched so.
    """
    settings = {} if mask is None else {"sel": faiss.IDSelectorBitmap(mask.bits)}
    inner = unwrapped(index)
    if isinstance(inner, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(nprobe=recipe.nprobe or 1, **settings)
    elif isinstance(inner, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=recipe.ef_search or 16, **settings)
    elif isinstance(inner, faiss.IndexFlat | faiss.IndexScalarQuantizer):
        parameters = faiss.SearchParameters(**settings)
    else:
        raise WrongUsageError(
            f"recipe {recipe.factory!r} makes a {type(inner).__name__}, which filters cannot be "
            "applied to; choose one of IVF, HNSW, SQ or Flat (IVF1,PQ16 for PQ16)"
        )
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=parameters)
    return parameters


def sample_rows(num_rows: int, count: int, seed: int = SEED) -> NDArray[np.int64]:
    """`count` row numbers of `num_rows`, or all if they are fewer; ascending, always the same."""
    generator = np.random.default_rng(seed)
    rows = generator.choice(num_rows, size=min(count, num_rows), replace=False)
    return np.sort(rows).astype(np.int64)


def train(recipe: Recipe, vectors: Vectors, *, device: Device = "auto") -> faiss.Index:
    """A trained FAISS index without faces.

    Args:
        recipe: not exact.
        vectors: (n, d), of which a sample is taken.
        device: where the groups are found.
    """
    index = empty_index(recipe.factory, vectors.shape[1])
    inner = unwrapped(index)
    wanted = TRAINING_FACES
    if isinstance(inner, faiss.IndexIVF):
        wanted = max(int(inner.nlist) * TRAINING_FACES_PER_GROUP, wanted)
        if use_gpu(device):
            gpu = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
            inner.clustering_index = gpu
    sample = np.ascontiguousarray(vectors[sample_rows(len(vectors), wanted)])
    try:
        index.train(sample)
    except RuntimeError as error:
        raise WrongUsageError(
            f"recipe {recipe.factory!r} cannot be trained on {len(sample):,} faces "
            f"({_cause(error)}); choose a coarser one, or auto"
        ) from error
    if isinstance(inner, faiss.IndexIVF):
        inner.clustering_index = None  # belongs to the GPU
    return index


ADD_ROWS = 1 << 16


def add(index: faiss.Index, vectors: Vectors) -> Iterator[int]:
    """Add all rows to a trained index, some at a time; gives how many were added so far."""
    for start in range(0, len(vectors), ADD_ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + ADD_ROWS]))
        yield int(index.ntotal)


def use_gpu(device: Device) -> bool:
    """Whether to work on a GPU.

    Raises:
        WrongUsageError: one was asked for and FAISS sees none.
    """
    gpus = 0 if device == "cpu" else int(faiss.get_num_gpus())
    if device == "cuda" and gpus == 0:
        raise WrongUsageError("FAISS sees no GPU here; leave --device out, or give cpu")
    return gpus > 0
