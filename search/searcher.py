"""Look faces up in an index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from faces.contract import ModelContract
from faces.errors import DamagedFileError, WrongUsageError
from faces.images import Image, Photo
from faces.models import load_pipeline_for
from faces.photos import open_photo
from faces.pipeline import FacePipeline, has_unit_length
from indexer.manifest import Manifest, current_line, read_current
from indexer.segment import Segment, open_segment
from search.results import Box, CandidateList, Match, Probe

DEFAULT_K = 10

OPEN_ATTEMPTS = 3
"""A writer may remove an old version while it is being opened: then CURRENT names a newer one."""


class FaceSearcher:
    """One version of an index, opened. Use `open`.

    Safe to share between threads; keeps answering from its version while newer ones are
    published.
    """

    def __init__(self, path: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.path = path
        self.manifest = manifest
        self._segments = segments

    @classmethod
    def open(cls, index: str | Path) -> FaceSearcher:
        """Open the version of an index that is in force now, checking every file's digest.

        Raises:
            WrongUsageError: there is no index at that path.
            DamagedFileError: a file is missing, truncated or altered; names it.
        """
        path = Path(index)
        for attempt in range(OPEN_ATTEMPTS):
            before = current_line(path)
            try:
                manifest = read_current(path)
                segments = [open_segment(path, manifest, entry) for entry in manifest.segments]
                return cls(path, manifest, segments)
            except DamagedFileError:
                if attempt + 1 == OPEN_ATTEMPTS or current_line(path) == before:
                    raise
        raise AssertionError("the last attempt returns or raises")

    @property
    def contract(self) -> ModelContract:
        """What the index's embeddings were made by."""
        return self.manifest.contract

    def __len__(self) -> int:
        """Faces in the index."""
        return self.manifest.num_faces

    @cached_property
    def pipeline(self) -> FacePipeline:
        """The index's own model, loaded when the first photo is searched."""
        return load_pipeline_for(self.contract, contract_owner=f"index {self.path}")

    def search(self, photo: str | Path | Photo | Image, k: int | None = None) -> list[Probe]:
        """Find the faces most like each face of a photo.

        Args:
            photo: path of a photo, or a decoded one, an array being (height, width, 3) uint8 RGB.
            k: matches wanted per face, 1 to the number of faces in the index; by default
                `DEFAULT_K`, or all faces of a smaller index.

        Returns:
            One probe per face of the photo, the surest detection first; none if no face is
            found. Each has k matches, fewer only where an approximate index finds no more.

        Raises:
            WrongUsageError: the photo cannot be read, or k is out of range.
            ContractMismatchError: the index was made by models of another version.
        """
        k = self._checked_k(k)
        if isinstance(photo, str | Path):  # decoded as the job does it
            photo = open_photo(Path(photo), self.pipeline.detector.reduction_for)
        (faces,) = self.pipeline.find_faces([photo])
        if not faces:
            return []
        candidates = self.search_embeddings(np.stack([face.embedding for face in faces]), k)
        return [
            Probe(Box(*face.detection.box.tolist()), face.detection.score, matches)
            for face, matches in zip(faces, candidates, strict=True)
        ]

    def search_embeddings(self, embeddings: ArrayLike, k: int | None = None) -> list[CandidateList]:
        """Find the faces most like each of many embeddings.

        Args:
            embeddings: (n, d) float32 of unit length, made by the index's own model.
            k: as in `search`.

        Returns:
            n candidate lists, in the order of the embeddings.

        Raises:
            WrongUsageError: the shape, the length of a vector or k is wrong.
        """
        k = self._checked_k(k)
        vectors = self._checked(embeddings)
        found = [segment.vectors.search(vectors, k) for segment in self._segments]
        similarities = np.concatenate([part[0] for part in found], axis=1)
        rows = np.concatenate([part[1] for part in found], axis=1)
        numbers = np.repeat(np.arange(len(found)), k)
        candidates = []
        for probe in range(len(vectors)):
            valid = np.flatnonzero(rows[probe] >= 0)  # FAISS pads with -1
            order = valid[np.argsort(-similarities[probe, valid], kind="stable")[:k]]
            candidates.append(self._candidates(similarities[probe], rows[probe], numbers, order))
        return candidates

    def _candidates(
        self,
        similarities: NDArray[np.float32],
        rows: NDArray[np.int64],
        segment_numbers: NDArray[np.intp],
        order: NDArray[np.intp],
    ) -> CandidateList:
        matches = []
        for rank, place in enumerate(order, start=1):
            face = _row(self._segments[segment_numbers[place]].faces, int(rows[place]))
            similarity = float(np.clip(similarities[place], -1.0, 1.0))  # rounding may exceed 1
            matches.append(
                Match(
                    rank=rank,
                    similarity=similarity,
                    uri=face["uri"],
                    box=Box(*face["box"]),
                    face_id=face["face_id"],
                    photo_id=face["photo_id"],
                    score=face["score"],
                    also_at=tuple(face["also_at"]),
                )
            )
        return CandidateList(matches)

    def _checked_k(self, k: int | None) -> int:
        if k is None:
            return min(DEFAULT_K, len(self))
        if not 1 <= k <= len(self):
            raise WrongUsageError(
                f"k is {k}; index {self.path} holds {len(self)} faces; "
                f"ask for 1 to {len(self)} matches"
            )
        return k

    def _checked(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        dimension = self.contract.dimension
        if vectors.ndim != 2 or vectors.shape[1] != dimension:
            raise WrongUsageError(
                f"embeddings have shape {vectors.shape} but index {self.path} expects "
                f"(n, {dimension}); embed with the index's model ({self.contract.embedder})"
            )
        right = has_unit_length(vectors)
        if not right.all():
            raise WrongUsageError(
                f"embedding {int(np.argmin(right))} does not have length 1; divide each "
                "embedding by its norm"
            )
        return vectors


def _row(table: pa.Table, row: int) -> dict[str, Any]:
    return {name: table[name][row].as_py() for name in table.column_names}
