"""The lists of `facetrove info --list`: everything that is counted, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import click
import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.contradictions import contradictions
from faces.dataset.missing import find_missing
from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from facetrove.cli.csv_text import as_csv
from facetrove.cli.terminal import print_json, shown_uri
from facetrove.cli.text import printable

ListFormat: TypeAlias = Literal["text", "json", "csv"]
"""How a list is printed: lines with tabs between the values, one JSON document, or CSV."""


def _rejected(dataset: Dataset) -> pa.Table:
    photos = dataset.photos(["reason"])
    rejected = photos.filter(pc.is_valid(photos["reason"])).select(["reason", "uri"])
    return rejected.sort_by([("reason", "ascending"), ("uri", "ascending")])


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


def _uris(uris: Sequence[str]) -> pa.Table:
    return pa.table({"uri": pa.array(uris, pa.string())})


LISTS: Mapping[str, Callable[[Dataset], pa.Table]] = {
    "rejected": _rejected,
    "no-face": partial(_of_status, PhotoStatus.NO_FACE),
    "deleted": partial(_of_status, PhotoStatus.DELETED),
    "copies": _copies,
    "vanished": lambda dataset: _uris(find_missing(dataset.path).vanished),
    "unreachable": lambda dataset: _uris(find_missing(dataset.path).unreachable),
    "contradictory": contradictions,
}
"""The lists by name, each as a function of the dataset."""


def show_list(dataset: Dataset, name: str, how: ListFormat) -> None:
    """Print one of `LISTS`."""
    table = LISTS[name](dataset)
    rows: Sequence[Mapping[str, Any]] = table.to_pylist()
    if how == "json":
        print_json({"dataset": str(dataset.path), name.replace("-", "_"): rows})
    elif how == "csv":
        click.echo(as_csv(table.column_names, rows), nl=False)
    else:
        for row in rows:
            click.echo("\t".join(_shown(column, value) for column, value in row.items()))


def _shown(column: str, value: Any) -> str:
    return shown_uri(value) if column == "uri" else printable(str(value))
