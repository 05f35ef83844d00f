"""Parse the text of a filter, and render what it allows as an expression for DuckDB.

DuckDB itself parses the text, so that a filter is written and read as in DuckDB's SQL. Only its
syntax tree is used: `indexer.filter_rendering` renders it again, or refuses it. So no text reaches
DuckDB's execution as it was written, and a filter is an expression over the columns of one face,
never a query.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.filter_error import FilterError
from indexer.filter_rendering import (
    MAX_DEPTH,
    PREFIX,
    Expression,
    Node,
    Renderer,
    character_at,
)

if TYPE_CHECKING:
    import duckdb

MAX_CHARACTERS = 100_000
"""Maximum length of a filter's text: room for a thousand paths; DuckDB parses it in 0.5 s."""


def parse_filter(
    connection: duckdb.DuckDBPyConnection, where: str, columns: Sequence[str]
) -> Expression:
    """Parse a filter's text.

    Args:
        connection: a connection whose parser is used; nothing is executed but that.
        where: the filter's text.
        columns: names of the columns that it may use, where those of
            `faces.photos.metadata.places_column` are left out. A name means the column that is
            written exactly so, else the one that differs only in upper and lower case.

    Raises:
        FilterError: the text is no expression, is too large, or uses what a filter may not.
    """
    condition = _condition(connection, where)
    renderer, over_places = Renderer(where, columns), Renderer(where, columns)
    renderer.render(condition, depth=0)
    over_places.render_over_places(condition)
    return replace(renderer.expression(), over_places=over_places.expression().sql)


def _condition(connection: duckdb.DuckDBPyConnection, where: str) -> Node:
    """Return the syntax tree of a filter's text, which is sure to be one condition."""
    import duckdb

    if len(where) > MAX_CHARACTERS:
        raise FilterError(f"it has {len(where):,} characters; at most {MAX_CHARACTERS:,} may be")
    try:
        text = where.encode()
    except UnicodeEncodeError as error:
        raise FilterError("there is a character that is no Unicode", error.start) from error
    if (position := where.find("\0")) >= 0:
        raise FilterError("there is a character of code 0", position)
    if not where.strip():
        raise FilterError("it is empty")
    for offset, kind in duckdb.tokenize(where):
        if kind == duckdb.token_type.comment:
            raise FilterError("a comment is no part of a condition", character_at(text, offset))
        if text[offset : offset + 1] == b";":
            raise FilterError("a semicolon is no part of a condition", character_at(text, offset))
    try:
        document, expected = _parsed(connection, where, "true")
    except RecursionError as error:
        raise FilterError(f"it is nested more than {MAX_DEPTH} deep") from error
    if document["error"]:
        offset = int(document.get("position") or len(PREFIX)) - len(PREFIX)
        # The first line only: the parser knows nothing but the text.
        problem = str(document.get("error_message", "it cannot be parsed")).partition("\n")[0]
        raise FilterError(problem, character_at(text, offset))
    condition: Node | None = document["statements"][0]["node"].pop("where_clause", None)
    expected["statements"][0]["node"].pop("where_clause")
    document["statements"][0].pop("named_param_map", None)  # parameters are refused by their nodes
    expected["statements"][0].pop("named_param_map", None)
    if condition is None or document != expected:
        raise FilterError("it is more than one condition, such as a query")
    return condition


def _parsed(connection: duckdb.DuckDBPyConnection, *conditions: str) -> list[Node]:
    """Return the syntax tree of a statement with each condition, or what the parser says of it."""
    query = f"SELECT {', '.join(['json_serialize_sql(?)'] * len(conditions))}"
    statements = [PREFIX + condition for condition in conditions]
    (texts,) = connection.execute(query, statements).fetchall()
    return [json.loads(text) for text in texts]
