"""Exact search on a GPU: a segment's embeddings in its memory."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import Device
from indexer.recipes import ADD_ROWS, use_gpu
from indexer.vectors import Vectors

MAX_MATCHES = 2048
"""FAISS's GPU search finds no more for each probe."""


class GpuVectors:
    """Embeddings in the memory of a GPU."""

    def __init__(self, vectors: Vectors) -> None:
        self._resources = faiss.StandardGpuResources()
        self._index: faiss.Index = faiss.GpuIndexFlatIP(self._resources, vectors.shape[1])
        for start in range(0, len(vectors), ADD_ROWS):
            self._index.add(np.ascontiguousarray(vectors[start : start + ADD_ROWS]))

    def nearest(self, probes: Vectors, k: int) -> NDArray[np.int64]:
        """(p, k) rows nearest each of (p, d) probes, -1 for none; k up to `MAX_MATCHES`."""
        _, rows = self._index.search(np.ascontiguousarray(probes), k)
        return np.asarray(rows, dtype=np.int64)


def on_gpu(vectors: Vectors, device: Device) -> GpuVectors | None:
    """Embeddings brought to a GPU; None where they are to be searched on the processor.

    Args:
        vectors: (n, d).
        device: `auto`: where there is a GPU and they fit its memory.

    Raises:
        WrongUsageError: a GPU was asked for, and there is none, or they do not fit it.
    """
    if not use_gpu(device) or len(vectors) == 0:
        return None
    try:
        return GpuVectors(vectors)
    except RuntimeError as error:
        if device == "cuda":
            raise WrongUsageError(
                f"{len(vectors):,} embeddings cannot be brought to the GPU ({first_line(error)}); "
                "leave the device out, or give cpu"
            ) from error
        return None
