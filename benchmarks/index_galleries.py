"""What indexes are measured on: a generated gallery, held-out probes and their exact answers.

    WORK/<faces>-<probes>-<faces per part>/dataset        of the gallery
                                          /index          facetrove's, by its automatic recipe
                                          /truth.npz      probes and what is nearest to them
                                          /vectors.npy    the gallery's embeddings, for peers

All is made when it is first asked for and used again. The probes are the first faces of the
generator's endless gallery, the enrolled ones those behind them: fresh faces of people of whom
most are enrolled with other faces.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.apart import apart
from benchmarks.galleries import (
    DIMENSION,
    face_ids,
    generate_faces,
    threshold_for,
    write_gallery_dataset,
)

K = 10

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """Probes and their exact answers.

    Attributes:
        probes: (p, d).
        people: (p,) whose face each is.
        similarities: (p, 10) of the nearest, descending.
        rows: (p, 10) of the gallery.
        probes_per_second: of the search that found them, in blocks of faces.
    """

    probes: Vectors
    people: Rows
    similarities: Vectors
    rows: Rows
    probes_per_second: float


@dataclass(frozen=True)
class Recall:
    """Shares of the exact answers found: of the nearest, of the ten nearest, of the matches."""

    at_1: float
    at_10: float
    of_matches: float
    num_matches: int


@dataclass(frozen=True)
class Gallery:
    """A gallery in a work folder.

    Attributes:
        work: folder of all galleries.
        count: faces enrolled.
        num_probes: faces held out.
        faces_per_part: of the dataset; 150 is what the embed job makes.
    """

    work: Path
    count: int
    num_probes: int = 2000
    faces_per_part: int = 150

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.work / f"{self.count}-{self.num_probes}-{self.faces_per_part}"

    @property
    def dataset(self) -> Path:
        """The dataset's folder."""
        return self.path / "dataset"

    @property
    def index(self) -> Path:
        """The index's folder."""
        return self.path / "index"

    @property
    def vectors_path(self) -> Path:
        """The embeddings' file."""
        return self.path / "vectors.npy"

    @property
    def threshold(self) -> float:
        """The operating threshold at this size."""
        return threshold_for(self.count)

    def make(self) -> None:
        """Write the dataset and find the exact answers, where they are not there."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.dataset.exists():
            began = time.perf_counter()
            apart(_write_dataset, self)
            seconds = time.perf_counter() - began
            print(f"(wrote the dataset of {self.count:,} faces in {seconds:.0f} s)", flush=True)
        if not self._truth_path.exists():
            apart(_find_truth, self)

    def make_vectors(self) -> None:
        """Write vectors.npy, where it is not there."""
        if not self.vectors_path.exists():
            apart(_write_vectors, self)

    @property
    def _truth_path(self) -> Path:
        return self.path / "truth.npz"

    @cached_property
    def truth(self) -> Truth:
        """The probes and their exact answers; `make` comes first."""
        with np.load(self._truth_path, allow_pickle=False) as arrays:
            return Truth(
                arrays["probes"],
                arrays["people"],
                arrays["similarities"],
                arrays["rows"],
                float(arrays["probes_per_second"]),
            )

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "truth"}

    def ids(self, rows: Rows) -> list[str]:
        """The face_id of rows."""
        return face_ids(rows + self.num_probes)

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        rows = np.unique(self.truth.rows)
        return dict(zip(self.ids(rows), rows.tolist(), strict=True))

    def rows_of(self, answers: Sequence[Sequence[str]]) -> Rows:
        """(p, 10) rows of face ids found; -1 for all that no exact answer has."""
        rows = np.full((len(answers), K), -1, dtype=np.int64)
        for number, ids in enumerate(answers):
            rows[number, : len(ids)] = [self._rows_by_id.get(face_id, -1) for face_id in ids]
        return rows

    def recall(self, rows: Rows) -> Recall:
        """Compare (p, 10) rows with the exact answers."""
        return recall_of(self.truth.similarities, self.truth.rows, rows, self.threshold)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path)


def recall_of(similarities: Vectors, true_rows: Rows, rows: Rows, threshold: float) -> Recall:
    """Compare an answer with the exact one; padding, -1 in both, does not count.

    Args:
        similarities, true_rows: (p, k) exact ones.
        rows: (p, k) found.
        threshold: least similarity of a match.
    """
    there = true_rows >= 0
    found = (true_rows[:, :, None] == rows[:, None, :]).any(axis=2) & there
    matches = (similarities >= threshold) & there
    return Recall(
        at_1=float(found[:, 0].sum() / max(there[:, 0].sum(), 1)),
        at_10=float(found.sum() / max(there.sum(), 1)),
        of_matches=float(found[matches].sum() / max(matches.sum(), 1)),
        num_matches=int(matches.sum()),
    )


def _write_dataset(gallery: Gallery) -> None:
    draft = gallery.path / "draft.dataset"
    shutil.rmtree(draft, ignore_errors=True)
    write_gallery_dataset(
        draft, gallery.count, first=gallery.num_probes, faces_per_part=gallery.faces_per_part
    )
    draft.rename(gallery.dataset)


def _find_truth(gallery: Gallery) -> None:
    import faiss

    ((probes, people),) = generate_faces(gallery.num_probes, batch_size=gallery.num_probes)
    heap = faiss.ResultHeap(len(probes), K, keep_max=True)
    start, seconds = 0, 0.0
    for faces, _ in generate_faces(gallery.count, first=gallery.num_probes):
        began = time.perf_counter()
        similarities, rows = faiss.knn(probes, faces, K, metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(similarities, rows + start)
        seconds += time.perf_counter() - began
        start += len(faces)
    heap.finalize()
    draft = gallery.path / "draft.npz"
    np.savez(
        draft,
        probes=probes,
        people=people,
        similarities=heap.D,
        rows=heap.I,
        probes_per_second=len(probes) / seconds,
    )
    draft.rename(gallery.path / "truth.npz")


def _write_vectors(gallery: Gallery) -> None:
    draft = gallery.path / "draft.npy"
    shape = (gallery.count, DIMENSION)
    vectors = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for faces, _ in generate_faces(gallery.count, first=gallery.num_probes):
        vectors[start : start + len(faces)] = faces
        start += len(faces)
    vectors.flush()
    draft.rename(gallery.vectors_path)
