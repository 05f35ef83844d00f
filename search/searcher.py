"""Search an index for faces like those of a photo, like embeddings, or like a face in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from faces.core.vectors import has_unit_length
from faces.models.face import Box
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline_for
from faces.photos.decoding import Image, Photo
from faces.photos.reading import open_photo
from indexer.manifest import Manifest, current_line
from indexer.recipes import use_gpu
from indexer.snapshot import Snapshot
from indexer.vectors import Vectors
from search.results import CandidateList, CandidateLists, Probe, Probes

DEFAULT_K = 10

OnePer = Literal["photo", "person"]
_GROUP_COLUMN = {"photo": "photo_id", "person": "person"}

PROBES_AT_ONCE = 4096  # bounds the memory of a batch of any size
FIRST_DEPTH, DEEPER = 64, 4
"""Candidates fetched first where any number may match, and the factor by which more are fetched."""


@dataclass(frozen=True)
class Query:
    """The conditions of a search, beside its probes.

    Attributes:
        k: number of matches for each probe; None: see `FaceSearcher.search`.
        where: a condition as in SQL's WHERE, over the columns of faces; see docs/search.md.
        min_similarity: smallest similarity of a match, [-1, 1].
        one_per: `photo` or `person`: only the best match from each.
        fpir: share of searches for people who are not enrolled that may return a match, (0, 1);
            the stricter of this and `min_similarity` counts.
    """

    k: int | None = None
    where: str | None = None
    min_similarity: float | None = None
    one_per: OnePer | None = None
    fpir: float | None = None


class FaceSearcher:
    """An index opened for searching. Use `open`.

    A searcher can be shared between threads. It searches the version of the index that was
    current when it was opened, until `refresh`.
    """

    def __init__(self, path: Path, snapshot: Snapshot, device: Device) -> None:
        self.path = path
        self._snapshot = snapshot
        self._device = device

    @classmethod
    def open(cls, index: str | Path, *, device: Device = "auto") -> FaceSearcher:
        """Open the current version of an index.

        The structure and size of every file are checked, and the sha256 of small files and of
        codes.faiss; `facetrove verify` checks everything.

        Args:
            index: path of the index's folder.
            device: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one whose memory the embeddings
                fit). On a GPU, a search compares with every face.

        Raises:
            WrongUsageError: there is no index at that path, or no such device.
            CorruptFileError: a file is missing, truncated or altered; the message names it.
        """
        path = Path(index)
        use_gpu(device)  # raises before any work if there is no such device
        return cls(path, Snapshot.open(path, device), device)

    def refresh(self) -> bool:
        """Open the current version of the index; return whether it is a newer one.

        Raises: the errors of `open`; the searcher then keeps the version that it has.
        """
        before = self._snapshot
        if current_line(self.path) == before.line:
            return False
        self._snapshot = Snapshot.open(self.path, self._device, before.segments)
        return True

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version that is open."""
        return self._snapshot.manifest

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where the embeddings are searched: `cuda` if all are on a GPU, otherwise `cpu`."""
        segments = self._snapshot.segments
        return "cuda" if segments and all(segment.gpu for segment in segments) else "cpu"

    @property
    def contract(self) -> ModelContract:
        """The models and preprocessing that made the index's embeddings."""
        return self.manifest.contract

    def __repr__(self) -> str:
        return f"<index {self.path}: {len(self):,} faces, version {self.manifest.version}>"

    def __len__(self) -> int:
        """Return the number of faces in the index."""
        return self.manifest.num_faces

    @cached_property
    def pipeline(self) -> FacePipeline:
        """The models that made the index, loaded when the first photo is searched for."""
        return load_pipeline_for(self.contract, contract_owner=f"index {self.path}")

    def search(
        self,
        photo: str | Path | Photo | Image,
        k: int | None = None,
        *,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> Probes:
        """Find the faces most similar to each face of a photo.

        Args:
            photo: path of a photo, or a decoded one; an array is (height, width, 3) uint8 RGB.
            k: number of matches per face, from 1 to the number of faces in the index. None: all
                matches if `min_similarity` or `fpir` is given, otherwise up to `DEFAULT_K`.
            where: a condition on faces as in SQL's WHERE, such as `person = 'Ann'` or
                `starts_with(uri, '/archive/2019/') AND sharpness > 0.3`; None: all faces.
            min_similarity: smallest similarity of a match, [-1, 1].
            one_per: `photo` or `person`: only the best match from each; a face without a person
                counts as a person of its own.
            fpir: share of searches for people who are not enrolled that may return a match,
                (0, 1), by the index's calibration; see `threshold`. A filter lowers it further.

        Returns:
            A probe for each face of the photo, highest score first; empty if no face is found.
            A probe has fewer than k matches only if fewer faces meet the conditions.

        Raises:
            WrongUsageError: the photo cannot be read, k, the filter or another condition is not
                valid, or the index is not calibrated for `fpir`.
            ContractMismatchError: the installed models differ from those that made the index.
        """
        query = self._checked_query(Query(k, where, min_similarity, one_per, fpir))
        if isinstance(photo, str | Path):  # decoded at reduced size, as when it is embedded
            photo = open_photo(Path(photo), self.pipeline.detector.reduction_for)
        (faces,) = self.pipeline.find_faces([photo])
        dimension = self.contract.dimension
        embeddings = np.array([face.embedding for face in faces], np.float32)
        answers = self._answer(embeddings.reshape(-1, dimension), query)
        return Probes(
            [
                Probe(Box(*face.detection.box.tolist()), face.detection.score, matches)
                for face, matches in zip(faces, answers, strict=True)
            ],
            answers.snapshot,
        )

    def search_embeddings(
        self,
        embeddings: ArrayLike,
        k: int | None = None,
        *,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> CandidateLists:
        """Find the faces most similar to each of many embeddings.

        Args:
            embeddings: (n, d) float32 of unit length, made by the models of the index.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Returns:
            n candidate lists, in the order of the embeddings.

        Raises:
            WrongUsageError: the embeddings have another shape or length, or a condition is not
                valid.
        """
        query = self._checked_query(Query(k, where, min_similarity, one_per, fpir))
        return self._answer(self._checked(embeddings), query)

    def search_face(
        self,
        face_id: str,
        k: int | None = None,
        *,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> CandidateList:
        """Find the faces most similar to a face of the index, which itself is left out.

        Args:
            face_id: id of the face, as in `Match.face_id`.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Raises:
            WrongUsageError: the index has no such face, or a condition is not valid.
        """
        query = self._checked_query(Query(k, where, min_similarity, one_per, fpir))
        snapshot = self._snapshot
        position = snapshot.position_of(face_id)
        if position is None:
            raise WrongUsageError(f"index {self.path} holds no face {face_id!r}")
        probe = snapshot.embeddings(np.array([position]))
        (matches,) = self._answer(probe, query, without=position)
        return matches

    @property
    def min_fpir(self) -> float | None:
        """The lowest FPIR, in (0, 1], that the calibration supports; None: not calibrated."""
        return self._snapshot.fpir_of(1.0)

    def threshold(self, fpir: float) -> float:
        """Return the smallest similarity of a match at a false-positive identification rate.

        Args:
            fpir: share of searches for people who are not enrolled that may return a match, from
                `min_fpir` to below 1.

        Raises:
            WrongUsageError: the index is not calibrated, or not for this rate or its present size.
        """
        calibration = self.manifest.calibration
        if calibration is None:
            raise WrongUsageError(
                f"index {self.path} is not calibrated; run `facetrove calibrate {self.path}`"
            )
        return calibration.threshold(fpir, len(self))

    def _answer(self, probes: Vectors, query: Query, without: int | None = None) -> CandidateLists:
        snapshot = self._snapshot
        answers: list[CandidateList] = []
        for start in range(0, len(probes), PROBES_AT_ONCE):
            some = probes[start : start + PROBES_AT_ONCE]
            answers += _Answering(snapshot, some, query, without).lists()
        return CandidateLists(answers, snapshot)

    def _checked_query(self, query: Query) -> Query:
        k, num_faces = query.k, len(self)
        if query.one_per is not None and query.one_per not in _GROUP_COLUMN:
            raise WrongUsageError(f"one_per is {query.one_per!r}; give 'photo' or 'person'")
        if query.one_per == "person" and "person" not in self._snapshot.metadata.names:
            raise WrongUsageError(
                f"index {self.path} has no column person; embed with a photo list that has a "
                "column person"
            )
        if query.min_similarity is not None and not -1 <= query.min_similarity <= 1:
            raise WrongUsageError(
                f"min_similarity is {query.min_similarity}; give a similarity from -1 to 1"
            )
        if k is not None and not 1 <= k <= num_faces:
            raise WrongUsageError(
                f"k is {k}; index {self.path} holds {num_faces} faces; ask for 1 to {num_faces} "
                "matches"
            )
        if query.fpir is not None:
            min_similarity = self.threshold(query.fpir)
            if query.min_similarity is not None:
                min_similarity = max(min_similarity, query.min_similarity)
            query = replace(query, min_similarity=min_similarity)
        return query

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
                f"embedding {int(np.argmin(right))} (from 0) does not have Euclidean length 1; "
                "divide each embedding by its norm"
            )
        return vectors


class _Answering:
    """A search for one block of probes, which fetches more candidates until k are matches."""

    def __init__(
        self, snapshot: Snapshot, probes: Vectors, query: Query, without: int | None
    ) -> None:
        self.snapshot = snapshot
        self.probes = probes
        self.query = query
        self.without = without
        self.masks = snapshot.masks(query.where)
        self.available = snapshot.num_selected(self.masks)
        unlimited = query.k is None and query.min_similarity is not None
        self.k = self.available if unlimited else min(query.k or DEFAULT_K, self.available)

    def lists(self) -> list[CandidateList]:
        """Return a candidate list for each probe."""
        answers = [CandidateList(self.snapshot, _NO_SIMILARITIES, _NO_POSITIONS)] * len(self.probes)
        open_ = np.arange(len(self.probes))
        depth = self._first_depth()
        while len(open_) and depth:
            similarities, positions = self.snapshot.nearest(self.probes[open_], depth, self.masks)
            if self._takes_all:
                return [
                    CandidateList(self.snapshot, *pair)
                    for pair in zip(similarities, positions, strict=True)
                ]
            unfinished = []
            for number, row in enumerate(open_.tolist()):
                kept, is_finished = self._select(similarities[number], positions[number])
                if is_finished or depth >= self.available:
                    kept = kept[: self.k]
                    answers[row] = CandidateList(
                        self.snapshot, similarities[number, kept], positions[number, kept]
                    )
                else:
                    unfinished.append(row)
            open_ = np.array(unfinished, dtype=np.int64)
            depth = min(self.available, DEEPER * depth)
        return answers

    @property
    def _takes_all(self) -> bool:
        """Whether each of the k nearest faces is a match, as there is no further condition."""
        conditions = (self.query.min_similarity, self.query.one_per, self.without)
        return all(condition is None for condition in conditions)

    def _first_depth(self) -> int:
        depth = self.k + (self.without is not None)
        if self.query.one_per is not None:
            depth *= DEEPER
        if self.query.k is None and self.query.min_similarity is not None:
            depth = FIRST_DEPTH
        return min(depth, self.available)

    def _select(
        self, similarities: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], bool]:
        """Return the numbers of the candidates that are matches, and whether these suffice."""
        is_match = positions >= 0  # negative positions are padding
        is_finished = False
        if self.query.min_similarity is not None:
            above = similarities >= self.query.min_similarity
            is_finished = not above.all()
            is_match &= above
        if self.without is not None:
            is_match &= positions != self.without
        kept = np.flatnonzero(is_match)
        if self.query.one_per is not None:
            groups = self.snapshot.values(_GROUP_COLUMN[self.query.one_per], positions[kept])
            kept = kept[_firsts(groups)]
        return kept, is_finished or len(kept) >= self.k


def _firsts(groups: Sequence[str | None]) -> list[int]:
    """Return the numbers of each group's first item, and of all items whose group is None."""
    seen: set[str] = set()
    firsts = []
    for number, group in enumerate(groups):
        if group is None:
            firsts.append(number)
        elif group not in seen:
            seen.add(group)
            firsts.append(number)
    return firsts


_NO_SIMILARITIES = np.empty(0, np.float32)
_NO_POSITIONS = np.empty(0, np.int64)
