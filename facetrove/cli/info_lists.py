"""The lists of `facetrove info --list`: everything that is counted, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import click
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.dataset.contradictions import contradictions
from faces.dataset.missing import find_missing
from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from facetrove.cli.csv_text import as_csv, csv_rows
from facetrove.cli.terminal import print_json_list, shown_uri
from facetrove.cli.text import printable

ROWS_AT_ONCE = 1 << 14
"""Rows that are Python objects at a time, as a list may have millions."""

ListFormat: TypeAlias = Literal["text", "json", "csv"]
"""How a list is printed: lines with tabs between the values, one JSON document, or CSV."""


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


def show_list(dataset: Dataset, name: str, how: ListFormat) -> None:
    """Print one of `LISTS`."""
    table = LISTS[name](dataset)
    batches: Iterator[list[dict[str, Any]]] = (
        batch.to_pylist() for batch in table.to_batches(ROWS_AT_ONCE) if len(batch)
    )
    if how == "json":
        head = {"dataset": str(dataset.path)}
        print_json_list(head, name.replace("-", "_"), batches)
    elif how == "csv":
        click.echo(as_csv(table.column_names, []), nl=False)
        for rows in batches:
            click.echo(csv_rows(table.column_names, rows), nl=False)
    else:
        for rows in batches:
            lines = ("\t".join(_shown(*cell) for cell in row.items()) for row in rows)
            click.echo("\n".join(lines))


def _shown(column: str, value: Any) -> str:
    return shown_uri(value) if column == "uri" else printable(str(value))
