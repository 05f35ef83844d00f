"""Galleries for measuring indexes: generated faces, held-out probes and their exact neighbours.

    WORK/<faces>-<probes>-<faces per part>/dataset        the gallery's dataset
                                          /index          facetrove's index, by automatic recipe
                                          /truth.npz      probes and their exact nearest faces
                                          /vectors.npy    the gallery's embeddings, for the peers

Each of these is made when it is first needed, and then reused. The probes are the first faces of
the generator's endless gallery, and the enrolled faces are those that follow: so the probes are
other faces of people of whom most are enrolled.
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
"""Number of nearest faces that every search asks for."""

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The p probes of a gallery and their exact nearest faces.

    Attributes:
        probes: (p, d) embeddings.
        people: (p,) number of each probe's person.
        similarities: (p, 10) similarities of the nearest faces, descending.
        rows: (p, 10) rows of these faces in the gallery.
        probes_per_second: speed of the exact search that found them, block by block.
    """

    probes: Vectors
    people: Rows
    similarities: Vectors
    rows: Rows
    probes_per_second: float


@dataclass(frozen=True)
class Recall:
    """The recall of a search: shares of the exact nearest faces that it returns.

    Attributes:
        at_1: share of the nearest faces.
        at_10: share of the ten nearest faces.
        of_matches: share of those of the ten nearest that reach the operating threshold (matches).
        num_matches: number of matches.
    """

    at_1: float
    at_10: float
    of_matches: float
    num_matches: int


@dataclass(frozen=True)
class Gallery:
    """A generated gallery in a work folder.

    Attributes:
        work: the folder of all galleries.
        count: number of enrolled faces.
        num_probes: number of held-out faces.
        faces_per_part: number of faces in a part of the dataset; the embed job's have about 150.
    """

    work: Path
    count: int
    num_probes: int = 2000
    faces_per_part: int = 150

    @property
    def path(self) -> Path:
        """The gallery's folder."""
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
        """The path of the file of embeddings."""
        return self.path / "vectors.npy"

    @property
    def threshold(self) -> float:
        """The operating threshold of a gallery of this size, at an FPIR of 0.01."""
        return threshold_for(self.count)

    def make(self) -> None:
        """Write the dataset and find the exact nearest faces, unless that has been done."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.dataset.exists():
            began = time.perf_counter()
            apart(_write_dataset, self)
            seconds = time.perf_counter() - began
            print(f"(wrote the dataset of {self.count:,} faces in {seconds:.0f} s)", flush=True)
        if not self._truth_path.exists():
            apart(_find_truth, self)

    def make_vectors(self) -> None:
        """Write vectors.npy, unless it exists."""
        if not self.vectors_path.exists():
            apart(_write_vectors, self)

    @property
    def _truth_path(self) -> Path:
        return self.path / "truth.npz"

    @cached_property
    def truth(self) -> Truth:
        """The probes and their exact nearest faces, which `make` must have found."""
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
        """Return the face_ids of the faces at some rows."""
        return face_ids(rows + self.num_probes)

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        rows = np.unique(self.truth.rows)
        return dict(zip(self.ids(rows), rows.tolist(), strict=True))

    def rows_of(self, answers: Sequence[Sequence[str]]) -> Rows:
        """Return the (p, 10) rows of the face_ids that a search returned.

        A face that is no probe's exact neighbour gets row -1.
        """
        rows = np.full((len(answers), K), -1, dtype=np.int64)
        for number, ids in enumerate(answers):
            rows[number, : len(ids)] = [self._rows_by_id.get(face_id, -1) for face_id in ids]
        return rows

    def recall(self, rows: Rows) -> Recall:
        """Compute the recall of a search that returned these (p, 10) rows."""
        return recall_of(self.truth.similarities, self.truth.rows, rows, self.threshold)

    def remove(self) -> None:
        """Remove the gallery's folder."""
        shutil.rmtree(self.path)


def recall_of(similarities: Vectors, true_rows: Rows, rows: Rows, threshold: float) -> Recall:
    """Compute the recall of a search; padding in the exact result, row -1, does not count.

    Args:
        similarities: (p, k) exact similarities.
        true_rows: (p, k) rows of the exact nearest faces.
        rows: (p, k) rows that the search returned.
        threshold: minimum similarity of a match.
    """
    is_face = true_rows >= 0
    found = (true_rows[:, :, None] == rows[:, None, :]).any(axis=2) & is_face
    matches = (similarities >= threshold) & is_face
    return Recall(
        at_1=float(found[:, 0].sum() / max(is_face[:, 0].sum(), 1)),
        at_10=float(found.sum() / max(is_face.sum(), 1)),
        of_matches=float(found[matches].sum() / max(matches.sum(), 1)),
        num_matches=int(matches.sum()),
    )


def _write_dataset(gallery: Gallery) -> None:
    """Write the dataset; an interrupted draft is written again."""
    draft = gallery.path / "draft.dataset"
    shutil.rmtree(draft, ignore_errors=True)
    write_gallery_dataset(
        draft, gallery.count, first=gallery.num_probes, faces_per_part=gallery.faces_per_part
    )
    draft.rename(gallery.dataset)


def _find_truth(gallery: Gallery) -> None:
    """Find the exact nearest faces of the probes, without reading an index, and save them."""
    from indexer.faiss_library import faiss

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
    """Write the gallery's embeddings to a NumPy file."""
    draft = gallery.path / "draft.npy"
    shape = (gallery.count, DIMENSION)
    vectors = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for faces, _ in generate_faces(gallery.count, first=gallery.num_probes):
        vectors[start : start + len(faces)] = faces
        start += len(faces)
    vectors.flush()
    draft.rename(gallery.vectors_path)
