"""Filters: a condition on a face's columns, written as in SQL's WHERE.

DuckDB parses and evaluates it over the memory-mapped metadata: its dialect is documented, knows
dates, lists and patterns, and answers over a million faces in milliseconds. It is given the faces
alone: no file, no network, no Python variable can be reached from a filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line

ROW = "facetrove_row"


def rows_matching(faces: pa.Table, where: str) -> NDArray[np.bool_]:
    """Which faces a filter lets pass.

    Args:
        faces: n rows.
        where: a condition such as `person = 'Ann' AND taken >= DATE '2020-01-01'`. A face for
            which it is unknown, as a null makes it, does not pass.

    Returns:
        (n,) bool.

    Raises:
        WrongUsageError: it is no condition, or names a column that is not there.
    """
    import duckdb

    mask = np.zeros(len(faces), dtype=bool)
    numbered = faces.append_column(ROW, pa.array(np.arange(len(faces))))
    with duckdb.connect(":memory:", config=_SAFE) as connection:
        try:
            relation = connection.from_arrow(numbered).filter(where).select(ROW)
            mask[relation.fetchnumpy()[ROW]] = True
        except duckdb.Error as error:
            columns = ", ".join(faces.column_names)
            raise WrongUsageError(
                f"the filter {where!r} cannot be applied ({first_line(error)}); write it as in "
                f"SQL's WHERE, with texts in single quotes, over the columns {columns}"
            ) from error
    return mask


_SAFE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


def any_of(column: str, values: Sequence[str]) -> str:
    """A filter for faces with one of some texts in a column."""
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def in_photo(uris: Sequence[str]) -> str:
    """A filter for the faces of photos, by uri or photo_id, wherever their copies lie."""
    listed = ", ".join(map(_quoted, uris))
    return f"(uri IN ({listed}) OR photo_id IN ({listed}) OR list_has_any(also_at, [{listed}]))"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
