"""Tables of faces in PostgreSQL, by its extension pgvector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from faces.core.errors import FaceTroveError, WrongUsageError, first_line
from facetrove.export.addresses import Address
from facetrove.export.binary_copy import SQL_TYPES, binary_rows
from facetrove.export.face_table import KNOWN_SCHEMA, Mark
from facetrove.export.gallery import DIGEST, EMBEDDING, FACE_ID, Gallery
from indexer.vectors import Vectors

M, EF_CONSTRUCTION = 16, 128
"""Edges of each face of the HNSW graph (pgvector's default), and candidates while it is made (twice
its default: it costs time once, and recall is bounded by it)."""

MAX_INDEXED_DIMENSION = 2_000
"""pgvector makes no HNSW index of vectors with more dimensions."""

BULK_SHARE = 0.5
"""From this share of new rows on, the index is dropped first and made anew, which is faster."""

BUILD_MEMORY = "1GB"
"""Memory of the server for making the index: with less than the graph takes, it is made slowly."""

MAX_NAME_BYTES = 63
"""PostgreSQL cuts longer names."""

SCALARS_INDEXED = ("person", "person_id", "photo_id")
"""Columns with an index of their own, by which people look faces up."""

READ_ROWS = 50_000


class PostgresTable:
    """A table of faces in PostgreSQL; see `facetrove.export.face_table.FaceTable`."""

    rows_at_once = 32_768
    efforts = (20, 40, 80, 120, 200, 320, 500, 1000)

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        table: str,
        columns: Mapping[str, pa.DataType],
        renamed: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._name = table
        self._table = sql.Identifier(table)
        self._columns = columns
        self.renamed = renamed

    def known(self) -> pa.Table:
        """Return the rows that the table has."""
        query = sql.SQL("SELECT {}, {} FROM {}").format(
            sql.Identifier(FACE_ID), sql.Identifier(DIGEST), self._table
        )
        batches = []
        with (
            self._connection.transaction(),
            self._connection.cursor(name="facetrove_known", binary=True) as cursor,
        ):
            cursor.execute(query)
            while rows := cursor.fetchmany(READ_ROWS):
                ids, digests = zip(*rows, strict=True)
                batches.append(pa.record_batch([pa.array(ids), pa.array(digests)], KNOWN_SCHEMA))
        return pa.Table.from_batches(batches, KNOWN_SCHEMA)

    def expect(self, num_rows: int) -> None:
        """Drop the index before many rows are added."""
        if num_rows > BULK_SHARE * self._count():
            self._run("DROP INDEX IF EXISTS {}", self._index)

    def remove(self, face_ids: pa.Array) -> None:
        """Remove rows."""
        query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(
            self._table, sql.Identifier(FACE_ID)
        )
        self._connection.execute(query, [face_ids.to_pylist()])

    def add(self, rows: pa.Table) -> None:
        """Add rows by binary COPY, all of them or none."""
        self._copy(rows, self._table)

    def replace(self, rows: pa.Table) -> None:
        """Replace rows, all of them or none."""
        new = sql.Identifier("facetrove_new")
        names = [sql.Identifier(name) for name in self._columns]
        changes = [sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in names[1:]]
        with self._connection.transaction():
            self._run("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP", new, self._table)
            self._copy(rows, new)
            self._run(
                "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {}",
                *(self._table, sql.SQL(", ").join(names), sql.SQL(", ").join(names), new),
                *(names[0], sql.SQL(", ").join(changes)),
            )

    def finish(self, *, removed: bool) -> str:
        """Make the indexes, free the space of old rows, and count the table for the planner."""
        self._run("VACUUM (ANALYZE) {}", self._table)
        for column in SCALARS_INDEXED:
            if column in self._columns:
                name = sql.Identifier(f"{self._name}_{column}")
                self._run(
                    *("CREATE INDEX IF NOT EXISTS {} ON {} ({})", name),
                    *(self._table, sql.Identifier(column)),
                )
        if self._columns[EMBEDDING].list_size > MAX_INDEXED_DIMENSION:
            return ""
        with self._connection.transaction():
            self._run("SET LOCAL maintenance_work_mem = {}", sql.Literal(BUILD_MEMORY))
            self._run(
                "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw ({} vector_ip_ops) "
                "WITH (m = {}, ef_construction = {})",
                *(self._index, self._table, sql.Identifier(EMBEDDING)),
                *(sql.Literal(M), sql.Literal(EF_CONSTRUCTION)),
            )
        return f"HNSW, m = {M}, ef_construction = {EF_CONSTRUCTION}, vector_ip_ops"

    def search(self, probes: Vectors, k: int, effort: int | None) -> list[list[str]]:
        """Return the nearest faces of each probe."""
        query = sql.SQL("SELECT {} FROM {} ORDER BY {} <#> %s::vector LIMIT %s").format(
            sql.Identifier(FACE_ID), self._table, sql.Identifier(EMBEDDING)
        )
        found = []
        with self._connection.transaction():
            if effort is not None:
                self._run("SET LOCAL hnsw.ef_search = {}", sql.Literal(effort))
                self._run("SET LOCAL enable_seqscan = off")
            for probe in probes:
                text = "[" + ",".join(map(repr, probe.tolist())) + "]"
                rows = self._connection.execute(query, [text, k], prepare=True).fetchall()
                found.append([str(face_id) for (face_id,) in rows])
        return found

    def effort_in_words(self, effort: int) -> Mapping[str, int]:
        """Return the number of candidates of a search."""
        return {"hnsw.ef_search": effort}

    @property
    def _index(self) -> sql.Identifier:
        return sql.Identifier(f"{self._name}_{EMBEDDING}")

    def _count(self) -> int:
        (row,) = self._run("SELECT count(*) FROM {}", self._table).fetchall()
        return int(row[0])

    def _copy(self, rows: pa.Table, into: sql.Identifier) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, self._columns))
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(into, names)
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            for block in binary_rows(rows):
                copy.write(block)

    def _run(self, text: str, *parts: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(sql.SQL(text).format(*parts))


@contextmanager
def open_postgres_table(address: Address, gallery: Gallery) -> Iterator[PostgresTable]:
    """Open the table of an address, and make it if it is not there; its columns fit the gallery's.

    Raises:
        WrongUsageError: the table is not one of facetrove, is another dataset's, or a column has
            too long a name.
        ContractMismatchError: its embeddings were made by other models.
        FaceTroveError: the server cannot be reached, or refuses; it has no pgvector.
    """
    mark = Mark.of(gallery)
    _require_names(gallery.schema)
    try:
        with psycopg.connect(**_parameters(address), autocommit=True) as connection:
            with connection.transaction():
                _require_pgvector(connection)
                _make_or_fit(connection, address, gallery.schema, mark)
            columns = {column.name: column.type for column in gallery.schema}
            yield PostgresTable(connection, address.table, columns, {})
    except psycopg.Error as error:
        raise FaceTroveError(f"PostgreSQL at {address}: {first_line(error)}") from error


def _parameters(address: Address) -> dict[str, Any]:
    """Return how libpq reaches the server; what is not said is its own default or environment."""
    host, colon, port = address.server.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address.server, ""
    named = {
        "host": host.strip("[]"),
        "port": port,
        "dbname": address.path,
        "user": address.user,
        "application_name": "facetrove",
    }
    return {name: value for name, value in named.items() if value} | dict(address.options)


def _require_names(schema: pa.Schema) -> None:
    for name in schema.names:
        if len(name.encode()) > MAX_NAME_BYTES or "\0" in name:
            raise WrongUsageError(
                f"the column {name[:40]!r}... has a longer name than the {MAX_NAME_BYTES} bytes of "
                "PostgreSQL; rename it with `facetrove columns`"
            )


def _require_pgvector(connection: psycopg.Connection[Any]) -> None:
    """Make the extension if the server has it.

    Raises:
        FaceTroveError: the server does not have it.
    """
    query = "SELECT installed_version FROM pg_available_extensions WHERE name = 'vector'"
    found = connection.execute(query).fetchone()
    if found is None:
        raise FaceTroveError(
            "the PostgreSQL server has no pgvector; install it there (its package is called "
            "postgresql-18-pgvector or similar), and run the same command again"
        )
    if found[0] is None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


def _make_or_fit(
    connection: psycopg.Connection[Any], address: Address, schema: pa.Schema, mark: Mark
) -> None:
    """Make the table with its mark, or add columns that it lacks and drop those of ours it lost."""
    table = sql.Identifier(address.table)
    query = "SELECT to_regclass(%s)::oid, obj_description(to_regclass(%s), 'pg_class')"
    quoted = table.as_string(connection)
    found = connection.execute(query, [quoted, quoted]).fetchone()
    assert found is not None
    oid, comment = found
    if oid is None:
        columns = [_definition(column) for column in schema]
        columns.append(sql.SQL("PRIMARY KEY ({})").format(sql.Identifier(FACE_ID)))
        connection.execute(
            sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns))
        )
    else:
        there = mark.require_same(comment, address)
        _fit_columns(connection, table, schema, there)
    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(mark.to_text()))
    )


def _fit_columns(
    connection: psycopg.Connection[Any], table: sql.Identifier, schema: pa.Schema, there: Mark
) -> None:
    wanted = {column.name: str(column.type) for column in schema}
    old = [name for name, kind in there.columns.items() if wanted.get(name) != kind]
    new = [c for c in schema if there.columns.get(c.name) != str(c.type)]
    changes = [
        *(sql.SQL("DROP COLUMN IF EXISTS {}").format(sql.Identifier(name)) for name in old),
        *(sql.SQL("ADD COLUMN {}").format(_definition(column)) for column in new),
    ]
    if changes:
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes)))


def _definition(column: pa.Field) -> sql.Composed:
    """Return the definition of a column, such as "year" bigint."""
    kind = column.type
    if column.name == EMBEDDING:
        text = f"vector({kind.list_size})"
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        text = f"{SQL_TYPES[str(kind.value_type)]}[]"
    else:
        text = SQL_TYPES[str(kind)]
    null = "" if column.nullable else " NOT NULL"
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(text + null))
