"""Lists of what a dataset has and lacks: everything that is counted, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.dataset.contradictions import contradictions
from faces.dataset.missing import find_missing
from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from faces.photos.passed_over import PassedOverCounts, counts_of


def _with_value(column: str, dataset: Dataset) -> pa.Table:
    photos = dataset.photos([column])
    found = photos.filter(pc.is_valid(photos[column])).select([column, "uri"])
    return found.sort_by([(column, "ascending"), ("uri", "ascending")])


def _of_status(status: PhotoStatus, dataset: Dataset) -> pa.Table:
    photos = dataset.photos([])
    return photos.filter(pc.equal(photos["status"], status.value)).select(["uri"]).sort_by("uri")


def _copies(dataset: Dataset) -> pa.Table:
    photos = dataset.photos([])
    contents = photos.filter(pc.is_valid(photos["photo_id"])).select(["photo_id", "uri"])
    counted = contents.group_by("photo_id").aggregate([("uri", "count")])
    several = counted.filter(pc.greater(counted["uri_count"], 1))["photo_id"].combine_chunks()
    found = contents.filter(pc.is_in(contents["photo_id"], value_set=several))
    return found.sort_by([("photo_id", "ascending"), ("uri", "ascending")])


def _passed_over(dataset: Dataset) -> pa.Table:
    passed_over = dataset.passed_over()
    if passed_over is None:
        raise WrongUsageError(
            f"dataset {dataset.path} does not say what was passed over: no run of this version has "
            "listed photos since, or a purge has removed the names; run `facetrove embed` again"
        )
    return passed_over


def _uris(uris: Sequence[str]) -> pa.Table:
    return pa.table({"uri": pa.array(uris, pa.string())})


LISTS: Mapping[str, Callable[[Dataset], pa.Table]] = {
    "rejected": partial(_with_value, "reason"),
    "no-face": partial(_of_status, PhotoStatus.NO_FACE),
    "deleted": partial(_of_status, PhotoStatus.DELETED),
    "copies": _copies,
    "partly-read": partial(_with_value, "partly_read"),
    "vanished": lambda dataset: _uris(find_missing(dataset.path).vanished),
    "unreachable": lambda dataset: _uris(find_missing(dataset.path).unreachable),
    "contradictory": contradictions,
    "passed-over": _passed_over,
}
"""The lists by name, each as a function of the dataset."""


def passed_over_counts(dataset: Dataset) -> PassedOverCounts:
    """Count what the last run passed over: by its names, or where a purge removed these, by the
    run's record, which may be odd."""
    names = dataset.passed_over()
    if names is not None:
        return counts_of(names)
    try:
        kinds = dataset.runs()[-1]["found"]["passed_over"].items()
        return {kind: {name: int(count) for name, count in by.items()} for kind, by in kinds}
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        return {}
