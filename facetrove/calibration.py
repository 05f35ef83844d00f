"""Calibrate an index: measure its false-positive rate by similarity, and store it in the index."""

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
    fpir: float | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Calibration:
    """Measure the false-positive identification rate (FPIR) of an index, and store it in the index.

    The index can be read and written during the measurement. If another process has published a
    new version by the end, nothing is stored. `facetrove.evaluation.calibrate` describes the
    method.

    Args:
        index: path of the index's folder.
        people: column of the photos' metadata that names the person in a photo, or `folder`, where
            each person's photos lie in a folder of their name. None: the column `person`, if it
            names 200 people or more and labels half of the faces; else as `by_likeness`.
        by_likeness: ignore labels, and take each cluster of similar faces for one person.
        face: the face of a photo that its label is for: the `largest`, the `central` one, or the
            `only` one (photos with several faces are then left out).
        fpir: a rate that the calibration must support, in (0, 1); where it does not, nothing is
            stored. None: any calibration will do.
        on_progress: function called with the step that is being done.

    Returns:
        The calibration that was stored: FPIR by similarity. `FaceSearcher.threshold` reads it.

    Raises:
        WrongUsageError: there is no index at that path, the labels cannot be used, the index
            holds too few people, or the calibration does not support `fpir`.
        CorruptFileError: a file of the index is missing, truncated or altered.
        BusyError: another process is writing the index, or changed it during the measurement.
    """
    require_no_writer(index)  # measuring takes minutes: fail before, not after
    measured = measure_calibration(
        index, people=people, by_likeness=by_likeness, face=face, on_progress=on_progress
    )
    if fpir is not None:
        measured.calibration.threshold(fpir, measured.manifest.num_faces)  # raises before storing
    publish_calibration(index, measured.calibration, measured_on=measured.manifest)
    return measured.calibration
