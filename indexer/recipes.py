"""FAISS indexes by recipe: choose a recipe for a gallery; make, train, fill and search its index.

`indexer.options.Recipe` says what a recipe is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import Device
from indexer.codes_file import require_known_kind
from indexer.faiss_library import faiss
from indexer.options import AUTO, EXACT, IndexOptions, Recipe
from indexer.vectors import RowMask, Vectors

EXACT_UP_TO_FACES = 100_000
"""Largest number of faces for which `auto` chooses exact search, which then takes milliseconds."""

TRAINING_FACES_PER_LIST = 64
"""Faces per inverted list that the clustering is trained on. FAISS warns below 39; 40 costs 0.0005
of recall."""

MAX_LISTS = 1 << 16
"""Largest number of inverted lists, whose training takes 4.2 million faces."""

TRAINING_FACES = 1 << 16
"""Number of faces to train on at least; product quantisers learn little more from more."""

SEED = 20260101
"""Seed of every random choice in a build: samples of faces, and FAISS's clustering."""

ID_BYTES = 8
"""Bytes that an inverted list keeps for each face beside its code: the row number."""

MAX_SUBQUANTISERS = 256
"""Largest number of 4-bit subquantisers in a code: 128 bytes, beyond which recall does not grow."""


def choose_recipe(options: IndexOptions, num_faces: int, dimension: int) -> Recipe:
    """Choose the recipe for a gallery; its search settings are tuned once its index is built.

    Args:
        options: the options of the index.
        num_faces: number of faces in the gallery.
        dimension: number of dimensions of an embedding.

    Raises:
        WrongUsageError: FAISS has no such recipe, or no recipe fits the memory.
    """
    if options.recipe == EXACT:
        return Recipe(reason="as given")
    if options.recipe != AUTO:
        empty_index(options.recipe, dimension)  # raises if the recipe cannot be searched
        return Recipe(options.recipe, reason="as given")
    if num_faces <= EXACT_UP_TO_FACES:
        return Recipe(reason=f"{num_faces:,} faces are compared in milliseconds")
    num_subquantisers = _num_subquantisers(options, num_faces, dimension)
    num_bytes = num_subquantisers // 2
    return Recipe(
        f"IVF{_num_lists(num_faces)},PQ{num_subquantisers}x4fs",
        reason=f"{num_bytes} bytes of code a face, the nearest candidates compared exactly",
    )


def _num_lists(num_faces: int) -> int:
    """Return the number of inverted lists for a gallery: a power of two near 4 sqrt(n).

    That balances the time to find the nearest lists against the time to scan them (FAISS wiki,
    "Guidelines to choose an index"). There are no more lists than can be trained.
    """
    max_lists = min(4 * num_faces**0.5, num_faces / TRAINING_FACES_PER_LIST, MAX_LISTS)
    return 1 << max(0, int(np.log2(max_lists) + 0.2))


def _num_subquantisers(options: IndexOptions, num_faces: int, dimension: int) -> int:
    """Return the number of 4-bit subquantisers: one per 2 dimensions, fewer if memory is short."""
    counts = [m for m in range(2, MAX_SUBQUANTISERS + 1, 2) if dimension % m == 0]
    counts = [m for m in counts if 2 * m <= dimension] or [1]
    if options.memory_bytes is None:
        return counts[-1]
    fixed = 4 * dimension * _num_lists(num_faces)
    fitting = [m for m in counts if fixed + num_faces * (m / 2 + ID_BYTES) <= options.memory_bytes]
    if not fitting:
        min_bytes = fixed + num_faces * (counts[0] / 2 + ID_BYTES)
        raise WrongUsageError(
            f"{num_faces:,} faces cannot be searched in {options.memory_bytes:,} bytes; give at "
            f"least {min_bytes:,.0f}"
        )
    return fitting[-1]


def empty_index(factory: str, dimension: int) -> faiss.Index:
    """Make an untrained FAISS index from a factory string, with inner product as its metric.

    Args:
        factory: the FAISS factory string.
        dimension: number of dimensions of an embedding.

    Raises:
        WrongUsageError: FAISS cannot make the index, or the index cannot be searched with a mask.
    """
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise WrongUsageError(
            f"FAISS cannot make an index {factory!r} for {dimension} dimensions ({_cause(error)}); "
            "give --recipe auto, exact or a factory string that fits, such as IVF4096,PQ64x4fs or "
            "HNSW32,SQ8"
        ) from error
    search_parameters(index, Recipe(factory))  # raises if the recipe cannot be searched
    try:
        require_known_kind(index)
    except ValueError as error:
        raise WrongUsageError(
            f"recipe {factory!r} cannot be used: {error}; choose one of IVF or HNSW over Flat, SQ "
            "or PQ, such as IVF4096,PQ64x4fs or HNSW32,SQ8"
        ) from error
    inner = unwrapped(index)
    if isinstance(inner, faiss.IndexIVF):
        if inner.nlist < 1:
            raise WrongUsageError(f"recipe {factory!r} has 0 inverted lists; give 1 or more")
        inner.cp.min_points_per_centroid = 1  # keeps FAISS from printing a warning on few faces
        inner.cp.seed = SEED
    return index


def _cause(error: RuntimeError) -> str:
    """Return what a FAISS error says, without the position in FAISS's sources before it."""
    return first_line(error).rpartition(": ")[2][:200]


def unwrapped(index: faiss.Index) -> faiss.Index:
    """Return the FAISS index that holds the codes, inside any transformation of the vectors."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return index


def search_parameters(
    index: faiss.Index, recipe: Recipe, mask: RowMask | None = None
) -> faiss.SearchParameters:
    """Return FAISS's parameters for a search.

    Args:
        index: a FAISS index of the recipe.
        recipe: the recipe, which has the search settings.
        mask: the rows that may be found; None: all.

    Raises:
        WrongUsageError: an index of this kind cannot be searched with a mask.
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
    """Draw `count` of `num_rows` row numbers, or all if there are fewer; ascending, by seed."""
    generator = np.random.default_rng(seed)
    rows = generator.choice(num_rows, size=min(count, num_rows), replace=False)
    return np.sort(rows).astype(np.int64)


def train(recipe: Recipe, vectors: Vectors, *, device: Device = "auto") -> faiss.Index:
    """Make a FAISS index from a recipe and train it on a sample of faces; it holds no face yet.

    Args:
        recipe: a recipe that is not exact.
        vectors: (n, d) embeddings of unit length, from which the sample is drawn.
        device: where vectors are clustered: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one).

    Raises:
        WrongUsageError: the index cannot be trained on so few faces, or there is no such device.
    """
    index = empty_index(recipe.factory, vectors.shape[1])
    inner = unwrapped(index)
    num_samples = TRAINING_FACES
    if isinstance(inner, faiss.IndexIVF):
        num_samples = max(int(inner.nlist) * TRAINING_FACES_PER_LIST, num_samples)
        if use_gpu(device):
            gpu = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
            inner.clustering_index = gpu
    sample = np.ascontiguousarray(vectors[sample_rows(len(vectors), num_samples)])
    try:
        index.train(sample)
    except RuntimeError as error:
        raise WrongUsageError(
            f"recipe {recipe.factory!r} cannot be trained on {len(sample):,} faces "
            f"({_cause(error)}); choose a coarser one, or auto"
        ) from error
    if isinstance(inner, faiss.IndexIVF):
        inner.clustering_index = None  # the GPU's index is freed when this function returns
    return index


ADD_ROWS = 1 << 16
"""Rows added to a FAISS index at a time, which bounds memory."""


def add(index: faiss.Index, vectors: Vectors) -> Iterator[int]:
    """Add all rows to a trained index in blocks; yield how many rows it has after each."""
    for start in range(0, len(vectors), ADD_ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + ADD_ROWS]))
        yield int(index.ntotal)


_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""Where the driver of NVIDIA's cards answers, on Linux and in Windows' Linux."""


def use_gpu(device: Device) -> bool:
    """Return whether to use a GPU: yes for `cuda`, and for `auto` if FAISS sees one.

    Raises:
        WrongUsageError: `device` is `cuda` and FAISS sees no GPU.
    """
    if device == "cpu" or (device == "auto" and not any(map(os.path.exists, _GPU_DRIVERS))):
        return False  # without FAISS, which takes long to load
    gpus = int(faiss.get_num_gpus())
    if device == "cuda" and gpus == 0:
        raise WrongUsageError("FAISS sees no GPU here; leave --device out, or give cpu")
    return gpus > 0
