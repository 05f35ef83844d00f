"""Tables of photos: made of files, and joined to one row per photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.photos.listed import LISTING_SCHEMA, Found, PhotoListing
from faces.photos.uris import PhotoFile

_PLACE = "reading_order"  # reserved: no metadata is called so
_CHUNK_ROWS = 1 << 16


def photo_table(files: Iterable[PhotoFile]) -> pa.Table:
    """Photos as a table of `LISTING_SCHEMA`, a chunk at a time, so that few stay objects."""
    waiting = iter(files)
    batches = iter(lambda: list(islice(waiting, _CHUNK_ROWS)), [])
    return pa.Table.from_batches(
        [
            pa.record_batch(
                list(map(pa.array, zip(*batch, strict=True), LISTING_SCHEMA.types)),
                schema=LISTING_SCHEMA,
            )
            for batch in batches
        ],
        schema=LISTING_SCHEMA,
    )


def joined(found: Sequence[Found]) -> PhotoListing:
    """The listing of all sources together.

    Raises:
        WrongUsageError: the metadata of two sources contradict each other.
    """
    metadata = _metadata_fields(found)
    tables, start = [], 1
    for part in found:
        place = np.zeros(len(part.photos), dtype=np.int64)
        if part.in_archive:
            place += np.arange(start, start + len(place))
            start += len(place)
        tables.append(_with_columns(part.photos, metadata).append_column(_PLACE, pa.array(place)))
    photos = pa.concat_tables(tables)
    if len(found) > 1:
        photos = distinct(photos, conflicts="the photo lists, taken together")
    photos = photos.take(pc.sort_indices(photos, sort_keys=[("uri", "ascending")]))
    order = pa.array(np.argsort(photos[_PLACE].to_numpy(), kind="stable"))
    schema = pa.schema([*LISTING_SCHEMA, *metadata])
    roots = tuple(root for part in found for root in part.roots)
    return PhotoListing(photos.drop_columns([_PLACE]).cast(schema), roots, order)


def _metadata_fields(found: Sequence[Found]) -> list[pa.Field]:
    """The metadata columns of all sources, in the order they come."""
    types: dict[str, tuple[pa.DataType, str]] = {}
    for part in found:
        for field in list(part.photos.schema)[len(LISTING_SCHEMA) :]:
            kind, source = types.get(field.name, (pa.null(), part.source))
            if pa.types.is_null(kind):
                types[field.name] = (field.type, part.source)
            elif not pa.types.is_null(field.type) and field.type != kind:
                raise WrongUsageError(
                    f"column {field.name!r} is {kind} in {source} but {field.type} in "
                    f"{part.source}; make them alike or rename one"
                )
    return [
        pa.field(name, pa.string() if pa.types.is_null(kind) else kind)
        for name, (kind, _) in types.items()
    ]


def _with_columns(photos: pa.Table, metadata: Sequence[pa.Field]) -> pa.Table:
    """A table with all metadata columns, null where it had none."""
    table = photos.select(LISTING_SCHEMA.names)
    for field in metadata:
        known = field.name in photos.column_names and not pa.types.is_null(
            photos.schema.field(field.name).type
        )
        values = photos[field.name] if known else pa.nulls(len(photos), field.type)
        table = table.append_column(field, values)
    return table


def distinct(photos: pa.Table, *, conflicts: str, nulls_conflict: bool = False) -> pa.Table:
    """One row per uri, with the metadata that its rows have.

    Args:
        photos: `LISTING_SCHEMA`, metadata, and `_PLACE` or not.
        conflicts: what to blame if two rows of a photo say different things.
        nulls_conflict: having a value and having none are different things too.
    """
    if pc.count_distinct(photos["uri"]).as_py() == len(photos):
        return photos
    metadata = [
        field.name
        for field in list(photos.schema)[len(LISTING_SCHEMA) :]
        if field.name != _PLACE and not pa.types.is_null(field.type)
    ]
    mode = "all" if nulls_conflict else "only_valid"
    grouped = photos.group_by("uri", use_threads=False).aggregate(
        [
            *(("num_bytes", "max"), ("mtime_ns", "max")),
            *([(_PLACE, "max")] if _PLACE in photos.column_names else []),
            *((name, "first", pc.ScalarAggregateOptions(skip_nulls=True)) for name in metadata),
            *((name, "count_distinct", pc.CountOptions(mode=mode)) for name in metadata),
        ]
    )
    for name in metadata:
        differing = grouped.filter(pc.greater(grouped[f"{name}_count_distinct"], 1))
        if len(differing):
            raise WrongUsageError(
                f"{conflicts}: {differing['uri'][0].as_py()} is named with different values of "
                f"{name!r}; name it once or make them alike"
            )
    columns = []
    for field in photos.schema:
        if field.name == "uri":
            columns.append(grouped["uri"])
        elif pa.types.is_null(field.type):
            columns.append(pa.chunked_array([pa.nulls(len(grouped))]))
        else:
            how = "first" if field.name in metadata else "max"
            columns.append(grouped[f"{field.name}_{how}"])
    return pa.Table.from_arrays(columns, schema=photos.schema)
