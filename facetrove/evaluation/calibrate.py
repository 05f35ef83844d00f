"""Calibration: measure the FPIR of an index by threshold, on the faces in the index itself.

A face of the gallery, compared with the faces of everybody but its own person, is a non-mated
probe. The highest similarity of each such probe is kept, and a histogram of the similarities of all
pairs; `facetrove.evaluation.strangers` fits a curve of FPIR by similarity to both. The curve ends
at a tenth of the lowest FPIR that the probes measure directly; no threshold is given beyond it.

**Which faces are of one person** is known from labels where enough faces have one. Otherwise the
gallery is clustered. Pairs of one person are few and lie at the upper end of all similarities, so
the lower half shows the distribution of non-mated similarities, whose bulk is Gaussian
(`facetrove.evaluation.comparisons`). Two faces are linked from the similarity on that a non-mated
search would reach at an FPIR of 0.01, and faces linked directly or through others are taken for one
person, which is single-linkage clustering (`facetrove.evaluation.likeness`). Clustering removes
non-mated similarities above the link from the measurement; the fit uses only lower ones.

Nothing is written here: `facetrove.calibration` publishes the result. docs/evaluation.md compares
calibrated with actual rates, for real people who were not in the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from facetrove.evaluation.comparisons import MIN_PEOPLE, Comparisons, too_few
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, labelled_faces
from facetrove.evaluation.likeness import people_by_likeness
from facetrove.evaluation.strangers import Method, Strangers
from indexer.manifest import Manifest
from indexer.snapshot import Snapshot
from indexer.thresholds import MAX_GROWTH, Calibration

MIN_FALSE_POSITIVES = 100
"""Expected number of people with a false positive at the lowest FPIR that is measured directly. Its
relative standard error is then a tenth."""

EXTRAPOLATION = 10.0
"""Factor between the lowest FPIR that is measured directly and the end of the fitted curve."""

MIN_FPIR_CLUSTERED = 0.1
"""Lowest FPIR that is measured directly where people are clusters of similar faces: clustering
removes similarities near the one of `likeness.LINK_FPIR`."""

NUM_POINTS = 80
"""Number of points of the stored curve."""


@dataclass(frozen=True)
class MeasuredCalibration:
    """A calibration, and the version of the index that it was measured on.

    Attributes:
        calibration: the index's false-positive identification rate, by similarity.
        manifest: the manifest of the version that was measured.
    """

    calibration: Calibration
    manifest: Manifest


def measure_calibration(
    index: str | Path,
    *,
    people: str | None = None,
    by_likeness: bool = False,
    face: FaceChoice = "largest",
    on_progress: OnProgress = ignore_progress,
) -> MeasuredCalibration:
    """Measure the false-positive identification rate of an index, and write nothing.

    Args:
        index: the index's folder.
        people: `folder`, or the column with the name of the person in a photo. By default
            `person`, if that column names at least `MIN_PEOPLE` people and labels at least half of
            the faces; otherwise people are clusters of similar faces.
        by_likeness: use clusters of similar faces even where faces are labelled.
        face: which of a photo's faces is the labelled person's.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: there is no index, or it holds too few people to measure.
    """
    if by_likeness and people is not None:
        raise WrongUsageError(
            f"people are either those that {people!r} names or clusters of similar faces; give "
            "either --people or --by-likeness"
        )
    version = Snapshot.open(Path(index), "cpu")
    labels = None
    if not by_likeness:
        on_progress(Progress("reading labels"))
        labels = _labels(Path(index), version, people, face)
    try:
        calibration = _measured(version, labels, on_progress)
    except ValueError as error:
        raise WrongUsageError(
            f"index {index} cannot be calibrated: its faces are too similar to each other to "
            "measure the similarities of different people; index more different people"
        ) from error
    return MeasuredCalibration(calibration, version.manifest)


def _labels(
    index: Path, version: Snapshot, people: str | None, face: FaceChoice
) -> LabelledFaces | None:
    """Read the labelled faces; return None where there are too few for a calibration.

    Raises:
        WrongUsageError: `people` is given and it labels too few people or faces.
    """
    if people is None and "person" not in version.metadata.names:
        return None
    labels = labelled_faces(index, version, people=people, face=face)
    num_people, num_labelled = len(labels.names), len(labels.index_rows)
    num_faces = version.manifest.num_faces
    if num_people >= MIN_PEOPLE and num_labelled * MAX_GROWTH >= num_faces:
        return labels
    if people is None:
        return None
    raise WrongUsageError(
        f"{people!r} names {num_people:,} people of index {index} in {num_labelled:,} of "
        f"{num_faces:,} faces; a calibration by labels takes at least {MIN_PEOPLE} people and half "
        "of the faces; calibrate with --by-likeness, which needs no labels"
    )


def _measured(
    version: Snapshot, labels: LabelledFaces | None, on_progress: OnProgress
) -> Calibration:
    """Calibrate by labelled people, or where `labels` is None by clusters of similar faces."""
    if labels is not None:
        compared = Comparisons.of(version, labels.index_rows, labels.people, on_progress)
        return _calibration(compared, "people")
    rows = np.flatnonzero(version.live())
    compared = Comparisons.of(version, rows, np.arange(len(rows)), on_progress)
    return _calibration(replace(compared, people=people_by_likeness(compared)), "gallery")


def _calibration(compared: Comparisons, method: Method) -> Calibration:
    """Measure the non-mated similarities of a gallery, and state the FPIR for all its faces."""
    num_people = len(np.unique(compared.people[compared.probes]))
    if num_people < MIN_PEOPLE:
        what = "people" if method == "people" else "clusters of similar faces"
        raise too_few(f"faces of {num_people} {what}")
    min_measured = MIN_FALSE_POSITIVES / num_people
    if method == "gallery":
        min_measured = max(min_measured, MIN_FPIR_CLUSTERED)
    strangers = Strangers.among(compared, method)
    rates = np.geomspace(0.99, min_measured / EXTRAPOLATION, NUM_POINTS)
    similarities = strangers.thresholds(rates, min_measured)
    rates = rates[: len(similarities)]
    num_faces = compared.version.manifest.num_faces
    # A search compares its probe with the unlabelled faces too.
    growth = num_faces / len(compared.index_rows)
    rates = -np.expm1(growth * np.log1p(-rates))
    kept = rates < 1 - 1e-9
    return Calibration(
        method=method,
        num_faces=num_faces,
        num_people=num_people,
        num_comparisons=strangers.num_comparisons,
        similarities=tuple(np.clip(similarities[kept], -1, 1).tolist()),
        rates=tuple(rates[kept].tolist()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
