"""Build tables of photos, and join those of several sources to one row per photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.photos.listed import LISTING_SCHEMA, PhotoListing, SourceListing
from faces.photos.metadata import spelled_as
from faces.photos.uris import PhotoFile

_POSITION = "reading_order"
"""Temporary column: 0, or the position of an archive's member among all members, from 1. The name
is reserved, so no metadata column has it."""

_GIVEN = "facetrove_given_"
"""Beginning of the names of temporary columns: whether the photo's source has a metadata column, by
the column's number. The names are reserved, too."""

_CHUNK_ROWS = 1 << 16
"""Photos per chunk of a table, so that few are Python objects at a time."""


def photo_table(files: Iterable[PhotoFile]) -> pa.Table:
    """Return photo files as a table with the columns of `LISTING_SCHEMA`."""
    waiting = iter(files)
    batches = iter(lambda: list(islice(waiting, _CHUNK_ROWS)), [])
    return pa.Table.from_batches(
        [
            pa.record_batch(
                list(map(_column, zip(*batch, strict=True), LISTING_SCHEMA.types)),
                schema=LISTING_SCHEMA,
            )
            for batch in batches
        ],
        schema=LISTING_SCHEMA,
    )


def _column(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    """Return a column; sizes and times that int64 cannot hold become the nearest that it can.

    File systems have times after 2262-04-11, the last one in nanoseconds of 64 bits, and headers of
    archives have any size.
    """
    try:
        return pa.array(values, kind)
    except (OverflowError, pa.ArrowInvalid):
        return pa.array([min(max(value, -(2**63)), 2**63 - 1) for value in values], kind)


def join_sources(listings: Sequence[SourceListing]) -> PhotoListing:
    """Join the photos of all sources in one listing.

    Raises:
        WrongUsageError: the metadata of two sources contradict each other.
    """
    listings = _spelled_alike(listings)
    metadata = _metadata_fields(listings)
    tables, start = [], 1
    for listing in listings:
        positions = np.zeros(len(listing.photos), dtype=np.int64)
        if listing.in_archive:
            positions += np.arange(start, start + len(positions))
            start += len(positions)
        table = _with_given(_with_metadata(listing.photos, metadata), listing.photos, metadata)
        tables.append(table.append_column(_POSITION, pa.array(positions)))
    photos = pa.concat_tables(tables)
    if len(listings) > 1:
        photos = merge_duplicates(photos, conflicts="the photo lists, taken together")
    photos = photos.take(pc.sort_indices(photos, sort_keys=[("uri", "ascending")]))
    order = pa.array(np.argsort(photos[_POSITION].to_numpy(), kind="stable"))
    schema = pa.schema([*LISTING_SCHEMA, *metadata])
    roots = tuple(root for listing in listings for root in listing.roots)
    passed_over = pa.concat_tables(listing.passed_over for listing in listings)
    if len(listings) > 1:  # a folder may be named, and one in it
        passed_over = passed_over.group_by(passed_over.column_names).aggregate([])
    given = photos.select([f"{_GIVEN}{number}" for number in range(len(metadata))])
    return PhotoListing(
        photos.select(schema.names).cast(schema),
        roots,
        order,
        passed_over,
        given.rename_columns([field.name for field in metadata]),
        tuple(f"{one.source}: {name}" for one in listings for name in one.open_dates),
    )


def _spelled_alike(listings: Sequence[SourceListing]) -> list[SourceListing]:
    """Return the listings with each column spelled as in the first listing that has it."""
    names: list[str] = []
    alike = []
    for listing in listings:
        spelled = spelled_as(listing.photos.column_names, names)
        names += [name for name in spelled if name not in names]
        alike.append(replace(listing, photos=listing.photos.rename_columns(spelled)))
    return alike


def _metadata_fields(listings: Sequence[SourceListing]) -> list[pa.Field]:
    """Return the metadata columns of all sources, in order of first appearance."""
    types: dict[str, tuple[pa.DataType, str]] = {}
    for listing in listings:
        for field in list(listing.photos.schema)[len(LISTING_SCHEMA) :]:
            kind, source = types.get(field.name, (pa.null(), listing.source))
            if pa.types.is_null(kind):
                types[field.name] = (field.type, listing.source)
            elif not pa.types.is_null(field.type) and field.type != kind:
                raise WrongUsageError(
                    f"column {field.name!r} is {kind} in {source} but {field.type} in "
                    f"{listing.source}; use one type in both or rename one column"
                )
    return [
        pa.field(name, pa.string() if pa.types.is_null(kind) else kind)
        for name, (kind, _) in types.items()
    ]


def _with_metadata(photos: pa.Table, metadata: Sequence[pa.Field]) -> pa.Table:
    """Return a table of photos with all metadata columns; those that it lacks are null."""
    table = photos.select(LISTING_SCHEMA.names)
    for field in metadata:
        has_values = field.name in photos.column_names and not pa.types.is_null(
            photos.schema.field(field.name).type
        )
        values = photos[field.name] if has_values else pa.nulls(len(photos), field.type)
        table = table.append_column(field, values)
    return table


def _with_given(table: pa.Table, photos: pa.Table, metadata: Sequence[pa.Field]) -> pa.Table:
    """Return a table of photos that also says which columns their source has."""
    for number, field in enumerate(metadata):
        has_column = pa.repeat(pa.scalar(field.name in photos.column_names), len(table))
        table = table.append_column(f"{_GIVEN}{number}", has_column)
    return table


def merge_duplicates(photos: pa.Table, *, conflicts: str, nulls_conflict: bool = False) -> pa.Table:
    """Merge the rows of each uri to one row with the metadata of all of them.

    Args:
        photos: the columns of `LISTING_SCHEMA`, metadata columns and, optionally, `_POSITION` and
            columns that begin with `_GIVEN`.
        conflicts: name of the source of conflicting values, for the error message.
        nulls_conflict: whether a value and a null conflict too.

    Raises:
        WrongUsageError: two rows of one uri have different values in a metadata column.
    """
    if pc.count_distinct(photos["uri"]).as_py() == len(photos):
        return photos
    metadata = [
        field.name
        for field in list(photos.schema)[len(LISTING_SCHEMA) :]
        if field.name != _POSITION and not _is_given(field) and not pa.types.is_null(field.type)
    ]
    given = [field.name for field in photos.schema if _is_given(field)]
    mode = "all" if nulls_conflict else "only_valid"
    grouped = photos.group_by("uri", use_threads=False).aggregate(
        [
            *(("num_bytes", "max"), ("mtime_ns", "max")),
            *([(_POSITION, "max")] if _POSITION in photos.column_names else []),
            *((name, "any") for name in given),
            *((name, "first", pc.ScalarAggregateOptions(skip_nulls=True)) for name in metadata),
            *((name, "count_distinct", pc.CountOptions(mode=mode)) for name in metadata),
        ]
    )
    for name in metadata:
        differing = grouped.filter(pc.greater(grouped[f"{name}_count_distinct"], 1))
        if len(differing):
            raise WrongUsageError(
                f"{conflicts}: {differing['uri'][0].as_py()} is named with different values of "
                f"{name!r}; name it once or give it the same value each time"
            )
    columns = []
    for field in photos.schema:
        if field.name == "uri":
            columns.append(grouped["uri"])
        elif pa.types.is_null(field.type):
            columns.append(pa.chunked_array([pa.nulls(len(grouped))]))
        else:
            how = "first" if field.name in metadata else "any" if _is_given(field) else "max"
            columns.append(grouped[f"{field.name}_{how}"])
    return pa.Table.from_arrays(columns, schema=photos.schema)


def _is_given(field: pa.Field) -> bool:
    return bool(field.name.startswith(_GIVEN))
