"""The nearest faces of many probes in an index, as a join of collections needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.forks import starting_threads
from indexer.exact_search import nearest_rows
from indexer.faiss_library import faiss
from indexer.inverted_lists import SAMPLE_PROBES, InvertedLists, Neighbours, best_of_each
from indexer.segment import Segment, require_similarities
from indexer.snapshot import Snapshot
from indexer.vectors import RowMask, Vectors

NOT_IN_INDEX = -2
"""Position of a probe that is no face of the index. Padding of results is -1."""

PROBES_AT_ONCE = 1 << 17
"""Faces whose nearest are looked for at a time in `similar_faces`, which bounds memory."""

PAIRS_RECALL = 0.98
"""Share of the exact nearest faces, from the smallest similarity on, that `similar_faces` finds.
Most of the others are strangers: of a generated million, 0.99 of one person's pairs are found."""


FEW_RECALL, FEW_SAMPLES = 0.95, 300
"""The same where few faces ask, whom others do not find in turn, and the number of faces by which
it is measured: of a million, one such face is compared with all others in 5 ms."""


class NearestFaces:
    """Searches of many probes at once in a version of an index.

    Segments with inverted lists are searched list by list, others as any search does.

    Attributes:
        snapshot: the version of the index.

    Args:
        snapshot: the version of the index.
        nprobes: number of inverted lists to probe, by segment id; `effort` measures them.
    """

    def __init__(self, snapshot: Snapshot, nprobes: Mapping[str, int]) -> None:
        self.snapshot = snapshot
        self._nprobes = nprobes
        sizes = [len(segment.vectors) for segment in snapshot.segments]
        self._starts = np.cumsum([0, *sizes])[:-1].tolist()
        self._lists: dict[str, InvertedLists] = {}

    @cached_property
    def face_ids(self) -> pa.Array:
        """The face_id at each position, deleted faces included: (n,) string."""
        columns = [segment.faces.table["face_id"] for segment in self.snapshot.segments]
        chunks = [chunk for column in columns for chunk in column.chunks]
        return pa.concat_arrays([pa.array([], pa.string()), *chunks])

    @cached_property
    def live_positions(self) -> NDArray[np.int64]:
        """The positions of the faces that are not deleted: (m,), ascending."""
        return np.flatnonzero(self.snapshot.live())

    @cached_property
    def is_exact(self) -> bool:
        """Whether all segments are searched exactly."""
        return all(segment.codes is None for segment in self.snapshot.segments)

    def positions_of(self, face_ids: pa.Array) -> NDArray[np.int64]:
        """Return the position of the live face with each face id, or `NOT_IN_INDEX`: (n,)."""
        live_ids = self.face_ids.take(pa.array(self.live_positions))
        found = pc.index_in(face_ids, value_set=live_ids)
        rows = found.fill_null(-1).to_numpy(zero_copy_only=False)
        positions = np.full(len(rows), NOT_IN_INDEX, np.int64)
        positions[rows >= 0] = self.live_positions[rows[rows >= 0]]
        return positions

    def effort(
        self,
        k: int,
        *,
        target_recall: float,
        threshold: float | None,
        either: bool = False,
        num_samples: int = SAMPLE_PROBES,
    ) -> dict[str, int]:
        """Measure how many inverted lists must be probed for a recall, by segment id.

        Args:
            k, target_recall, threshold, either, num_samples: as in
                `InvertedLists.lists_to_probe`.
        """
        starting_threads()
        return {
            segment.entry.segment_id: self._lists_of(segment).lists_to_probe(
                k,
                target_recall=target_recall,
                threshold=threshold,
                either=either,
                num_samples=num_samples,
            )
            for segment in self.snapshot.segments
            if has_lists(segment)
        }

    def nearest(
        self,
        probes: Vectors,
        k: int,
        *,
        own: NDArray[np.int64],
        min_similarity: float | None = None,
        exact: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k faces most similar to each probe, without the probe's own face.

        Args:
            probes: (p, d) embeddings of unit length.
            k: number of faces to find for each probe.
            own: (p,) position of each probe's own face, which is left out, or `NOT_IN_INDEX`.
            min_similarity: smallest similarity of a face that is found; None: no limit.
            exact: whether to compare with every face, whatever the recipe.

        Returns:
            (p, k) exact similarities, descending, and (p, k) positions. Where fewer than k faces
            were found, they are padded with -inf and -1.

        Raises:
            CorruptFileError: vectors or codes are not what was written.
            WrongUsageError: this process was forked from one that had computed.
        """
        starting_threads()
        found = [(np.empty((len(probes), 0), np.float32), np.empty((len(probes), 0), np.int64))]
        for segment, start in zip(self.snapshot.segments, self._starts, strict=True):
            if exact:
                mask = None if segment.deleted is None else RowMask(segment.live())
                similarities, rows = nearest_rows(segment.vectors, probes, k + 1, mask)
            else:
                similarities, rows = self._search(segment, probes, k + 1, min_similarity)
            require_similarities(segment, similarities)
            found.append((similarities, np.where(rows < 0, -1, rows + start)))
        similarities = np.concatenate([part[0] for part in found], axis=1)
        positions = np.concatenate([part[1] for part in found], axis=1)
        similarities[positions == own[:, None]] = -np.inf
        if min_similarity is not None:
            similarities[similarities < min_similarity] = -np.inf
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        similarities = np.take_along_axis(similarities, order, axis=1)
        positions = np.take_along_axis(positions, order, axis=1)
        positions[np.isneginf(similarities)] = -1
        return similarities, positions

    def similar(
        self, probes: Vectors, k: int, *, own: NDArray[np.int64], min_similarity: float | None
    ) -> Neighbours:
        """Find the faces that `nearest` finds, as pairs, ordered by probe only.

        Args:
            probes, k, own, min_similarity: as for `nearest`.

        Returns:
            The pairs of the numbers of probes and positions.
        """
        starting_threads()
        found = [Neighbours(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))]
        for segment, start in zip(self.snapshot.segments, self._starts, strict=True):
            near = None
            if has_lists(segment) and min_similarity is not None:
                near = self._lists_of(segment).above(
                    probes,
                    k + 1,
                    nprobe=self._nprobes[segment.entry.segment_id],
                    min_similarity=min_similarity,
                )
            if near is None:
                similarities, rows = self._search(segment, probes, k + 1, min_similarity)
                if min_similarity is not None:
                    rows[similarities < min_similarity] = -1
                which, column = np.nonzero(rows >= 0)
                near = Neighbours(
                    which.astype(np.int32), rows[which, column], similarities[which, column]
                )
            require_similarities(segment, near.similarities)
            positions = near.rows + start
            others = positions != own[near.probes]
            found.append(
                Neighbours(near.probes[others], positions[others], near.similarities[others])
            )
        return best_of_each(Neighbours(*map(np.concatenate, zip(*found, strict=True))), k)

    def _search(
        self, segment: Segment, probes: Vectors, k: int, min_similarity: float | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k rows of a segment that are most similar to each probe."""
        if not has_lists(segment):
            return segment.search(probes, k)
        return self._lists_of(segment).nearest(
            probes, k, nprobe=self._nprobes[segment.entry.segment_id], min_similarity=min_similarity
        )

    def with_effort(self, nprobes: Mapping[str, int]) -> NearestFaces:
        """Return searches of the same version with other numbers of inverted lists to probe."""
        other = NearestFaces(self.snapshot, nprobes)
        other._lists = self._lists
        return other

    def _lists_of(self, segment: Segment) -> InvertedLists:
        segment_id = segment.entry.segment_id
        if segment_id not in self._lists:
            mask = None if segment.deleted is None else RowMask(segment.live())
            self._lists[segment_id] = InvertedLists(segment.vectors, segment.codes, mask)
        return self._lists[segment_id]


@dataclass(frozen=True)
class SimilarFaces:
    """Pairs of similar faces of an index, each once.

    Attributes:
        pairs: (m, 2) rows of two faces, counted through the faces that are not deleted; the smaller
            row comes first.
        similarities: (m,) similarity of the two.
    """

    pairs: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def among(self, rows: NDArray[np.int64]) -> SimilarFaces:
        """Return the same pairs by the places of their faces in `rows`, ascending, all of them."""
        return SimilarFaces(np.searchsorted(rows, self.pairs), self.similarities)


def similar_faces(
    snapshot: Snapshot,
    min_similarity: float,
    *,
    k: int = 50,
    rows: NDArray[np.int64] | None = None,
) -> SimilarFaces:
    """Find the pairs of similar faces of an index: for each face its k nearest.

    Args:
        snapshot: the version of the index.
        min_similarity: smallest similarity of a pair, [-1, 1].
        k: number of nearest faces that are looked at of each face.
        rows: (n,) the faces whose nearest are looked for, counted through the faces that are not
            deleted; None: all.
    """
    nearest = NearestFaces(snapshot, {})
    live = nearest.live_positions
    all_ask = rows is None
    rows = np.arange(len(live)) if rows is None else rows
    if len(rows):
        effort = nearest.effort(
            k,
            target_recall=PAIRS_RECALL if all_ask else FEW_RECALL,
            threshold=min_similarity,
            either=all_ask,
            num_samples=SAMPLE_PROBES if all_ask else FEW_SAMPLES,
        )
        nearest = nearest.with_effort(effort)
    keys, found = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(rows), PROBES_AT_ONCE):
        asking = rows[start : start + PROBES_AT_ONCE]
        near = nearest.similar(
            snapshot.embeddings(live[asking]), k, own=live[asking], min_similarity=min_similarity
        )
        one, other = asking[near.probes], np.searchsorted(live, near.rows)
        keys.append(np.minimum(one, other) * len(live) + np.maximum(one, other))
        found.append(near.similarities)
    every, similarities = np.concatenate(keys), np.concatenate(found)
    order = np.argsort(every)
    order = order[np.diff(every[order], prepend=-1) > 0]
    pairs = np.stack(np.divmod(every[order], max(1, len(live))), axis=1)
    return SimilarFaces(pairs, similarities[order])


def has_lists(segment: Segment) -> bool:
    """Return whether a segment has inverted lists of its embeddings as they are."""
    return isinstance(segment.codes, faiss.IndexIVF)


def use_threads(count: int) -> None:
    """Have FAISS compute on so many threads from now on, in this worker process."""
    faiss.omp_set_num_threads(count)
