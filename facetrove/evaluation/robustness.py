"""Identification under corruption: the probes are corrupted, the enrolled faces are as they are.

What the article behind this project calls interference and noise, at stated strengths.
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
from faces.models.pipeline import FacePipeline, overlaps
from faces.models.registry import load_pipeline_for
from faces.photos.decoding import Image, decode_photo
from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError
from facetrove.evaluation.as_json import JsonResult
from facetrove.evaluation.corruptions import CORRUPTIONS, Corruption, FaceWindow
from facetrove.evaluation.gallery import Gallery, search_all
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, labelled_faces
from facetrove.evaluation.metrics import Bootstrap, Rate, share, threshold_at
from facetrove.evaluation.protocol import keep_out, split_faces
from indexer.snapshot import Snapshot

NUM_PROBES = 300
FPIR = 0.01
"""Of strangers' uncorrupted faces, whose threshold is kept under corruption."""

SAME_FACE_OVERLAP = 0.3
AT_ONCE = 32
UNCORRUPTED = "none"


@dataclass(frozen=True)
class Corrupted:
    """What one corruption of one strength does.

    Attributes:
        corruption: its name; `none`: nothing is done.
        unit, strength: how strong.
        found: share of the faces that the detector still finds.
        rank_one: share of mated probes whose person comes first; one that is not found does not.
        false_negative: share of mated probes whose person is not above the threshold, likewise.
        false_positive: share of strangers' probes that find somebody above it.
        similarity: median of the mated probes that are found, to their person; None: none is.
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
    """What corruption does to identification.

    Attributes:
        num_mated, num_strangers: probes of each kind.
        num_unreadable: photos of probes that could not be read any more, left out.
        gallery: people and faces enrolled.
        threshold: similarity at an FPIR of 0.01 of all uncorrupted strangers' photos.
        num_clean: how many these are.
        corrupted: by corruption and strength, uncorrupted first.
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
    """Measure how identification in an index bears corruption of the photos searched for.

    Half of the people are enrolled with one photo each; the others are strangers.

    Args:
        index: the index's folder.
        people, face, where: as of `facetrove.evaluation.identify.evaluate_identification`.
        corruptions: names of the kinds of corruption to try, from `CORRUPTIONS`; all by default.
        probes: number of photos of enrolled people to corrupt, and as many of strangers.
        seed: seed of the split and of the noise.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: labels do not suffice, photos are gone, or there is no such corruption.
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
    """Rows of the enrolled faces, of further faces of these people, and of all strangers' faces."""

    enrolled: NDArray[np.int64]
    mated: NDArray[np.int64]
    strangers: NDArray[np.int64]

    @classmethod
    def drawn(cls, faces: LabelledFaces, rng: np.random.Generator, index: str | Path) -> _Split:
        """Enrol one face each of half of the people, drawn at random.

        Raises:
            WrongUsageError: that leaves too few probes.
        """
        enrolled, probes = split_faces(faces.people, 1, rng)
        num_strangers = len(faces.names) // 2
        split = cls(*keep_out(faces.people, enrolled, probes, num_strangers, rng))
        if not len(split.mated) or len(split.strangers) * FPIR < 1:
            raise WrongUsageError(
                f"with half of the people of index {index} enrolled, there are {len(split.mated)} "
                "more labelled photos of them, of which 1 is needed, and "
                f"{len(split.strangers)} of the others, of which {round(1 / FPIR)} are; label more "
                "photos (--people says where names are)"
            )
        return split

    def some_probes(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw rows of so many probes of enrolled people at most, and as many of strangers."""
        kinds = (self.mated, self.strangers)
        return np.concatenate([rng.permutation(rows)[:count] for rows in kinds])


def _photos_gone(faces: LabelledFaces) -> WrongUsageError:
    return WrongUsageError(
        "the photos of enrolled people, or those of strangers, are no longer as they were when "
        f"they were embedded, such as {faces.column('uri')[0].as_py()}; embed them where they "
        "are now"
    )


def _chosen(names: Sequence[str]) -> list[Corruption]:
    known = {corruption.name: corruption for corruption in CORRUPTIONS}
    for name in names:
        if name not in known:
            raise WrongUsageError(f"there is no corruption {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(CORRUPTIONS)


def _cut_windows(
    faces: LabelledFaces, probes: NDArray[np.int64], on_progress: OnProgress
) -> tuple[list[FaceWindow], NDArray[np.int64]]:
    """The faces of the probes whose photos can be read, and which these are."""
    windows, readable = [], []
    columns = faces.table.select(["uri", "also_at", "photo_id", "box", "landmarks"])
    places = columns.take(pa.array(faces.places[probes])).to_pylist()
    for done, (probe, row) in enumerate(zip(probes.tolist(), places, strict=True)):
        on_progress(Progress("reading photos", done, len(probes)))
        image = _read_as_embedded([row["uri"], *row["also_at"]], row["photo_id"])
        if image is None:
            continue
        box, landmarks = (np.array(row[name], np.float32) for name in ("box", "landmarks"))
        windows.append(FaceWindow.cut(image, box, landmarks.reshape(5, 2)))
        readable.append(probe)
    return windows, np.array(readable, np.int64)


def _read_as_embedded(uris: Sequence[str], photo_id: str) -> Image | None:
    """A photo from the first place that still has it; None: it is gone, or another now."""
    for uri in uris:
        try:
            content = read_photo(uri)
            if hashlib.sha256(content).hexdigest() == photo_id:
                return decode_photo(content).image
        except PhotoRejectedError:
            continue
    return None


def _corrupted(
    trial: _Trial, corruptions: Sequence[Corruption], seed: int, on_progress: OnProgress
) -> list[Corrupted]:
    """Try no corruption, then each corruption at each of its strengths."""
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
    """What every corruption is tried with."""

    pipeline: FacePipeline
    gallery: Gallery
    enrolled: NDArray[np.int64]
    probes: NDArray[np.int64]
    windows: list[FaceWindow]
    threshold: float
    bootstrap: Bootstrap

    @cached_property
    def is_mated(self) -> NDArray[np.bool_]:
        """(p,) whether the probe's person is enrolled."""
        people = self.gallery.faces.people
        return np.isin(people[self.probes], people[self.enrolled])

    @cached_property
    def own(self) -> NDArray[np.float32]:
        """(p, d) embedding of the enrolled face of each probe's person; zeros for strangers."""
        faces = self.gallery.faces
        row_of = np.full(len(faces.names), -1)
        row_of[faces.people[self.enrolled]] = self.enrolled
        rows = row_of[faces.people[self.probes]]
        vectors = self.gallery.version.embeddings(faces.places[rows])
        vectors[rows < 0] = 0
        return vectors

    def under(
        self, corruption: Corruption | None, strength: float | None, rng: np.random.Generator
    ) -> Corrupted:
        """Corruption all probes and search for what is found of them."""
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
        mated, wrong = searches.mated, ~searches.mated
        first = found & (searches.ranks == 1)
        missed = ~found | (searches.right < self.threshold)
        answered = found & (searches.wrong >= self.threshold)
        seen = (embeddings * self.own)[mated & found].sum(axis=1)
        return Corrupted(
            corruption=UNCORRUPTED if corruption is None else corruption.name,
            unit="" if corruption is None else corruption.unit,
            strength=strength,
            found=float(found.mean()),
            rank_one=share(first[mated], searches.people[mated], self.bootstrap),
            false_negative=share(missed[mated], searches.people[mated], self.bootstrap),
            false_positive=share(answered[wrong], searches.people[wrong], self.bootstrap),
            similarity=float(np.median(seen)) if len(seen) else None,
        )

    def _embedded(self, windows: Iterator[FaceWindow]) -> Iterator[NDArray[np.float32] | None]:
        """The embedding of the face of each window, None where it is not found."""
        while some := list(islice(windows, AT_ONCE)):
            for window, faces in zip(
                some, self.pipeline.find_faces([window.image for window in some]), strict=True
            ):
                if not faces:
                    yield None
                    continue
                boxes = np.stack([face.detection.box for face in faces])
                overlap = overlaps(boxes, window.box)
                best = int(np.argmax(overlap))
                yield faces[best].embedding if overlap[best] >= SAME_FACE_OVERLAP else None
