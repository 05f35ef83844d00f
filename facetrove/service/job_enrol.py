"""The job that adds photos to the dataset and the index."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.embed_photos import embed_photos
from faces.core.storage import Folder
from faces.dataset.store import Dataset
from faces.photos.rejection import TRANSIENT_REASONS
from faces.photos.uris import photo_uri
from facetrove.service.folders import require_allowed_folder
from facetrove.service.job_task import Reports, Task
from indexer.build import build_index
from indexer.manifest import read_current

PHOTO_LIST = "photos.csv"

FEW_PHOTOS = 32
"""Number of photos that one worker embeds sooner than a second one has started."""


def enrol(task: Task, report: Reports) -> dict[str, Any]:
    """Embed a folder, or photos that were sent in, and bring the index up to date."""
    request, dataset = task.request, Path(task.dataset)
    names: list[str] = request.get("uploads") or []
    workers = None
    if request.get("folder") is not None:
        source = require_allowed_folder(request["folder"], map(Path, task.folders))
    else:
        source = _photo_list(task, names)
        workers = 1 if len(names) <= FEW_PHOTOS else None
    summary = embed_photos(source, dataset, workers=workers, on_progress=report.progress)
    build_index(dataset, Path(task.index), on_progress=report.progress)
    manifest = read_current(task.index)
    result = {
        "embedded": asdict(summary),
        "index": {"version": manifest.version, "num_faces": manifest.num_faces},
    }
    if names:
        report.leftovers(_faceless(task, names))
    return result


def _photo_list(task: Task, names: list[str]) -> Path:
    """Write the list of the photos that were sent in, with the columns that they are to get."""
    assert task.uploads is not None, "photos are sent in only where there is a folder for them"
    columns: Mapping[str, Any] = task.request.get("columns") or {}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["uri", *columns])
    for name in names:
        writer.writerow([str(Path(task.uploads) / name), *columns.values()])
    path = Path.cwd() / PHOTO_LIST
    with Folder(path.parent).put(path.name) as file:
        file.write(text.getvalue().encode())
    return path


def _faceless(task: Task, names: list[str]) -> list[str]:
    """Return those of the photos sent in that show no face, so that nothing is kept of them."""
    assert task.uploads is not None, "as in _photo_list"
    uris = {photo_uri(Path(task.uploads) / name): name for name in names}
    photos = Dataset.open(task.dataset).photos(["num_faces", "reason"])
    photos = photos.filter(pc.is_in(photos["uri"], value_set=pa.array(uris, pa.string())))
    return [
        uris[row["uri"]]
        for row in photos.select(["uri", "num_faces", "reason"]).to_pylist()
        if not row["num_faces"] and row["reason"] not in TRANSIENT_REASONS
    ]
