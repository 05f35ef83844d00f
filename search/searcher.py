"""Look faces up in an index."""

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


@dataclass(frozen=True)
class Query:
    """What is asked of an index beside the probes.

    Attributes:
        k: matches wanted; None: all above a least similarity, or `DEFAULT_K`.
        where: a filter, as in SQL's WHERE, over the columns of faces; see docs/search.md.
        min_similarity: least similarity of a match, [-1, 1].
        one_per: at most one match, the best, from each photo or of each person.
        fpir: share of searches for people who are not in the index that may get an answer,
            (0, 1); with both this and `min_similarity` the stricter holds.
    """

    k: int | None = None
    where: str | None = None
    min_similarity: float | None = None
    one_per: OnePer | None = None
    fpir: float | None = None


class FaceSearcher:
    """An index, opened. Use `open`.

    Safe to share between threads. It answers from the version that was in force when it was
    opened, whatever is published meanwhile, until `refresh`.
    """

    def __init__(self, path: Path, snapshot: Snapshot, device: Device) -> None:
        self.path = path
        self._snapshot = snapshot
        self._device = device

    @classmethod
    def open(cls, index: str | Path, *, device: Device = "auto") -> FaceSearcher:
        """Open the version of an index that is in force now.

        Args:
            index: its folder.
            device: `cpu`, `cuda`, or `auto`: a GPU where FAISS sees one and the embeddings fit its
                memory; there every search compares with all of them. See `device`.

        Checks the structure of every file, its size, and its digest if it is small or FAISS's;
        `facetrove verify` checks everything.

        Raises:
            WrongUsageError: there is no index at that path, or no such device.
            CorruptFileError: a file is missing, truncated or altered; names it.
        """
        path = Path(index)
        use_gpu(device)  # refuses what cannot be had
        return cls(path, Snapshot.open(path, device), device)

    def refresh(self) -> bool:
        """Move on to the version now in force; whether there was a newer one.

        Raises: as `open`; the searcher then stays with the version it has.
        """
        before = self._snapshot
        if current_line(self.path) == before.line:
            return False
        self._snapshot = Snapshot.open(self.path, self._device, before.segments)
        return True

    @property
    def manifest(self) -> Manifest:
        """Of the version that is open."""
        return self._snapshot.manifest

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where it searches: `cuda` if all of the index is on a GPU."""
        segments = self._snapshot.segments
        return "cuda" if segments and all(segment.gpu for segment in segments) else "cpu"

    @property
    def contract(self) -> ModelContract:
        """What the index's embeddings were made by."""
        return self.manifest.contract

    def __repr__(self) -> str:
        return f"<index {self.path}: {len(self):,} faces, version {self.manifest.version}>"

    def __len__(self) -> int:
        """Faces in the index."""
        return self.manifest.num_faces

    @cached_property
    def pipeline(self) -> FacePipeline:
        """The index's own model, loaded when the first photo is searched."""
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
        """Find the faces most like each face of a photo.

        Args:
            photo: path of a photo, or a decoded one, an array being (height, width, 3) uint8 RGB.
            k: matches wanted per face, 1 to the number of faces in the index; by default
                `DEFAULT_K`, or all faces of a smaller index, or with `min_similarity` or
                `fpir` all matches.
            where: a filter; only faces that pass are matches: `person = 'Ann'`,
                `starts_with(uri, '/archive/2019/') AND sharpness > 0.3`.
            min_similarity: least similarity of a match, [-1, 1].
            one_per: `photo` or `person`: the best match of each only; faces of unknown people
                count for themselves.
            fpir: only matches as similar as a stranger finds in at most this share of
                searches (0 to 1), as `facetrove calibrate` measured on this index; see
                `threshold`. A filter makes false positives rarer still.

        Returns:
            One probe per face of the photo, the surest detection first; none if no face is
            found. Each has k matches, fewer only where no more faces pass.

        Raises:
            WrongUsageError: the photo cannot be read, k or the filter is wrong, or the index is
                not calibrated so far.
            ContractMismatchError: the index was made by models of another version.
        """
        query = self._checked_query(Query(k, where, min_similarity, one_per, fpir))
        if isinstance(photo, str | Path):  # decoded as the job does it
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
        """Find the faces most like each of many embeddings.

        Args:
            embeddings: (n, d) float32 of unit length, made by the index's own model.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Returns:
            n candidate lists, in the order of the embeddings.

        Raises:
            WrongUsageError: the shape, the length of a vector, k or the filter is wrong.
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
        """Find more faces like one in the index, itself left out.

        Args:
            face_id: as in `Match.face_id`.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Raises:
            WrongUsageError: no such face, or k or the filter is wrong.
        """
        query = self._checked_query(Query(k, where, min_similarity, one_per, fpir))
        snapshot = self._snapshot
        place = snapshot.place_of(face_id)
        if place is None:
            raise WrongUsageError(f"index {self.path} holds no face {face_id!r}")
        (matches,) = self._answer(snapshot.embeddings(np.array([place])), query, without=place)
        return matches

    @property
    def min_fpir(self) -> float | None:
        """The lowest false-positive identification rate that is known; None: not calibrated."""
        return self._snapshot.fpir_of(1.0)

    def threshold(self, fpir: float) -> float:
        """The least similarity of a match at a false-positive identification rate.

        Args:
            fpir: share of searches for people who are not in the index that may get an answer.

        Raises:
            WrongUsageError: the index is not calibrated, or not for this rate or size.
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
        k, most = query.k, len(self)
        if query.one_per is not None and query.one_per not in _GROUP_COLUMN:
            raise WrongUsageError(f"one_per is {query.one_per!r}; give 'photo' or 'person'")
        if query.one_per == "person" and "person" not in self._snapshot.metadata.names:
            raise WrongUsageError(
                f"index {self.path} knows no people; embed with a photo list that has a column "
                "person"
            )
        if query.min_similarity is not None and not -1 <= query.min_similarity <= 1:
            raise WrongUsageError(
                f"the least similarity is {query.min_similarity}; give one from -1 to 1"
            )
        if k is not None and not 1 <= k <= most:
            raise WrongUsageError(
                f"k is {k}; index {self.path} holds {most} faces; ask for 1 to {most} matches"
            )
        if query.fpir is not None:
            least = self.threshold(query.fpir)
            if query.min_similarity is not None:
                least = max(least, query.min_similarity)
            query = replace(query, min_similarity=least)
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
                f"embedding {int(np.argmin(right))} does not have length 1; divide each "
                "embedding by its norm"
            )
        return vectors


class _Answering:
    """Answers a query for some probes: looks deeper where the first look does not suffice."""

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
        """One candidate list for each probe."""
        answers = [CandidateList(self.snapshot, _NO_SIMILARITIES, _NO_PLACES)] * len(self.probes)
        open_ = np.arange(len(self.probes))
        depth = self._first_depth()
        while len(open_) and depth:
            similarities, places = self.snapshot.nearest(self.probes[open_], depth, self.masks)
            if self._takes_all:
                return [
                    CandidateList(self.snapshot, *pair)
                    for pair in zip(similarities, places, strict=True)
                ]
            unfinished = []
            for number, row in enumerate(open_.tolist()):
                kept, is_finished = self._select(similarities[number], places[number])
                if is_finished or depth >= self.available:
                    kept = kept[: self.k]
                    answers[row] = CandidateList(
                        self.snapshot, similarities[number, kept], places[number, kept]
                    )
                else:
                    unfinished.append(row)
            open_ = np.array(unfinished, dtype=np.int64)
            depth = min(self.available, DEEPER * depth)
        return answers

    @property
    def _takes_all(self) -> bool:
        """Whether the k nearest are the answer, without a further condition."""
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
        self, similarities: NDArray[np.float32], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], bool]:
        """Which of a probe's candidates are matches, and whether these are all it can want."""
        wanted = places >= 0  # padding
        is_finished = False
        if self.query.min_similarity is not None:
            above = similarities >= self.query.min_similarity
            is_finished = not above.all()
            wanted &= above
        if self.without is not None:
            wanted &= places != self.without
        kept = np.flatnonzero(wanted)
        if self.query.one_per is not None:
            groups = self.snapshot.values(_GROUP_COLUMN[self.query.one_per], places[kept])
            kept = kept[_firsts(groups)]
        return kept, is_finished or len(kept) >= self.k


def _firsts(groups: Sequence[str | None]) -> list[int]:
    """Numbers of the first of each group, and of all that belong to none."""
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
_NO_PLACES = np.empty(0, np.int64)
