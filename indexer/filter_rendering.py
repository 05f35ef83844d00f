"""Render the syntax tree of a filter as an expression of our own making, for DuckDB.

What `indexer.filter_words` knows is rendered, anything else is refused with its place in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from faces.photos.metadata import is_places_column
from indexer import filter_words as words
from indexer.filter_error import FilterError

MAX_DEPTH = 50
"""Maximum nesting of expressions, below DuckDB's limit of 1,000 and that of Python's stack."""

MAX_STEPS = 2_000
"""Maximum number of operators, functions and columns in a filter. DuckDB keeps a vector of 2,048
values for each, which bounds its memory to some 100 MB."""

MAX_TEXTS = 16
"""Maximum number of arguments, beside literals, of functions in `TEXT_MAKERS`: each may make a
copy of its text, and `||` of all texts before it."""

MAX_PATTERN = 200
"""Maximum number of characters of a pattern. The time of a regular expression grows with its length
times that of the text."""

PREFIX = "SELECT 1 WHERE "
"""What makes a statement of a filter's text. No parenthesis stands around the text, so it can close
none."""

_NUMBER = re.compile(r"-?\d+(_\d+)*\.?\d*(e[+-]?\d+)?|-?\.\d+(e[+-]?\d+)?", re.IGNORECASE)

_QUICK_PATTERN = re.compile(r"(?:[^{\\]|\\[^pP]){0,40}", re.DOTALL)
"""Regular expressions that are short, without repetition counts and Unicode classes, which stand
for thousands of states. The slowest takes less than 0.5 ms for a text of 150 characters."""

_POSITION_KEYS = {"class", "type", "alias", "query_location", "query_location_length"}

Node = dict[str, Any]


@dataclass(frozen=True)
class Expression:
    """A filter as an SQL expression of our own making.

    Attributes:
        over_places: the expression for a face whose photo lies at several places with different
            labels, as a HAVING clause over a row for each place: a comparison holds if it holds at
            one place, its negation, such as `<>`, if it holds at all.
        sql: the expression. The column `columns[n]` is called `c<n>` in it, so that no column's
            name can mean anything else.
        columns: names of the columns that the filter uses, each once.
        places: for parts of `sql`, in order of their ends: start, end, and the byte of `text` that
            it was made of.
        text: the filter's text in UTF-8.
        has_slow_pattern: whether a regular expression may take thousands of times longer than
            usual.
    """

    sql: str
    columns: tuple[str, ...]
    places: tuple[tuple[int, int, int], ...]
    text: bytes
    has_slow_pattern: bool
    over_places: str

    def position_of(self, sql_position: int) -> int | None:
        """Return the position in the filter's text for one in `sql`; None if it has none."""
        around = [place for place in self.places if place[0] <= sql_position < place[1]]
        if not around:
            return None
        return character_at(self.text, min(around, key=lambda place: place[1] - place[0])[2])


def character_at(text: bytes, offset: int) -> int:
    """Return the index of the character at a byte offset of a text in UTF-8."""
    return len(text[: max(0, offset)].decode(errors="ignore"))


class Renderer:
    """Renders a syntax tree as SQL, part by part, and keeps count of what it asks for."""

    def __init__(self, where: str, columns: Sequence[str]) -> None:
        self._bytes = where.encode()
        self._available = [name for name in columns if not is_places_column(name)]
        self._columns: dict[str, int] = {}
        self._parts: list[str] = []
        self._length = 0
        self._places: list[tuple[int, int, int]] = []
        self._position = 0
        self._steps = self._texts = 0
        self._has_slow_pattern = False

    def expression(self) -> Expression:
        """Return what has been rendered."""
        return Expression(
            "".join(self._parts),
            tuple(self._columns),
            tuple(self._places),
            self._bytes,
            self._has_slow_pattern,
            "",
        )

    def render(self, node: Node, depth: int) -> None:
        """Render a node in parentheses, so that no operator outside can bind into it."""
        outer = self._position
        self._position = self._position_of(node, default=outer)
        if depth > MAX_DEPTH:
            raise self._error(f"it is nested more than {MAX_DEPTH} deep here")
        if node["class"] != "CONSTANT":
            self._steps += 1
        if self._steps > MAX_STEPS:
            raise self._error(
                f"it has more than {MAX_STEPS:,} operators, functions and columns; write many "
                "values as one list: person IN ('Ann', 'Ben')"
            )
        render = getattr(self, f"_render_{str(node['class']).lower()}", None)
        if render is None or node["alias"]:
            raise self._error(_REFUSED.get(node["class"], "this is no part of a condition"))
        start = self._length
        self._put("(")
        render(node, depth + 1)
        self._put(")")
        self._places.append((start, self._length, self._position))
        self._position = outer

    def render_over_places(self, node: Node) -> None:
        """Render a condition that `render` has accepted; see `Expression.over_places`."""
        match node["class"], node["type"]:
            case "CONJUNCTION", kind:
                for number, child in enumerate(node["children"]):
                    self._put("(" if number == 0 else _WORDS[kind])
                    self.render_over_places(child)
                self._put(")")
            case "OPERATOR", "OPERATOR_NOT":
                self._put("(NOT ")
                self.render_over_places(node["children"][0])
                self._put(")")
            case _:
                negates = {node["type"], node.get("function_name")} & words.NEGATIONS
                self._put("bool_and(" if negates else "bool_or(")
                self.render(node, depth=0)
                self._put(")")

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text.encode())

    def _error(self, problem: str) -> FilterError:
        return FilterError(problem, character_at(self._bytes, self._position))

    def _position_of(self, node: Node, default: int) -> int:
        offset = int(node.get("query_location", 1 << 64)) - len(PREFIX)
        is_inside = 0 <= offset <= len(self._bytes)  # the parser writes 2**64 - 1 for "nowhere"
        return offset if is_inside else default

    def _only(self, node: Node, *known: str) -> Iterator[Any]:
        """Return the values of a node's keys; refuse a node that says more than these."""
        for key, value in node.items():
            is_empty = not value or (isinstance(value, dict) and not value.get("orders", True))
            if key not in known and key not in _POSITION_KEYS and not is_empty:
                raise self._error(f"{key.replace('_', ' ')} is no part of a condition")
        return (node.get(key) for key in known)

    def _render_column_ref(self, node: Node, depth: int) -> None:
        (names,) = self._only(node, "column_names")
        if len(names) != 1:
            raise self._error(f"{'.'.join(names)!r} is no column; a name has no dot outside quotes")
        name = str(names[0])
        alike = [column for column in self._available if column.lower() == name.lower()]
        if name in alike:
            alike = [name]
        if len(alike) > 1:
            raise self._error(f"{name!r} may be {' or '.join(alike)}; write the column exactly so")
        if alike:
            number = self._columns.setdefault(alike[0], len(self._columns))
            self._put(f"c{number}")
        elif name.lower() in words.CONSTANTS:
            self._put(words.CONSTANTS[name.lower()])
        else:
            raise self._error(f"there is no column {name!r}")

    def _render_constant(self, node: Node, depth: int) -> None:
        (literal,) = self._only(node, "literal")
        kind, text = literal["kind"], str(literal.get("text", ""))
        if kind == "STRING" and "\0" not in text:
            self._put(_quoted(text))
        elif (kind in ("INTEGER", "NUMERIC") and _NUMBER.fullmatch(text)) or (
            kind == "BOOLEAN" and text.lower() in ("true", "false")
        ):
            self._put(text)
        elif kind == "NULL_LITERAL":
            self._put("NULL")
        else:
            raise self._error("this value is no text, number, true, false, NULL, date or time")

    def _render_comparison(self, node: Node, depth: int) -> None:
        left, right = self._only(node, "left", "right")
        if node["type"] not in words.COMPARISONS:
            raise self._error("this comparison is not known")
        self._join([left, right], f" {words.COMPARISONS[node['type']]} ", depth)

    def _render_conjunction(self, node: Node, depth: int) -> None:
        (children,) = self._only(node, "children")
        self._join(children, _WORDS[node["type"]], depth)

    def _render_between(self, node: Node, depth: int) -> None:
        value, lower, upper = self._only(node, "input", "lower", "upper")
        self.render(value, depth)
        self._put(" BETWEEN ")
        self._join([lower, upper], " AND ", depth)

    def _render_case(self, node: Node, depth: int) -> None:
        checks, otherwise = self._only(node, "case_checks", "else_expr")
        self._put("CASE")
        for check in checks:
            self._put(" WHEN ")
            self._join([check["when_expr"], check["then_expr"]], " THEN ", depth)
        self._put(" ELSE ")
        self.render(otherwise, depth)
        self._put(" END")

    def _render_cast(self, node: Node, depth: int) -> None:
        child, kind, is_try = self._only(node, "child", "type_expr", "try_cast")
        (name, arguments, _) = self._only(kind, "type_name", "children", "qualified_name")
        spelled = words.TYPES.get(str(name).upper())
        if spelled is None or (arguments and spelled != "DECIMAL"):
            known = ", ".join(dict.fromkeys(words.TYPES.values()))
            raise self._error(f"{name!r} is no type that a filter may use; these are {known}")
        if spelled == "VARCHAR":
            self._count_texts([child])
        sizes = [str(size["literal"]["text"]) for size in arguments or ()]
        if not all(size.isdecimal() for size in sizes):
            raise self._error("the size of a DECIMAL is not a number")
        self._put("TRY_CAST(" if is_try else "CAST(")
        self.render(child, depth)
        self._put(f" AS {spelled}{'(' + ', '.join(sizes) + ')' if sizes else ''})")

    def _render_operator(self, node: Node, depth: int) -> None:
        (children,) = self._only(node, "children")
        match node["type"], children:
            case "OPERATOR_NOT", [child]:
                self._put("NOT ")
                self.render(child, depth)
            case "OPERATOR_IS_NULL" | "OPERATOR_IS_NOT_NULL" as kind, [child]:
                self.render(child, depth)
                self._put(" IS NULL" if kind == "OPERATOR_IS_NULL" else " IS NOT NULL")
            case "COMPARE_IN" | "COMPARE_NOT_IN" as kind, [value, *values]:
                self.render(value, depth)
                self._put(" IN (" if kind == "COMPARE_IN" else " NOT IN (")
                self._join(values, ", ", depth)
                self._put(")")
            case "OPERATOR_COALESCE", [*values]:
                self._put("coalesce(")
                self._join(values, ", ", depth)
                self._put(")")
            case "ARRAY_EXTRACT", [values, number]:
                self.render(values, depth)
                self._put("[")
                self.render(number, depth)
                self._put("]")
            case _:
                raise self._error("this operator is no part of a condition")

    def _render_function(self, node: Node, depth: int) -> None:
        name, arguments, *_ = self._only(
            node,
            *("function_name", "arguments", "qualified_name", "is_operator"),
            "is_legacy_function_call",
        )
        if name not in words.ALL_FUNCTIONS:
            raise self._error(f"the function {name!r} is none that a filter may use")
        if any(argument["name"] for argument in arguments):
            raise self._error("an argument has a name; give the arguments in order, without names")
        values = [argument["expression"] for argument in arguments]
        if name in words.PATTERNS:
            self._require_written_pattern(name, values)
        if name in words.TEXT_MAKERS or name == "list_value":
            self._count_texts(values)
        self._put(f'"{name}"(')
        self._join(values, ", ", depth)
        self._put(")")

    def _join(self, nodes: Sequence[Node], between: str, depth: int) -> None:
        for number, node in enumerate(nodes):
            if number:
                self._put(between)
            self.render(node, depth)

    def _require_written_pattern(self, name: str, values: Sequence[Node]) -> None:
        """Refuse a pattern that is long, or that is not written in the filter itself."""
        for pattern in values[1:]:
            literal = pattern.get("literal", {})
            if pattern["class"] != "CONSTANT":
                raise self._error("the pattern must be written in the filter, in single quotes")
            text = str(literal.get("text", ""))
            if len(text) > MAX_PATTERN:
                raise self._error(f"the pattern has more than {MAX_PATTERN} characters")
            if name in words.REGULAR_EXPRESSIONS and not _QUICK_PATTERN.fullmatch(text):
                self._has_slow_pattern = True

    def _count_texts(self, values: Sequence[Node]) -> None:
        """Refuse a filter that makes more than `MAX_TEXTS` new texts or lists for a face."""
        self._texts += sum(value["class"] != "CONSTANT" for value in values)
        if self._texts > MAX_TEXTS:
            raise self._error(f"it makes more than {MAX_TEXTS} new texts or lists of every face")


_WORDS = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}

_REFUSED = {
    "SUBQUERY": "a query is no part of a condition; for a list, write list_contains(LIST, VALUE)",
    "LAMBDA": "a lambda or -> is no part of a condition",
    "WINDOW": "a window function is no part of a condition, which sees one face at a time",
    "STAR": "* and COLUMNS are no part of a condition; name the column",
    "PARAMETER": "a parameter has no value here; write the value itself",
    "POSITIONAL_REFERENCE": "a column is named, not numbered",
    "COLLATE": "COLLATE is no part of a condition; compare lower(...) with lower(...)",
}
"""Messages about classes of nodes that a condition cannot have, by DuckDB's name of the class."""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
