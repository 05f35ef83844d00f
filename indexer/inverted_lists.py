"""Search by inverted list: each list of an IVF index is compared with all probes that probe it.

A search of many probes at once reads each inverted list once for all of them, and compares exact
embeddings by matrix multiplication, where a search probe by probe would read the list again for
each. FAISS's `contrib/big_batch_search` does the same with the codes of a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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

MAX_ABOVE = 1 << 23
"""Pairs above a smallest similarity up to which these are sorted instead of kept in heaps, which
bounds memory: 16 bytes each, some 400 MB with what sorting takes."""

RANKED_AT_ONCE = 1 << 22
"""Pairs of a probe and a list that are ranked at a time, which bounds memory: 20 MB."""


class Neighbours(NamedTuple):
    """Pairs of a probe and a row that is similar to it.

    Attributes:
        probes: (m,) numbers of the probes.
        rows: (m,) rows.
        similarities: (m,) exact similarities.
    """

    probes: NDArray[np.int32]
    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]


_NO_NEIGHBOURS = Neighbours(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))


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
        probes = np.ascontiguousarray(probes)
        if min_similarity is not None:
            above = self.above(probes, k, nprobe=nprobe, min_similarity=min_similarity)
            if above is not None:
                return in_rows(above, (len(probes), k))
        heap = faiss.ResultHeap(len(probes), k, keep_max=True)
        if min_similarity is not None:
            # A row enters a heap if it is more similar than the least similar one there.
            heap.D[:] = np.nextafter(np.float32(min_similarity), np.float32(-np.inf))
        for asking, rows, products in self._products(probes, nprobe):
            heap.add_result_subset(asking, products, rows)
        heap.finalize()
        similarities, nearest = np.asarray(heap.D), np.asarray(heap.I, dtype=np.int64)
        similarities[nearest < 0] = -np.inf
        return similarities, nearest

    def above(
        self, probes: Vectors, k: int, *, nprobe: int, min_similarity: float
    ) -> Neighbours | None:
        """Find the rows that `nearest` finds, without heaps: most products are below a threshold.

        Args:
            probes, k, nprobe, min_similarity: as for `nearest`.

        Returns:
            The pairs; None if so many products are above the threshold that heaps are faster.
        """
        threshold, num_above = np.float32(min_similarity), 0
        found = [_NO_NEIGHBOURS]
        for asking, in_list, products in self._products(probes, nprobe):
            flat = products.ravel()
            above = np.flatnonzero(flat >= threshold)
            asker, column = np.divmod(above, len(in_list))
            found.append(Neighbours(asking[asker], in_list[column], flat[above]))
            num_above += len(above)
            if num_above > MAX_ABOVE:
                return None
        return best_of_each(Neighbours(*map(np.concatenate, zip(*found, strict=True))), k)

    def _products(
        self, probes: Vectors, nprobe: int
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]]:
        """Compare probes with the rows of the lists nearest to them, list by list.

        Yields:
            (p,) numbers of probes, (m,) rows of a list, and their (p, m) similarities.
        """
        probed = self._quantizer.search(probes, nprobe)[1].astype(np.int32)
        limits = faiss.matrix_bucket_sort_inplace(probed, nbucket=self.nlist, nt=1)
        askers = probed.ravel()  # which now has the probes by list
        for number, rows in enumerate(self._ids):
            asking = askers[limits[number] : limits[number + 1]]
            if len(asking) == 0 or len(rows) == 0:
                continue
            in_list = self._vectors[rows].T
            at_once = max(1, PRODUCTS_AT_ONCE // len(rows))
            for start in range(0, len(asking), at_once):
                some = asking[start : start + at_once]
                yield some, rows, probes[some] @ in_list

    def lists_to_probe(
        self,
        k: int,
        *,
        target_recall: float,
        threshold: float | None,
        either: bool = False,
        num_samples: int = SAMPLE_PROBES,
    ) -> int:
        """Return the number of lists to probe for a recall, by exact search for a sample of rows.

        Args:
            k: number of rows that are to be found for each probe.
            target_recall: share of the exact k nearest rows that must be found, (0, 1].
            threshold: smallest similarity of the rows that count; None, or if there is none as
                similar: all of the k nearest count.
            either: whether it is enough that the row finds the probe, since all rows are probes.
            num_samples: number of rows in the sample.

        Returns:
            The number of lists, 1 to `nlist`; a standard error of the sample is allowed for.
        """
        live = (
            np.arange(len(self._vectors)) if self._mask is None else np.flatnonzero(self._mask.rows)
        )
        own = live[sample_rows(len(live), num_samples, SEED + 2)]
        probes = np.ascontiguousarray(self._vectors[own])
        similarities, rows = nearest_rows(self._vectors, probes, k + 1, self._mask)
        others = (rows >= 0) & (rows != own[:, None])
        if threshold is not None and (others & (similarities >= threshold)).any():
            others &= similarities >= threshold
        which, column = np.nonzero(others)
        if len(which) == 0:
            return 1
        neighbours = rows[which, column]
        ranks = self._ranks(probes, which, self._list_of_row[neighbours])
        if either:
            each, of_pair = np.unique(neighbours, return_inverse=True)
            there = np.ascontiguousarray(self._vectors[each])
            ranks = np.minimum(ranks, self._ranks(there, of_pair, self._list_of_row[own[which]]))
        counts = np.bincount(ranks + 1, minlength=self.nlist + 1)
        share = np.cumsum(counts) / counts.sum()
        share -= (share * (1 - share) / np.count_nonzero(others.any(axis=1))) ** 0.5
        enough = np.flatnonzero(share >= target_recall)
        return max(1, int(enough[0])) if len(enough) else self.nlist

    def _ranks(
        self, probes: Vectors, which: NDArray[np.int64], lists: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """Return (m,) how many lists are nearer to a probe than a given one.

        Args:
            probes: (p, d) embeddings.
            which: (m,) numbers of probes.
            lists: (m,) numbers of lists.
        """
        centroids = self._quantizer.reconstruct_n(0, self.nlist)
        ranks = np.empty(len(which), np.int64)
        at_once = max(1, RANKED_AT_ONCE // self.nlist)
        for start in range(0, len(which), at_once):
            some = slice(start, start + at_once)
            products = probes[which[some]] @ centroids.T
            own = np.take_along_axis(products, lists[some, None].astype(np.int64), axis=1)
            ranks[some] = np.count_nonzero(products > own, axis=1)
        return ranks


def best_of_each(found: Neighbours, k: int) -> Neighbours:
    """Return the k most similar rows of each probe, ordered by probe only."""
    order = np.argsort(found.probes, kind="stable")
    probes, rows, similarities = found.probes[order], found.rows[order], found.similarities[order]
    counts = np.bincount(probes)
    many = np.flatnonzero(counts[probes] > k)
    if len(many):
        best = many[np.lexsort((rows[many], -similarities[many], probes[many]))]
        starts = np.searchsorted(probes[best], probes[best])
        kept = counts[probes] <= k
        kept[best[np.arange(len(best)) - starts < k]] = True
        probes, rows, similarities = probes[kept], rows[kept], similarities[kept]
    return Neighbours(probes, rows, similarities)


def in_rows(
    found: Neighbours, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pairs as (p, k) similarities, descending, and rows; -inf and -1 for padding.

    Args:
        found: pairs, of which each probe has k at most.
        shape: p and k.
    """
    order = np.lexsort((found.rows, -found.similarities, found.probes))
    probes, rows, similarities = (column[order] for column in found)
    rank = np.arange(len(probes)) - np.searchsorted(probes, probes)
    best = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    best[0][probes, rank], best[1][probes, rank] = similarities, rows
    return best
