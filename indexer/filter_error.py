"""The error about a filter that cannot be applied, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from faces.core.errors import WrongUsageError


class FilterError(Exception):
    """A filter that cannot be applied, and where.

    Attributes:
        problem: what is wrong, with the values of the text but none of any face.
        position: index of the character in the filter's text; None: no single place.
    """

    def __init__(self, problem: str, position: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position

    def to_user(self, where: str, columns: Sequence[str]) -> WrongUsageError:
        """Return the error that is shown, which names the place in the text and the columns."""
        shown, place = _excerpt(where, self.position or 0), ""
        if self.position is not None:
            place = f"at character {self.position + 1}, "
        return WrongUsageError(
            f"the filter {shown!r} cannot be applied: {place}{self.problem}; write it as in SQL's "
            f"WHERE, with strings in single quotes, over the columns {', '.join(columns)} "
            "(docs/search.md says what a filter may use)"
        )


def _excerpt(text: str, position: int, length: int = 200) -> str:
    """Return the text, or a part of `length` characters around a position of it."""
    if len(text) <= length:
        return text
    start = max(0, min(position - length // 2, len(text) - length))
    end = start + length
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
