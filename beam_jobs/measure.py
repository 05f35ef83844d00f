"""The job that has a classifier say what the faces of a dataset show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.crops import cut_missing_crops
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.crop_cache import CropCache
from faces.dataset.cropping import FACE_COLUMNS
from faces.dataset.measured import begin_measuring, require_measurable, write_measured
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.classifier import FaceClassifier

FACES_AT_ONCE = 20_000
"""Number of faces whose crops are in the cache at once: 750 MB; more are measured in turns."""

CLASSIFIED_AT_ONCE = 512
"""Number of crops that are read at once: 20 MB."""


@dataclass(frozen=True)
class Measurement:
    """What measuring the faces of a dataset gave.

    Attributes:
        label: name of the column that was measured; the other is `<label>_score`.
        num_faces: number of the dataset's faces.
        num_measured: number of faces that were measured now.
        num_lost: number of faces whose photo is gone or has changed, which have no value.
        counts: number of faces of each class, those measured earlier included.
    """

    label: str
    num_faces: int
    num_measured: int
    num_lost: int
    counts: dict[str, int]


def measure_faces(
    dataset: str | Path,
    classifier: str | Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Measurement:
    """Have a classifier say what every face of a dataset shows, as two columns of the faces.

    Faces that it has measured already are left as they are, so that after new photos, or where it
    was stopped, the same call measures the rest. What another network measured under the same label
    is replaced. Indexes have the columns when they are next brought up to date, for which they are
    built from nothing.

    Args:
        dataset: the dataset's folder; its photos must be where they were embedded.
        classifier: the TOML file of the classifier.
        workers: number of worker processes that cut the faces out of photos; None: one per core.
        threads: number of processor cores that the classifier uses; None: all.
        on_progress: called with each step and how far it is.

    Returns:
        How many faces were measured, and what they show.

    Raises:
        WrongUsageError: there is no dataset or classifier, or the label is no name for a column.
        ContractMismatchError: the classifier was trained on faces of another detector.
        BusyError: another process is writing the dataset or cutting its crops.
        CorruptFileError: a file of the dataset is corrupt.
    """
    opened = Dataset.open(dataset)
    network = FaceClassifier(Path(classifier), threads=threads or available_threads())
    described = network.described
    described.require_same_faces(opened.contract, f"dataset {opened.path}")
    require_measurable(opened, described.label)
    num_measured = num_lost = 0
    with DatasetWriter.open(opened.path, opened.settings) as writer:
        has_begun = False
        if writer.dataset.settings.measured.get(described.label) != described.network_sha256:
            begin_measuring(writer, described.label, described.network_sha256, on_progress)
            has_begun = True
        for turn in _turns(writer.dataset, described.label):
            faces = pa.concat_tables(turn.values())
            step = Progress(f"measuring {described.label}", num_measured + num_lost)
            on_progress(step)
            found = _measured(writer.dataset, faces, network, workers, on_progress)
            if found and not has_begun:
                begin_measuring(writer, described.label, described.network_sha256, on_progress)
                has_begun = True
            for part in turn if found else ():
                write_measured(writer.dataset, part, described.label, found)
            num_measured += len(found)
            num_lost += len(faces) - len(found)
        written = writer.dataset
    values = written.faces([described.label]).to_arrow()[described.label]
    counts = Counter(value for value in values.to_pylist() if value is not None)
    return Measurement(
        described.label, len(values), num_measured, num_lost, dict(sorted(counts.items()))
    )


def _to_do(dataset: Dataset, label: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield the parts with faces that have no value yet, and these faces."""
    photos = dataset.photos([])
    for part in sorted(photos["faces_part"].drop_null().unique().to_pylist()):
        own = photos.filter(pc.equal(photos["faces_part"], part))
        has_column = label in dataset.settings.measured
        columns = [*FACE_COLUMNS, *([label] if has_column else [])]
        faces = dataset.faces(columns, photos=own).to_arrow()
        if has_column:
            faces = faces.filter(pc.is_null(faces[label])).drop_columns([label])
        if len(faces):
            yield part, faces


def _turns(dataset: Dataset, label: str) -> Iterator[dict[str, pa.Table]]:
    """Yield faces to measure, by part, about `FACES_AT_ONCE` at once."""
    turn: dict[str, pa.Table] = {}
    for part, faces in _to_do(dataset, label):
        turn[part] = faces
        if sum(map(len, turn.values())) >= FACES_AT_ONCE:
            yield turn
            turn = {}
    if turn:
        yield turn


def _measured(
    dataset: Dataset,
    faces: pa.Table,
    network: FaceClassifier,
    workers: int | None,
    on_progress: OnProgress,
) -> dict[str, tuple[str, float]]:
    """Cut faces out of their photos and classify them; crops that were not there are not kept.

    Returns:
        Class and probability by face_id, without faces whose photo is gone or has changed.
    """
    cache = CropCache.of(dataset.path, dataset.contract)
    with cache.kept_as_it_is():
        crops = cut_missing_crops(dataset, faces, workers=workers, on_progress=on_progress)
        present = np.flatnonzero(crops.present)
        ids = faces["face_id"].take(pa.array(present)).to_pylist()
        found: dict[str, tuple[str, float]] = {}
        for start in range(0, len(present), CLASSIFIED_AT_ONCE):
            here = slice(start, start + CLASSIFIED_AT_ONCE)
            classes, scores = network.classify(crops.take(present[here]))
            found |= dict(zip(ids[here], zip(classes, scores, strict=True), strict=True))
            on_progress(Progress("classifying", start + len(classes), len(present)))
    return found
