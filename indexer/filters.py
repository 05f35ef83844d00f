"""Filters: conditions on the columns of faces, written as in SQL's WHERE.

Texts are equal if they are equal after Unicode NFC: a name may be written with composed letters in
a photo list and with decomposed ones in a file's name.

DuckDB parses and evaluates them over the memory-mapped faces: its dialect is documented, has dates,
lists and patterns, and it answers over a million faces in milliseconds. It is given the table of
faces only, so a filter can reach no file, no network and no Python variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line

ROW = "facetrove_row"
"""Name of the temporary column of row numbers, by which DuckDB says which rows match."""


def rows_matching(faces: pa.Table, where: str) -> NDArray[np.bool_]:
    """Return which faces match a filter.

    Args:
        faces: n rows of faces.
        where: a condition such as `person = 'Ann' AND taken >= DATE '2020-01-01'`. Where a null
            makes the condition unknown, the face does not match, as in SQL. Texts that are equal
            after Unicode NFC are equal.

    Returns:
        (n,) bool.

    Raises:
        WrongUsageError: `where` is not a condition, or names a column that does not exist.
    """
    import duckdb

    mask = np.zeros(len(faces), dtype=bool)
    numbered = faces.append_column(ROW, pa.array(np.arange(len(faces))))
    with duckdb.connect(":memory:", config=_SAFE) as connection:
        try:
            relation = connection.from_arrow(numbered)
            if not where.isascii():
                relation = relation.project(_composed(numbered.schema))
            relation = relation.filter(normalize("NFC", where)).select(ROW)
            mask[relation.fetchnumpy()[ROW]] = True
        except duckdb.Error as error:
            columns = ", ".join(faces.column_names)
            raise WrongUsageError(
                f"the filter {where!r} cannot be applied ({first_line(error)}); write it as in "
                f"SQL's WHERE, with strings in single quotes, over the columns {columns}"
            ) from error
    return mask


def _composed(schema: pa.Schema) -> str:
    """Return a SELECT list of all columns, in which texts and names of columns are in NFC.

    DuckDB composes them: Arrow 25's `utf8_normalize` decomposes letters for every form.
    """
    names = [normalize("NFC", name) for name in schema.names]
    if len(set(names)) < len(names):
        names = schema.names
    columns = []
    for field, name in zip(schema, names, strict=True):
        old, new = (f'"{n.replace(chr(34), 2 * chr(34))}"' for n in (field.name, name))
        if pa.types.is_string(field.type):
            columns.append(f"nfc_normalize({old}) AS {new}")
        elif pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            columns.append(f"[nfc_normalize(text) for text in {old}] AS {new}")
        else:
            columns.append(f"{old} AS {new}")
    return ", ".join(columns)


_SAFE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
"""DuckDB's settings under which a filter cannot reach files, extensions or Python variables."""


def any_of(column: str, values: Sequence[str]) -> str:
    """Return a filter for faces whose string column has one of the values."""
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def in_photo(uris: Sequence[str]) -> str:
    """Return a filter for the faces of photos, given by uri or photo id; copies count too."""
    listed = ", ".join(map(_quoted, uris))
    return f"(uri IN ({listed}) OR photo_id IN ({listed}) OR list_has_any(also_at, [{listed}]))"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
