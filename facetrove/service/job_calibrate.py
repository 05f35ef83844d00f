"""The job that measures the false-positive rate of the index."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from facetrove.calibration import calibrate_index
from facetrove.service.job_task import Reports, Task
from indexer.manifest import read_current


def calibrate(task: Task, report: Reports) -> dict[str, Any]:
    """Measure how similar strangers look in the index, and store that in it."""
    calibration = calibrate_index(task.index, on_progress=report.progress, **task.request)
    fpir, num_faces = task.request.get("fpir"), read_current(task.index).num_faces
    threshold = None if fpir is None else calibration.threshold(fpir, num_faces)
    return {"calibration": asdict(calibration), "fpir": fpir, "threshold": threshold}
