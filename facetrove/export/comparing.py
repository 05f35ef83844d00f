"""Compare searches in a database with searches of the index: recall, and the time of a search."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress
from facetrove.export.face_table import FaceTable
from facetrove.export.gallery import Gallery
from indexer.model_rates import operating_threshold

TUNING_PROBES, VERIFYING_PROBES = 200, 1_000
"""Number of faces that the settings are chosen with, and of others that `verify` asks about."""

RECALL_AT = 10
"""Number of nearest faces that recall is measured on."""


@dataclass(frozen=True)
class ExportVerification:
    """A comparison of searches in a database with those of the index, by faces of it as probes.

    A probe's own face is left out of both answers.

    Attributes:
        num_probes: number of probes.
        recall_at_10: share of the ten nearest faces by the index that the database returns, [0, 1].
        recall_of_matches: the same of those that reach `threshold`, [0, 1]; None: there are none.
        num_matches: number of faces that `recall_of_matches` is a share of.
        threshold: the operating threshold, a similarity; None: none is defined for the models.
        latency_ms_p50: median of the milliseconds that the database takes for one probe.
        index_latency_ms_p50: the same of the index.
    """

    num_probes: int
    recall_at_10: float
    recall_of_matches: float | None
    num_matches: int
    threshold: float | None
    latency_ms_p50: float
    index_latency_ms_p50: float


class Comparing:
    """Comparisons of a table's answers with those of an index."""

    def __init__(self, table: FaceTable, gallery: Gallery, on_progress: OnProgress) -> None:
        self._table = table
        self._gallery = gallery
        self._on_progress = on_progress
        self._k = min(RECALL_AT + 1, len(gallery))

    def tune(self, target_recall: float, *, is_indexed: bool) -> tuple[int | None, float | None]:
        """Choose the least effort that reaches a recall, of the exact ten nearest.

        Args:
            target_recall: the recall, (0, 1].
            is_indexed: whether the table has a vector index; else every search is exact.

        Returns:
            The effort, None where every search is exact, and the recall that it reaches, None where
            there are fewer than two faces. Where none reaches it, the effort is the greatest.
        """
        if self._k < 2:
            return None, None
        face_ids, probes = self._gallery.sample(TUNING_PROBES, seed=0)
        truth = self._gallery.nearest(probes, self._k, exact=True)[1]
        efforts = self._table.efforts if is_indexed else ()
        recall = 0.0
        for effort in efforts or (None,):
            self._on_progress(Progress("measuring the database's recall"))
            found = self._table.search(probes, self._k, effort)
            recall = float(_is_found(truth, found, face_ids).mean())
            if recall >= target_recall or effort is None:
                return effort, recall
        return efforts[-1], recall

    def verify(self, effort: int | None) -> ExportVerification | None:
        """Compare the ten nearest of a thousand faces; None: there are fewer than two faces.

        Args:
            effort: the database's effort, from `tune`.
        """
        if self._k < 2:
            return None
        manifest = self._gallery.snapshot.manifest
        face_ids, probes = self._gallery.sample(VERIFYING_PROBES, seed=1)
        by_index, by_database, seconds = [], [], np.zeros((len(probes), 2))
        near = np.zeros((len(probes), self._k), np.float32)
        for number, probe in enumerate(probes):
            if number % 100 == 0:
                self._on_progress(Progress("verifying", number, len(probes), "probes"))
            began = time.perf_counter()
            near[number], ids = self._gallery.nearest(probe[np.newaxis], self._k)
            between = time.perf_counter()
            by_database += self._table.search(probe[np.newaxis], self._k, effort)
            seconds[number] = between - began, time.perf_counter() - between
            by_index += ids
        is_found = _is_found(by_index, by_database, face_ids)
        threshold = operating_threshold(
            manifest.contract.embedder, manifest.num_faces, manifest.calibration
        )
        others = np.array(list(map(_are_others, by_index, face_ids)))
        near = near[others].reshape(len(probes), -1)
        is_match = np.zeros_like(is_found) if threshold is None else near >= threshold
        num_matches = int(is_match.sum())
        ours, theirs = np.median(seconds, axis=0) * 1000
        return ExportVerification(
            len(probes),
            float(is_found.mean()),
            float(is_found[is_match].mean()) if num_matches else None,
            num_matches,
            threshold,
            float(theirs),
            float(ours),
        )


def _is_found(
    truth: list[list[str]], found: list[list[str]], face_ids: list[str]
) -> NDArray[np.bool_]:
    """Return (p, k) bool: which of the k nearest faces of p probes are among those found.

    Args:
        truth: the k + 1 nearest faces of each probe.
        found: the faces that were found for each.
        face_ids: the faces that the probes are, which do not count.
    """
    rows = []
    for ids, own, answers in zip(truth, face_ids, found, strict=True):
        are_others = zip(ids, _are_others(ids, own), strict=True)
        rows.append([face_id in answers for face_id, is_other in are_others if is_other])
    return np.array(rows, bool)


def _are_others(ids: list[str], own: str) -> list[bool]:
    """Return for each of k + 1 faces whether it counts: all but a probe's own, or but the last."""
    left_out = ids.index(own) if own in ids else len(ids) - 1
    return [number != left_out for number in range(len(ids))]
