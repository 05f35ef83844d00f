"""Exact search on a GPU, with a segment's embeddings in the GPU's memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import Device
from indexer.faiss_library import faiss
from indexer.recipes import ADD_ROWS, use_gpu
from indexer.vectors import Vectors

MAX_MATCHES = 2048
"""Largest number of rows that FAISS's GPU search finds for each probe."""


class GpuVectors:
    """A segment's embeddings in the memory of a GPU."""

    def __init__(self, vectors: Vectors) -> None:
        self._resources = faiss.StandardGpuResources()
        self._index: faiss.Index = faiss.GpuIndexFlatIP(self._resources, vectors.shape[1])
        for start in range(0, len(vectors), ADD_ROWS):
            self._index.add(np.ascontiguousarray(vectors[start : start + ADD_ROWS]))

    def nearest(self, probes: Vectors, k: int) -> NDArray[np.int64]:
        """Find the k rows most similar to each probe, without a mask.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of rows to find, up to `MAX_MATCHES`.

        Returns:
            (p, k) rows, best first; -1 where there are no more.
        """
        _, rows = self._index.search(np.ascontiguousarray(probes), k)
        return np.asarray(rows, dtype=np.int64)


def on_gpu(vectors: Vectors, device: Device) -> GpuVectors | None:
    """Copy embeddings to a GPU; return None if they are to be searched on the CPU.

    Args:
        vectors: (n, d) embeddings.
        device: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one whose memory they fit).

    Raises:
        WrongUsageError: `device` is `cuda`, and FAISS sees no GPU or they do not fit its memory.
    """
    if not use_gpu(device) or len(vectors) == 0:
        return None
    try:
        return GpuVectors(vectors)
    except RuntimeError as error:
        if device == "cuda":
            raise WrongUsageError(
                f"{len(vectors):,} embeddings cannot be copied to the GPU ({first_line(error)}); "
                "leave the device out, or give cpu"
            ) from error
        return None
