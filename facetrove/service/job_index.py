"""The jobs that delete, take back, purge, check and compact: none needs a network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from faces.dataset.deletions import read_deletions
from facetrove.service.job_task import Reports, Task
from facetrove.service.uploads import Uploads
from indexer import compact as compacting
from indexer import purge as purging
from indexer import undo as undoing
from indexer.delete import delete_faces
from indexer.verify import verify_index


def delete(task: Task, report: Reports) -> dict[str, Any]:
    """Withhold faces from every search."""
    done = delete_faces(task.dataset, task.index, on_progress=report.progress, **task.request)
    return _without_paths(asdict(done))


def undo(task: Task, report: Reports) -> dict[str, Any]:
    """Take a deletion back."""
    deletion_id = task.request["deletion_id"]
    done = undoing.undo(task.dataset, deletion_id, task.index, on_progress=report.progress)
    return _without_paths(done.to_json())


def purge(task: Task, report: Reports) -> dict[str, Any]:
    """Make deletions final, once the server knows which uploads it is to remove."""
    report.leftovers(_uploads_to_purge(task))
    return purging.purge(
        task.dataset, task.index, on_progress=report.progress, **task.request
    ).to_json()


def verify(task: Task, report: Reports) -> dict[str, Any]:
    """Check that the index is intact, and agrees with the dataset."""
    return verify_index(task.index, task.dataset, on_progress=report.progress).to_json()


def compact(task: Task, report: Reports) -> dict[str, Any]:
    """Rewrite the index as one segment."""
    manifest = compacting.compact_index(Path(task.index), on_progress=report.progress)
    return {"version": manifest.version, "num_faces": manifest.num_faces}


def _without_paths(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with the number of the indexes not named in place of their paths."""
    unnamed = result.pop("unnamed_indexes")
    return {**result, "num_unnamed_indexes": len(unnamed)}


def _uploads_to_purge(task: Task) -> list[str]:
    """Return the photos sent in that show a face that a purge removes, before it does."""
    if task.uploads is None:
        return []
    deletions = read_deletions(Path(task.dataset))
    contents = deletions.contents_to_purge(task.request.get("deletions"))
    return Uploads(Path(task.uploads), 0).of_contents(contents.to_pylist())
