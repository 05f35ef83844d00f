"""Real vector databases for tests: where they are, and what their own clients read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NEEDED = {
    "lancedb": ("lancedb",),
}
"""The modules that tests of each database need, which `make setup` installs."""

Rows = dict[str, dict[str, Any]]
"""All rows of a table by face_id, the values by column."""


@dataclass(frozen=True)
class Database:
    """A database of a test.

    Attributes:
        kind: which database it is.
        address: its address for `facetrove export`.
        rows: function that reads all rows of the table by the database's own client.
    """

    kind: str
    address: str
    rows: Callable[[], Rows]


def require_client(kind: str) -> None:
    """Skip a test if the client of a database, or the database itself, is not installed."""
    missing = [module for module in NEEDED[kind] if find_spec(module) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} is not installed: pip install -e '.[databases]'")


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Database]:
    """Yield a database of a kind, with no table yet.

    Args:
        kind: a key of `NEEDED`.
        folder: folder for its files.
    """
    require_client(kind)
    with {"lancedb": _lancedb}[kind](folder) as found:
        yield found


@contextmanager
def _lancedb(folder: Path) -> Iterator[Database]:
    import lancedb  # noqa: PLC0415

    path = folder / "faces.lancedb"

    def rows() -> Rows:
        table = lancedb.connect(path).open_table("faces").to_arrow()
        return by_face_id(table.to_pylist())

    yield Database("lancedb", f"lancedb:{path}", rows)


def by_face_id(rows: list[dict[str, Any]]) -> Rows:
    """Return rows by face_id; no face may have two."""
    found = {row["face_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found
