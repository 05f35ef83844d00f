"""Tables of faces in LanceDB: files of this machine or an object store, or its cloud."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import FaceTroveError, first_line
from facetrove.export.addresses import Address
from facetrove.export.face_table import KNOWN_SCHEMA, Mark
from facetrove.export.gallery import DIGEST, EMBEDDING, FACE_ID, Gallery
from indexer.vectors import Vectors

MARK_KEY = b"facetrove"

INDEXED_ROWS = 50_000
"""From this number of rows on, the table gets a vector index. LanceDB compares with fewer at once
in some milliseconds."""

REFINE_FACTOR = 4
"""How many times k the rows whose embeddings are compared again, unquantised."""

IDS_AT_ONCE = 5_000
"""Number of face_ids in one condition."""


class LanceTable:
    """A table of faces in LanceDB; see `facetrove.export.face_table.FaceTable`."""

    rows_at_once = 65_536
    efforts = (1, 2, 4, 8, 16, 32, 64, 128, 256)

    def __init__(self, database: Any, table: Any, renamed: Mapping[str, str]) -> None:
        self._database = database
        self._table = table
        self.renamed = renamed

    def known(self) -> pa.Table:
        """Return the rows that the table has."""
        query = self._table.search().select([FACE_ID, DIGEST])
        return query.limit(self._table.count_rows()).to_arrow().cast(KNOWN_SCHEMA)

    def expect(self, num_rows: int) -> None:
        """Do nothing: rows are added beside the index, and `finish` adds them to it."""

    def remove(self, face_ids: pa.Array) -> None:
        """Remove rows."""
        for start in range(0, len(face_ids), IDS_AT_ONCE):
            texts = face_ids.slice(start, IDS_AT_ONCE).to_pylist()
            self._table.delete(f"{FACE_ID} IN ({', '.join(map(_literal, texts))})")

    def add(self, rows: pa.Table) -> None:
        """Add rows."""
        self._table.add(self._named(rows))

    def replace(self, rows: pa.Table) -> None:
        """Replace rows."""
        merge = self._table.merge_insert(FACE_ID)
        merge.when_matched_update_all().when_not_matched_insert_all().execute(self._named(rows))

    def finish(self, *, removed: bool) -> str:
        """Make the index, or bring it up to date; leave nothing of rows that were removed.

        LanceDB keeps removed rows in its files, in older versions and in the index, and its own
        compaction leaves them there as long as they are few. So the table is written anew.
        """
        count = self._table.count_rows()
        if removed:
            rows = self._table.search().limit(count).to_batches()
            self._table = self._database.create_table(
                self._table.name, data=rows, schema=self._table.schema, mode="overwrite"
            )
        names = [index.name for index in self._table.list_indices()]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*removes every version.*")
            self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
        if count < INDEXED_ROWS:
            return ""
        if not names:
            self._table.create_index(
                metric="dot",
                vector_column_name=EMBEDDING,
                index_type="IVF_SQ",
                num_partitions=math.isqrt(count),
            )
        return "IVF_SQ"

    def search(self, probes: Vectors, k: int, effort: int | None) -> list[list[str]]:
        """Return the nearest faces of each probe."""
        return [self._nearest(probe, k, effort) for probe in probes]

    def effort_in_words(self, effort: int) -> Mapping[str, int]:
        """Return the number of partitions to look into, and of rows to compare again."""
        return {"nprobes": effort, "refine_factor": REFINE_FACTOR}

    def _nearest(self, probe: NDArray[np.float32], k: int, effort: int | None) -> list[str]:
        query = self._table.search(probe, vector_column_name=EMBEDDING).distance_type("dot")
        query = query.select([FACE_ID, "_distance"]).limit(k)
        query = query.bypass_vector_index() if effort is None else query.nprobes(effort)
        found = (query if effort is None else query.refine_factor(REFINE_FACTOR)).to_arrow()
        return [str(face_id) for face_id in found[FACE_ID].to_pylist()]

    def _named(self, rows: pa.Table) -> pa.Table:
        return rows.rename_columns([self.renamed.get(name, name) for name in rows.column_names])


@contextmanager
def open_lance_table(address: Address, gallery: Gallery) -> Iterator[LanceTable]:
    """Open the table of an address, and make it if it is not there; its columns fit the gallery's.

    Raises:
        WrongUsageError: the table is not one of facetrove, or is another dataset's.
        ContractMismatchError: its embeddings were made by other models.
        FaceTroveError: LanceDB cannot do what it is asked for.
    """
    mark = Mark.of(gallery)
    renamed = {name: name.replace(".", "_") for name in gallery.schema.names if "." in name}
    try:
        database = lancedb.connect(address.path)
        try:
            table = database.open_table(address.table)
        except ValueError:
            schema = _named_schema(gallery.schema, renamed)
            table = database.create_table(
                address.table, schema=schema.with_metadata({MARK_KEY: mark.to_text()})
            )
        found = (table.schema.metadata or {}).get(MARK_KEY)
        mark.require_same(None if found is None else found.decode(), address)
        _fit_columns(table, gallery.schema, renamed)
        yield LanceTable(database, table, renamed)
    except (RuntimeError, OSError) as error:
        raise FaceTroveError(f"LanceDB at {address}: {first_line(error)}") from error


def _fit_columns(table: Any, schema: pa.Schema, renamed: Mapping[str, str]) -> None:
    """Add the columns that a table lacks, and drop those that the index has no more."""
    wanted = {renamed.get(column.name, column.name): column for column in schema}
    present = {column.name: column.type for column in table.schema}
    old = [
        name for name, kind in present.items() if name not in wanted or wanted[name].type != kind
    ]
    if old:
        table.drop_columns(old)
    new = [
        pa.field(name, column.type)
        for name, column in wanted.items()
        if name not in present or name in old
    ]
    if new:
        table.add_columns(new)


def _named_schema(schema: pa.Schema, renamed: Mapping[str, str]) -> pa.Schema:
    return pa.schema([column.with_name(renamed.get(column.name, column.name)) for column in schema])


def _literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
