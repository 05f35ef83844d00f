"""Search by inverted list: each list of an IVF index is compared with all probes that probe it.

A search of many probes at once reads each inverted list once for all of them, and compares exact
embeddings by matrix multiplication, where a search probe by probe would read the list again for
each. FAISS's `contrib/big_batch_search` does the same with the codes of a list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from indexer.exact_search import nearest_rows
from indexer.faiss_library import faiss
from indexer.layout import REBUILD
from indexer.recipes import SEED, sample_rows
from indexer.vectors import RowMask, Vectors

PRODUCTS_AT_ONCE = 1 << 22
"""Similarities that are computed at a time, which bounds memory: 16 MB."""

SAMPLE_PROBES = 1_000
"""Number of faces with which `lists_to_probe` measures how many lists must be probed."""

RANKED_AT_ONCE = 1 << 22
"""Pairs of a probe and a list that are ranked at a time, which bounds memory: 50 MB."""


def list_ids(lists: faiss.InvertedLists, list_number: int) -> NDArray[np.int64]:
    """Return a copy of the (m,) row numbers in an inverted list."""
    return np.array(faiss.rev_swig_ptr(lists.get_ids(list_number), lists.list_size(list_number)))


class InvertedLists:
    """The rows of a segment by inverted list, for searching exact embeddings list by list.

    Attributes:
        nlist: number of inverted lists.

    Args:
        vectors: (n, d) embeddings of unit length.
        codes: IVF index of the same n rows.
        mask: the rows that may be found; None: all.

    Raises:
        CorruptFileError: the lists do not hold each row once.
    """

    def __init__(self, vectors: Vectors, codes: faiss.IndexIVF, mask: RowMask | None) -> None:
        lists = faiss.downcast_InvertedLists(codes.invlists)
        self.nlist = int(codes.nlist)
        ids = [list_ids(lists, number) for number in range(self.nlist)]
        rows = np.concatenate(ids)
        if not np.array_equal(np.sort(rows), np.arange(len(vectors))):
            raise CorruptFileError(
                f"codes.faiss does not hold each of its segment's {len(vectors)} rows once; "
                f"{REBUILD}"
            )
        self._list_of_row = np.empty(len(vectors), np.int32)
        self._list_of_row[rows] = np.repeat(
            np.arange(self.nlist, dtype=np.int32), list(map(len, ids))
        )
        self._ids = ids if mask is None else [rows[mask.rows[rows]] for rows in ids]
        self._vectors = vectors
        self._quantizer = codes.quantizer
        self._mask = mask

    def nearest(
        self, probes: Vectors, k: int, *, nprobe: int, min_similarity: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k rows most similar to each probe among those of the lists nearest to it.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of rows to find for each probe.
            nprobe: number of lists that are compared with each probe, 1 to `nlist`.
            min_similarity: smallest similarity of a row that is found; None: no limit.

        Returns:
            (p, k) exact similarities, descending, and (p, k) rows. Where fewer than k rows were
            found, they are padded with -inf and -1.
        """
        heap = faiss.ResultHeap(len(probes), k, keep_max=True)
        if min_similarity is not None:
            # A row enters a heap if it is more similar than the least similar one there.
            heap.D[:] = np.nextafter(np.float32(min_similarity), np.float32(-np.inf))
        probes = np.ascontiguousarray(probes)
        _, probed = self._quantizer.search(probes, nprobe)
        probed = probed.astype(np.int32)
        limits = faiss.matrix_bucket_sort_inplace(probed, nbucket=self.nlist, nt=1)
        askers = probed.ravel()  # which now has the probes by list
        for number, rows in enumerate(self._ids):
            asking = askers[limits[number] : limits[number + 1]]
            if len(asking) and len(rows):
                self._compare(heap, probes, asking, rows)
        heap.finalize()
        similarities, found = np.asarray(heap.D), np.asarray(heap.I, dtype=np.int64)
        similarities[found < 0] = -np.inf
        return similarities, found

    def _compare(
        self,
        heap: faiss.ResultHeap,
        probes: Vectors,
        asking: NDArray[np.int32],
        rows: NDArray[np.int64],
    ) -> None:
        """Compare the probes with numbers `asking` with the rows of a list, and keep the best."""
        in_list = self._vectors[rows].T
        at_once = max(1, PRODUCTS_AT_ONCE // len(rows))
        for start in range(0, len(asking), at_once):
            some = asking[start : start + at_once]
            heap.add_result_subset(some, probes[some] @ in_list, rows)

    def lists_to_probe(self, k: int, *, target_recall: float, threshold: float | None) -> int:
        """Return the number of lists to probe for a recall, by exact search for a sample of rows.

        Args:
            k: number of rows that are to be found for each probe.
            target_recall: share of the exact k nearest rows that must be found, (0, 1].
            threshold: smallest similarity of the rows that count; None, or if there is none as
                similar: all of the k nearest count.

        Returns:
            The number of lists, 1 to `nlist`; a standard error of the sample is allowed for.
        """
        live = (
            np.arange(len(self._vectors)) if self._mask is None else np.flatnonzero(self._mask.rows)
        )
        own = live[sample_rows(len(live), SAMPLE_PROBES, SEED + 2)]
        probes = np.ascontiguousarray(self._vectors[own])
        similarities, rows = nearest_rows(self._vectors, probes, k + 1, self._mask)
        others = (rows >= 0) & (rows != own[:, None])
        if threshold is not None and (others & (similarities >= threshold)).any():
            others &= similarities >= threshold
        counts = np.zeros(self.nlist + 1, np.int64)
        at_once = max(1, RANKED_AT_ONCE // self.nlist)
        for start in range(0, len(own), at_once):
            _, order = self._quantizer.search(probes[start : start + at_once], self.nlist)
            ranks = np.empty_like(order)
            np.put_along_axis(ranks, order, np.arange(self.nlist)[None, :], axis=1)
            which, column = np.nonzero(others[start : start + at_once])
            lists = self._list_of_row[rows[start : start + at_once][which, column]]
            np.add.at(counts, ranks[which, lists] + 1, 1)
        if not counts.any():
            return 1
        share = np.cumsum(counts) / counts.sum()
        share -= (share * (1 - share) / np.count_nonzero(others.any(axis=1))) ** 0.5
        enough = np.flatnonzero(share >= target_recall)
        return max(1, int(enough[0])) if len(enough) else self.nlist
