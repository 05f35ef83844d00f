"""The job that groups faces by person."""

from __future__ import annotations

from typing import Any

from facetrove.people.people import People
from facetrove.service.job_task import Reports, Task


def group(task: Task, report: Reports) -> dict[str, Any]:
    """Group the faces of the index by person, in agreement with what humans decided."""
    people = People.open(task.dataset)
    return people.group(task.index, on_progress=report.progress, **task.request).to_json()
