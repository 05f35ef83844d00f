"""Calibration: which similarity strangers reach in an index, measured on the faces in it.

A face of the gallery, compared with everybody's but its own person's, is what a stranger is. Of
each such probe the highest similarity is kept, and of all pairs how many reach each similarity;
`facetrove.evaluation.strangers` makes a curve of FPIR by similarity out of these. The curve ends at
a tenth of the least FPIR that is measured: nothing is promised beyond.

**Whose faces they are** labels tell, where there are enough. Else the gallery itself does: pairs of
one person are some at the upper end and none at the lower, so the lower half of all similarities
gives the bulk of the strangers', which is Gaussian (`facetrove.evaluation.comparisons`). Faces are
linked where strangers' would be so alike in one search of a hundred, and linked faces, directly or
through others, are taken for one person (`facetrove.evaluation.likeness`). What that cuts off are
similarities beyond the link, and the fit does not use these.

Measuring writes nothing: `facetrove.calibration` publishes what was measured. docs/evaluation.md
has what came of it on real people that were not in the gallery.
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

PEOPLE_AT_LEAST = 100
"""People whose highest similarity must reach one that the fit uses: a tenth of error."""

DECADE = 10.0
"""How far below what is measured the curve goes on."""

MIN_FPIR_LINKED = 0.1
"""Where faces are grouped by likeness, nothing below is measured: links cut off what is near
`likeness.LINK_FPIR`."""

NUM_POINTS = 80


@dataclass(frozen=True)
class MeasuredCalibration:
    """A calibration, and the version of the index that it was measured on.

    Attributes:
        calibration: the index's false-positive identification rate, by similarity.
        manifest: that version.
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
        people: `folder`, or the column that says who is in a photo; by default `person`, where
            that says it of `MIN_PEOPLE` people or more and of half of the faces, or else the
            gallery itself.
        by_likeness: go by the gallery itself whatever labels say.
        face: which of a photo's faces is the labelled person's.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: there is no index, or it holds too few people to tell.
    """
    if by_likeness and people is not None:
        raise WrongUsageError("go by labelled people or by the likeness of faces, not by both")
    version = Snapshot.open(Path(index), "cpu")
    labels = None
    if not by_likeness:
        on_progress(Progress("reading labels"))
        labels = _labels(Path(index), version, people, face)
    try:
        calibration = _measured(version, labels, on_progress)
    except ValueError as error:
        raise WrongUsageError(
            f"the faces of index {index} are too much alike to tell strangers by"
        ) from error
    return MeasuredCalibration(calibration, version.manifest)


def _labels(
    index: Path, version: Snapshot, people: str | None, face: FaceChoice
) -> LabelledFaces | None:
    """Read the labelled faces; None where there are too few to go by.

    Raises:
        WrongUsageError: `people` is given and there are too few.
    """
    if people is None and "person" not in version.metadata.names:
        return None
    labels = labelled_faces(index, version, people=people, face=face)
    num_people, num_labelled = len(labels.names), len(labels.places)
    num_faces = version.manifest.num_faces
    if num_people >= MIN_PEOPLE and num_labelled * MAX_GROWTH >= num_faces:
        return labels
    if people is None:
        return None
    raise WrongUsageError(
        f"{people!r} names {num_people:,} people of index {index} in {num_labelled:,} of "
        f"{num_faces:,} faces; a calibration by people takes {MIN_PEOPLE} people and half of the "
        "faces; go --by-likeness of the faces"
    )


def _measured(
    version: Snapshot, labels: LabelledFaces | None, on_progress: OnProgress
) -> Calibration:
    if labels is not None:
        compared = Comparisons.of(version, labels.places, labels.people, on_progress)
        return _calibration(compared, "people")
    places = np.flatnonzero(version.live())
    compared = Comparisons.of(version, places, np.arange(len(places)), on_progress)
    return _calibration(replace(compared, people=people_by_likeness(compared)), "gallery")


def _calibration(compared: Comparisons, method: Method) -> Calibration:
    """Measure how similar different people look, and state it for the whole gallery."""
    num_people = len(np.unique(compared.people[compared.probes]))
    if num_people < MIN_PEOPLE:
        what = "people" if method == "people" else "groups of like faces"
        raise too_few(f"faces of {num_people} {what}")
    measured = PEOPLE_AT_LEAST / num_people
    if method == "gallery":
        measured = max(measured, MIN_FPIR_LINKED)
    strangers = Strangers.among(compared, method)
    rates = np.geomspace(0.99, measured / DECADE, NUM_POINTS)
    similarities = strangers.thresholds(rates, measured)
    rates = rates[: len(similarities)]
    num_faces = compared.version.manifest.num_faces
    growth = num_faces / len(compared.places)  # unlabelled faces are chances too
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
