"""Search an index for faces like those of a photo, like embeddings, or like a face in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from faces.dataset.people_book import PeopleBook
from faces.dataset.store import Dataset
from faces.models.face import Box
from faces.models.pipeline import FacePipeline
from faces.models.ranking import face_of_rank, faces_of, largest_first
from faces.models.registry import load_pipeline_for
from faces.photos.decoding import Image, Photo
from indexer.manifest import Manifest, current_line
from indexer.recipes import use_gpu
from indexer.snapshot import Snapshot
from indexer.stranger_rates import StrangerRates, threshold_at
from search.answering import Query, answer, joint_embedding
from search.checking import checked_embeddings, checked_query
from search.index_people import IndexPeople, NamesFrom
from search.listing import ListedFace, list_faces
from search.one_per import OnePer
from search.results import (
    CandidateList,
    CandidateLists,
    JointProbe,
    Probe,
    ProbeFace,
    Probes,
)


class FaceSearcher:
    """An index opened for searching. Use `open`.

    A searcher can be shared between threads. A process that was forked after a search cannot use
    it, nor search otherwise. It searches the version of the index that was current when it was
    opened, until `refresh`.
    """

    def __init__(
        self,
        path: Path,
        snapshot: Snapshot,
        device: Device,
        dataset: Path | None = None,
        people: IndexPeople | None = None,
    ) -> None:
        self.path = path
        self._opened = snapshot
        self._device = device
        self._given_dataset = dataset
        self._people = people or IndexPeople(path, dataset)

    @classmethod
    def open(
        cls, index: str | Path, *, device: Device = "auto", dataset: str | Path | None = None
    ) -> FaceSearcher:
        """Open the current version of an index.

        The structure and size of every file are checked, and the sha256 of small files and of
        codes.faiss; `facetrove verify` checks everything.

        Args:
            index: path of the index's folder.
            device: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one whose memory the embeddings
                fit). On a GPU, a search compares with every face.
            dataset: path of the dataset whose people book says who is who; None: that of the
                dataset that the index was built from, see `names_from`.

        Raises:
            WrongUsageError: there is no index or dataset at that path, or no such device.
            CorruptFileError: a file is missing, truncated or altered; the message names it.
        """
        path = Path(index)
        use_gpu(device)  # raises before any work if there is no such device
        if dataset is not None:
            dataset = Dataset.open(dataset).path
        return cls(path, Snapshot.open(path, device), device, dataset)

    def refresh(self) -> bool:
        """Open the current version of the index; return whether it is a newer one.

        Raises: the errors of `open`; the searcher then keeps the version that it has.
        """
        before = self._opened
        if current_line(self.path) == before.line:
            return False
        self._opened = Snapshot.open(self.path, self._device, before.segments)
        return True

    def newest(self) -> FaceSearcher:
        """Return a searcher of the current version: this one, unless there is a newer version.

        This searcher keeps its version, so that whoever is using it sees one version whole.

        Raises: the errors of `open`.
        """
        before = self._opened
        if current_line(self.path) == before.line:
            return self
        after = Snapshot.open(self.path, self._device, before.segments)
        return FaceSearcher(self.path, after, self._device, self._given_dataset, self._people)

    @property
    def line(self) -> bytes | None:
        """What tells the version that is open from others: see `indexer.snapshot.Snapshot.line`."""
        return self._opened.line

    @property
    def snapshot(self) -> Snapshot:
        """The version that is open, with the people of its faces as the people book has them now.

        The book is read once for each search, so that a name is known to the next one.
        """
        return self._people.of(self._opened)

    @property
    def people_book(self) -> PeopleBook | None:
        """The people book of the index's dataset, which may be empty; None: the dataset is gone."""
        return self._people.book_of(self._opened)

    @property
    def names_from(self) -> NamesFrom:
        """Where the names of people come from.

        `book`: the people book of the index's dataset; `lists`: photo lists, as the dataset has no
        such book; `build`: photo lists as they were when the index was built, as its dataset is not
        where it was, neither from the index's folder nor at its absolute path.

        Raises:
            CorruptFileError: a file of the people book is corrupt.
        """
        return self._people.names_from(self._opened)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version that is open."""
        return self._opened.manifest

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where the embeddings are searched: `cuda` if all are on a GPU, otherwise `cpu`."""
        segments = self._opened.segments
        return "cuda" if segments and all(segment.gpu for segment in segments) else "cpu"

    @property
    def contract(self) -> ModelContract:
        """The models and preprocessing that made the index's embeddings."""
        return self.manifest.contract

    def __reduce__(self) -> tuple[Callable[..., FaceSearcher], tuple[str, Device, str | None]]:
        """Pickle the paths alone: what is unpickled opens the version that is then current."""
        given = self._given_dataset
        dataset = None if given is None else os.path.abspath(given)
        return _opened_again, (os.path.abspath(self.path), self._device, dataset)

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
        face: int | None = None,
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
            face: rank by size of the one face to search for, where 1 is the largest; None: every
                face of the photo.
            where: a condition on faces as in SQL's WHERE, such as `person = 'Ann'` or
                `starts_with(uri, '/archive/2019/') AND sharpness > 0.3`; None: all faces.
            min_similarity: smallest similarity of a match, [-1, 1].
            one_per: `photo` or `person`: only the best match from each. Copies of a photo in other
                sizes count as that photo; a face without a person counts as a person of its own.
            fpir: share of searches for people who are not enrolled that may return a match,
                (0, 1); see `threshold`. A filter lowers it further.

        Returns:
            A probe for each face of the photo, the largest first; empty if no face is found.
            A probe has fewer than k matches only if fewer faces meet the conditions.

        Raises:
            WrongUsageError: the photo cannot be read or has no face of that rank, k, the filter or
                another condition is not valid, or there is no threshold at `fpir`.
            FaceTroveError: `face` is given, and the photo shows no face.
            ContractMismatchError: the installed models differ from those that made the index.
        """
        snapshot = self.snapshot
        query = checked_query(Query(k, where, min_similarity, one_per, fpir), snapshot, self.path)
        faces = largest_first(faces_of(photo, self.pipeline))
        chosen = [face_of_rank(faces, face, _name(photo))] if face is not None else faces
        dimension = self.contract.dimension
        embeddings = np.array([found.embedding for found in chosen], np.float32)
        answers = answer(snapshot, embeddings.reshape(-1, dimension), query)
        probes = [
            Probe(Box(*found.box.tolist()), found.score, matches, face or number, len(faces))
            for number, (found, matches) in enumerate(zip(chosen, answers, strict=True), start=1)
        ]
        return Probes(probes, answers.snapshot)

    def search_together(
        self,
        photos: Sequence[str | Path | Photo | Image],
        k: int | None = None,
        *,
        face: int | Sequence[int] = 1,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> JointProbe:
        """Find the faces most similar to one person, who is shown by several photos.

        The probe is the mean of the embeddings of one face in each photo, scaled to unit length.

        Args:
            photos: paths of photos, or decoded ones; an array is (height, width, 3) uint8 RGB.
            face: rank by size of the person's face in each photo, where 1 is the largest; several
                ranks are for the photos one by one.
            k, where, min_similarity, one_per: as in `search`.
            fpir: as in `search`. The rate is that of probes of one face; strangers whom several
                photos show find matches more often (docs/evaluation.md has figures).

        Returns:
            The faces and their common matches.

        Raises:
            WrongUsageError: there is no photo, a photo cannot be read or has no face of that rank,
                there are more or fewer ranks than photos, or a condition is not valid.
            FaceTroveError: a photo shows no face.
            ContractMismatchError: the installed models differ from those that made the index.
        """
        snapshot = self.snapshot
        query = checked_query(Query(k, where, min_similarity, one_per, fpir), snapshot, self.path)
        ranks = [face] * len(photos) if isinstance(face, int) else list(face)
        if not photos or len(ranks) != len(photos):
            raise WrongUsageError(
                f"{len(ranks)} face numbers are given for {len(photos)} photos; give at least one "
                "photo, and one number for all photos or one for each"
            )
        found = [faces_of(photo, self.pipeline) for photo in photos]
        chosen = [
            face_of_rank(faces, rank, _name(photo))
            for photo, faces, rank in zip(photos, found, ranks, strict=True)
        ]
        embeddings = np.array([one.embedding for one in chosen], np.float32)
        (matches,) = answer(snapshot, joint_embedding(embeddings)[np.newaxis], query)
        return JointProbe(
            tuple(
                ProbeFace(Box(*one.box.tolist()), one.score, rank, len(faces))
                for one, rank, faces in zip(chosen, ranks, found, strict=True)
            ),
            min(1.0, float((embeddings @ embeddings.T).min())),
            matches,
        )

    def list_faces(
        self, where: str, *, k: int | None = None, one_per: OnePer | None = None
    ) -> list[ListedFace]:
        """List the faces that match a filter, without a probe, sorted by the photos' uris.

        Args:
            where: a condition as in SQL's WHERE; see docs/search.md.
            k: maximum number of faces; None: all.
            one_per: `photo` or `person`: only the first face of each; a face without a person
                counts as a person of its own.

        Raises:
            WrongUsageError: the filter is not valid, k is below 1, or the index has no column
                `person` for `one_per`.
        """
        if k is not None and k < 1:
            raise WrongUsageError(f"k is {k}; ask for 1 face or more")
        snapshot = self.snapshot
        checked_query(Query(one_per=one_per), snapshot, self.path)
        return list_faces(snapshot, where, k=k, one_per=one_per)

    @property
    def columns(self) -> list[str]:
        """The names of the photos' columns from photo lists."""
        return list(self.snapshot.metadata.names)

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
        snapshot = self.snapshot
        query = checked_query(Query(k, where, min_similarity, one_per, fpir), snapshot, self.path)
        vectors = checked_embeddings(embeddings, self.contract, self.path)
        return answer(snapshot, vectors, query)

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
        snapshot = self.snapshot
        query = checked_query(Query(k, where, min_similarity, one_per, fpir), snapshot, self.path)
        position = snapshot.position_of(face_id)
        if position is None:
            raise WrongUsageError(f"index {self.path} holds no face {face_id!r}")
        probe = snapshot.embeddings(np.array([position]))
        (matches,) = answer(snapshot, probe, query, without=position)
        return matches

    @property
    def rates(self) -> StrangerRates:
        """How often searches for strangers find a match by similarity, and what that rests on."""
        return self._opened.rates  # which no people book changes

    @property
    def min_fpir(self) -> float | None:
        """The lowest FPIR, in (0, 1], that `threshold` supports; None: none is known."""
        return self.rates.min_fpir

    def threshold(self, fpir: float) -> float:
        """Return the smallest similarity of a match at a false-positive identification rate.

        It is that of the index's calibration; without one for about the present number of faces,
        the figure of the index's models for a gallery of this size (`rates.basis` says which).

        Args:
            fpir: share of searches for people who are not enrolled that may return a match, from
                `min_fpir` to below 1.

        Raises:
            WrongUsageError: neither the calibration nor the models have a threshold at this rate.
        """
        return threshold_at(self.rates, fpir, self.path)


def _opened_again(path: str, device: Device, dataset: str | None = None) -> FaceSearcher:
    """Open the index of a searcher that was pickled."""
    return FaceSearcher.open(path, device=device, dataset=dataset)


def _name(photo: str | Path | Photo | Image) -> str:
    return str(photo) if isinstance(photo, str | Path) else "the photo"
