"""Checks of Arrow columns that were read from a file, beyond those of Arrow itself.

`validate(full=True)` of a table makes sure that its rows can be read; these checks make sure that
their values can be used: no null where there is always a value, finite boxes, possible dates.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = date(1970, 1, 1).toordinal()
_DAYS = (date.min.toordinal() - _EPOCH, date.max.toordinal() - _EPOCH)
_DAY = 86_400 * 1_000_000
_MICROSECONDS = (_DAYS[0] * _DAY, (_DAYS[1] + 1) * _DAY - 1)
_LIMITS = {pa.date32(): _DAYS, pa.timestamp("us"): _MICROSECONDS}
"""First and last value of the years 1 to 9999, which are all that Python's dates can have."""


def require_values(
    columns: pa.Table | pa.RecordBatch, schema: pa.Schema, *, finite: Collection[str] = ()
) -> None:
    """Raise ValueError unless the values of columns can be used.

    Args:
        columns: a table or batch that Arrow has validated; columns that `schema` lacks may have any
            nulls, and their dates are checked.
        schema: which columns, and fields in them, may be null. Lists never have null items.
        finite: names of columns that may have neither NaN nor infinity.
    """
    if len(set(columns.schema.names)) < len(columns.schema.names):
        raise ValueError("it has a column twice")
    for name, values in zip(columns.schema.names, columns.columns, strict=True):
        position = schema.get_field_index(name)
        if position >= 0:
            _require_no_nulls(values, schema.field(position), name)
        if name in finite and pc.any(pc.invert(pc.is_finite(_flat(values)))).as_py():
            raise ValueError(f"its column {name} has a value that is no finite number")
        if not has_possible_dates(values):
            raise ValueError(f"its column {name} has a date outside the years 1 to 9999")


def has_possible_dates(values: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether all dates and times of a column or of its lists are of years 1 to 9999."""
    if pa.types.is_list(values.type):
        return has_possible_dates(pc.list_flatten(values))
    limits = _LIMITS.get(values.type)
    if limits is None or values.null_count == len(values):
        return True
    numbers = pc.min_max(values.cast(pa.int32() if values.type == pa.date32() else pa.int64()))
    first, last = (int(numbers[name].as_py()) for name in ("min", "max"))
    return limits[0] <= first and last <= limits[1]


def _require_no_nulls(values: pa.Array | pa.ChunkedArray, field: pa.Field, name: str) -> None:
    if values.null_count and not field.nullable:
        raise ValueError(f"its column {name} has a null")
    if pa.types.is_struct(field.type):
        for part in field.type:
            _require_no_nulls(pc.struct_field(values, part.name), part, f"{name}.{part.name}")
    elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        item = field.type.value_field.with_nullable(False)
        _require_no_nulls(pc.list_flatten(values), item, name)


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.list_flatten(values) if pa.types.is_fixed_size_list(values.type) else values
