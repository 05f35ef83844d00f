"""Calibrate an index: measure what similarities mean in it, and keep that with it."""

from __future__ import annotations

from pathlib import Path

from faces.core.progress import OnProgress, ignore_progress
from facetrove.evaluation.calibrate import measure_calibration
from facetrove.evaluation.labels import FaceChoice
from indexer.calibration import publish_calibration, require_no_writer
from indexer.thresholds import Calibration


def calibrate_index(
    index: str | Path,
    *,
    people: str | None = None,
    by_likeness: bool = False,
    face: FaceChoice = "largest",
    on_progress: OnProgress = ignore_progress,
) -> Calibration:
    """Measure the false-positive identification rate of an index, and publish it with the index.

    The index can be read and written while it is measured. If it has another version in the end,
    nothing is published.

    Args:
        index: the index's folder.
        people: `folder`, or the column that says who is in a photo; by default `person`, where
            that names 200 people or more and half of the faces, or else the likeness of faces.
        by_likeness: tell people apart by the likeness of their faces, whatever labels say.
        face: which of a photo's faces is the labelled person's: `largest`, `central` or `only`.
        on_progress: called with the step that is being done.

    Returns:
        What was measured, as it is published. `FaceSearcher.threshold` reads it.

    Raises:
        WrongUsageError: there is no index, or it holds too few people to tell.
        CorruptFileError: a file of the index is not what was written.
        BusyError: another process is writing the index, or has changed it while it was measured.
    """
    require_no_writer(index)  # sooner than after some minutes
    measured = measure_calibration(
        index, people=people, by_likeness=by_likeness, face=face, on_progress=on_progress
    )
    publish_calibration(index, measured.calibration, measured_on=measured.manifest)
    return measured.calibration
