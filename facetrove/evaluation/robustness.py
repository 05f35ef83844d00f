"""Identification error rates when the probes are corrupted and the enrolled faces are not.

Corruptions are of several kinds and strengths: noise, blur, compression, covered eyes and others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.models.face import intersection_over_union
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline_for
from faces.photos.decoding import Image
from faces.photos.limited import decode_limited, read_limited
from faces.photos.rejection import PhotoRejectedError
from facetrove.evaluation.as_json import JsonResult
from facetrove.evaluation.corruptions import CORRUPTIONS, Corruption, FaceWindow
from facetrove.evaluation.gallery import Gallery, search_all
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, labelled_faces
from facetrove.evaluation.metrics import Bootstrap, Rate, share, threshold_at
from facetrove.evaluation.protocol import keep_out, split_faces
from indexer.snapshot import Snapshot

NUM_PROBES = 300
"""Default number of mated probes, and of non-mated probes."""

FPIR = 0.01
"""FPIR of uncorrupted probes whose threshold is used for corrupted probes too."""

SAME_FACE_OVERLAP = 0.3
"""Minimum intersection over union of the box that the detector finds in a corrupted photo and the
face's box, for both to be the same face."""

AT_ONCE = 32
"""Number of photos given to the pipeline in one batch."""

UNCORRUPTED = "none"
"""Name of the corruption that changes nothing."""


@dataclass(frozen=True)
class Corrupted:
    """The error rates under one corruption of one strength.

    Attributes:
        corruption: the corruption's name, or `none` for uncorrupted probes.
        unit: the unit of the strength, in words; empty for `none`.
        strength: the strength in that unit; None for `none`.
        found: share of all probes whose face the detector still finds, in [0, 1].
        rank_one: share of the mated probes whose person has rank 1. A probe whose face is not found
            counts as a miss.
        false_negative: FNIR at the threshold: share of the mated probes whose person is not at or
            above it. A probe whose face is not found counts as a miss.
        false_positive: FPIR at the threshold: share of the non-mated probes with a candidate at or
            above it. A probe whose face is not found has none.
        similarity: median similarity of the mated probes to their person's enrolled face, among
            those whose face is found; None where no face is found.
    """

    corruption: str
    unit: str
    strength: float | None
    found: float
    rank_one: Rate
    false_negative: Rate
    false_positive: Rate
    similarity: float | None


@dataclass(frozen=True)
class Robustness(JsonResult):
    """The result of `evaluate_robustness`: error rates by corruption and strength.

    Attributes:
        num_mated, num_strangers: numbers of mated and of non-mated probes.
        num_unreadable: number of probes that were left out because their photo is gone, changed or
            unreadable.
        gallery: numbers of people and of faces that are enrolled.
        threshold: similarity threshold at which all uncorrupted faces of the people who are not
            enrolled have an FPIR of 0.01.
        num_clean: number of these faces.
        corrupted: error rates by corruption and strength; uncorrupted probes come first.
    """

    num_mated: int
    num_strangers: int
    num_unreadable: int
    gallery: tuple[int, int]
    threshold: float
    num_clean: int
    corrupted: list[Corrupted]


def evaluate_robustness(
    index: str | Path,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    where: str | None = None,
    corruptions: Sequence[str] = (),
    probes: int = NUM_PROBES,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> Robustness:
    """Measure identification error rates in an index when the probes' photos are corrupted.

    Half of the people, drawn at random, are enrolled with one photo each; the faces of the other
    half are non-mated probes. Faces are detected and embedded again after the corruption.

    Args:
        index: the index's folder; the photos must be where they were embedded.
        people: `folder`, or the column with the name of the person in a photo; by default `person`.
        face: which of a photo's faces is the labelled person's: `largest`; `central`, the one
            nearest the photo's centre; or `only`, the face of a photo with no other.
        where: a filter, as in a search; only faces that match it are enrolled or searched for.
        corruptions: names of the kinds of corruption, from `CORRUPTIONS`; by default all.
        probes: maximum number of mated probes, and of non-mated probes, 1 or more.
        seed: seed of the random split, the noise and the bootstrap.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: there is no index, no such column, no such corruption, too few labelled
            photos, or no photo of either kind can be read any more.
        ModelUnavailableError: the index's model cannot be loaded.
    """
    chosen = _chosen(corruptions)
    version = Snapshot.open(Path(index), "cpu")
    faces = labelled_faces(Path(index), version, people=people, face=face, where=where)
    rng = np.random.default_rng(seed)
    split = _Split.drawn(faces, rng, index)
    gallery = Gallery(version, faces)
    clean = search_all(gallery, split.enrolled, split.strangers)
    threshold = float(threshold_at(clean.wrong, FPIR)[0])
    wanted = split.some_probes(probes, rng)
    pipeline = load_pipeline_for(version.manifest.contract, contract_owner=f"index {index}")
    windows, readable = _cut_windows(faces, wanted, on_progress)
    bootstrap = Bootstrap.of(len(faces.names), seed=seed)
    trial = _Trial(pipeline, gallery, split.enrolled, readable, windows, threshold, bootstrap)
    if not trial.is_mated.any() or trial.is_mated.all():
        raise _photos_gone(faces)
    return Robustness(
        num_mated=int(trial.is_mated.sum()),
        num_strangers=int((~trial.is_mated).sum()),
        num_unreadable=len(wanted) - len(readable),
        gallery=(len(np.unique(faces.people[split.enrolled])), len(split.enrolled)),
        threshold=threshold,
        num_clean=len(split.strangers),
        corrupted=_corrupted(trial, chosen, seed, on_progress),
    )


@dataclass(frozen=True)
class _Split:
    """The enrolled faces and the possible probes, as positions among the labelled faces.

    Attributes:
        enrolled: one face of each enrolled person.
        mated: the other faces of these people.
        strangers: all faces of the people who are not enrolled.
    """

    enrolled: NDArray[np.int64]
    mated: NDArray[np.int64]
    strangers: NDArray[np.int64]

    @classmethod
    def drawn(cls, faces: LabelledFaces, rng: np.random.Generator, index: str | Path) -> _Split:
        """Enrol one random face of each person in a random half of the people.

        Raises:
            WrongUsageError: that leaves too few mated or non-mated probes.
        """
        enrolled, probes = split_faces(faces.people, 1, rng)
        num_strangers = len(faces.names) // 2
        split = cls(*keep_out(faces.people, enrolled, probes, num_strangers, rng))
        if not len(split.mated) or len(split.strangers) * FPIR < 1:
            raise WrongUsageError(
                f"with one photo of half of the people of index {index} enrolled, there are "
                f"{len(split.mated)} other labelled photos of these people, expected at least 1, "
                f"and {len(split.strangers)} of the other people, expected at least "
                f"{round(1 / FPIR)}; label more photos, or give --people the column that has the "
                "names"
            )
        return split

    def some_probes(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw up to `count` mated probes and as many non-mated ones, as positions."""
        kinds = (self.mated, self.strangers)
        return np.concatenate([rng.permutation(rows)[:count] for rows in kinds])


def _photos_gone(faces: LabelledFaces) -> WrongUsageError:
    """Return the error that no mated probe's photo, or no non-mated probe's, can be read."""
    return WrongUsageError(
        "the photos of all mated probes, or of all non-mated probes, are gone or have changed "
        f"since they were embedded, such as {faces.column('uri')[0].as_py()}; embed the photos "
        "where they are now, and build the index again"
    )


def _chosen(names: Sequence[str]) -> list[Corruption]:
    """Look up corruptions by name; without names, return all.

    Raises:
        WrongUsageError: there is no corruption of a name.
    """
    by_name = {corruption.name: corruption for corruption in CORRUPTIONS}
    for name in names:
        if name not in by_name:
            raise WrongUsageError(
                f"there is no corruption {name!r}; there are {', '.join(by_name)}"
            )
    return [by_name[name] for name in names] or list(CORRUPTIONS)


def _cut_windows(
    faces: LabelledFaces, probes: NDArray[np.int64], on_progress: OnProgress
) -> tuple[list[FaceWindow], NDArray[np.int64]]:
    """Cut the faces of probes out of their photos, leaving out photos that cannot be read.

    Returns:
        The windows, and the probes that they are of.
    """
    windows, readable = [], []
    columns = faces.table.select(["uri", "also_at", "photo_id", "box", "landmarks"])
    rows = columns.take(pa.array(faces.index_rows[probes])).to_pylist()
    for done, (probe, row) in enumerate(zip(probes.tolist(), rows, strict=True)):
        on_progress(Progress("reading photos", done, len(probes)))
        image = _read_as_embedded([row["uri"], *row["also_at"]], row["photo_id"])
        if image is None:
            continue
        box, landmarks = (np.array(row[name], np.float32) for name in ("box", "landmarks"))
        windows.append(FaceWindow.cut(image, box, landmarks.reshape(5, 2)))
        readable.append(probe)
    return windows, np.array(readable, np.int64)


def _read_as_embedded(uris: Sequence[str], photo_id: str) -> Image | None:
    """Decode a photo from the first of its uris that still has the content that was embedded.

    Returns:
        (height, width, 3) uint8 RGB, or None where no uri has it any more.
    """
    for uri in uris:
        try:
            content = read_limited(uri)
            if hashlib.sha256(content).hexdigest() == photo_id:
                return decode_limited(content).image
        except PhotoRejectedError:
            continue
    return None


def _corrupted(
    trial: _Trial, corruptions: Sequence[Corruption], seed: int, on_progress: OnProgress
) -> list[Corrupted]:
    """Measure error rates without corruption, then under each corruption at each strength."""
    settings: list[tuple[Corruption | None, float | None]] = [(None, None)]
    settings += [
        (corruption, strength) for corruption in corruptions for strength in corruption.strengths
    ]
    found = []
    for number, (corruption, strength) in enumerate(settings):
        name = UNCORRUPTED if corruption is None else f"{corruption.name} {strength:g}"
        on_progress(Progress(f"corruption {number + 1} of {len(settings)}: {name}"))
        found.append(trial.under(corruption, strength, np.random.default_rng([seed, number])))
    return found


@dataclass(frozen=True)
class _Trial:
    """The gallery and the p probes that every corruption is applied to.

    Attributes:
        pipeline: detects and embeds faces, with the index's own model.
        gallery: the labelled faces of the index.
        enrolled: positions of the enrolled faces among the labelled faces.
        probes: (p,) positions of the probes among the labelled faces.
        windows: the p probes' faces, cut out of their photos.
        threshold: similarity from which on a candidate counts.
        bootstrap: bootstrap over the labelled people.
    """

    pipeline: FacePipeline
    gallery: Gallery
    enrolled: NDArray[np.int64]
    probes: NDArray[np.int64]
    windows: list[FaceWindow]
    threshold: float
    bootstrap: Bootstrap

    @cached_property
    def is_mated(self) -> NDArray[np.bool_]:
        """(p,) bool, whether the probe's person is enrolled."""
        people = self.gallery.faces.people
        return np.isin(people[self.probes], people[self.enrolled])

    @cached_property
    def own(self) -> NDArray[np.float32]:
        """(p, d) embedding of the enrolled face of each probe's person; zeros if not enrolled."""
        faces = self.gallery.faces
        row_of = np.full(len(faces.names), -1)
        row_of[faces.people[self.enrolled]] = self.enrolled
        rows = row_of[faces.people[self.probes]]
        vectors = self.gallery.version.embeddings(faces.index_rows[rows])
        vectors[rows < 0] = 0
        return vectors

    def under(
        self, corruption: Corruption | None, strength: float | None, rng: np.random.Generator
    ) -> Corrupted:
        """Corrupt all probes, detect and embed them again, and search for those that are found."""
        dimension = self.pipeline.embedder.dimension
        embeddings = np.zeros((len(self.probes), dimension), np.float32)
        found = np.zeros(len(self.probes), bool)
        corrupted = (
            window
            if corruption is None or strength is None
            else corruption.apply(window, strength, rng)
            for window in self.windows
        )
        for number, embedding in enumerate(self._embedded(corrupted)):
            if embedding is not None:
                embeddings[number], found[number] = embedding, True
        searches = search_all(self.gallery, self.enrolled, self.probes, embeddings)
        mated, non_mated = searches.mated, ~searches.mated
        first = found & (searches.ranks == 1)
        missed = ~found | (searches.right < self.threshold)
        answered = found & (searches.wrong >= self.threshold)
        similarities = (embeddings * self.own)[mated & found].sum(axis=1)
        return Corrupted(
            corruption=UNCORRUPTED if corruption is None else corruption.name,
            unit="" if corruption is None else corruption.unit,
            strength=strength,
            found=float(found.mean()),
            rank_one=share(first[mated], searches.people[mated], self.bootstrap),
            false_negative=share(missed[mated], searches.people[mated], self.bootstrap),
            false_positive=share(answered[non_mated], searches.people[non_mated], self.bootstrap),
            similarity=float(np.median(similarities)) if len(similarities) else None,
        )

    def _embedded(self, windows: Iterator[FaceWindow]) -> Iterator[NDArray[np.float32] | None]:
        """Yield the (d,) embedding of each window's face, or None where it is not found."""
        while batch := list(islice(windows, AT_ONCE)):
            for window, faces in zip(
                batch, self.pipeline.find_faces([window.image for window in batch]), strict=True
            ):
                if not faces:
                    yield None
                    continue
                boxes = np.stack([face.detection.box for face in faces])
                overlap = intersection_over_union(boxes, window.box)
                best = int(np.argmax(overlap))
                yield faces[best].embedding if overlap[best] >= SAME_FACE_OVERLAP else None
