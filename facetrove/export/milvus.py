"""Collections of faces in Milvus: on a server, or in files by Milvus Lite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from faces.core.errors import FaceTroveError, WrongUsageError, first_line
from faces.dataset.schema import matrix_of
from facetrove.export.addresses import Address
from facetrove.export.face_table import KNOWN_SCHEMA, Mark
from facetrove.export.gallery import DIGEST, EMBEDDING, FACE_ID, Gallery
from facetrove.export.plain_values import plain_rows
from indexer.vectors import Vectors

M, EF_CONSTRUCTION = 16, 128
"""Edges of each face of the HNSW graph, and candidates while it is made, as in PostgreSQL."""

MARK_PROPERTY = "facetrove"

MAX_ID_BYTES = 128

IDS_AT_ONCE = 1_000
"""Number of face_ids in one request."""

READ_ROWS = 10_000

CONSISTENCY = "Strong"
"""What was written is read: an export compares with what the one before it wrote."""


class MilvusTable:
    """A collection of faces in Milvus; see `facetrove.export.face_table.FaceTable`.

    All columns but the three that an export needs are in Milvus's dynamic field, which takes any
    name, lists, and columns that come later.
    """

    rows_at_once = 4_096
    efforts = (16, 32, 64, 128, 256, 512)
    renamed: Mapping[str, str] = {}

    def __init__(self, client: MilvusClient, collection: str) -> None:
        self._client = client
        self._collection = collection

    def known(self) -> pa.Table:
        """Return the rows that the collection has."""
        pages = self._client.query_iterator(
            self._collection,
            batch_size=READ_ROWS,
            output_fields=[FACE_ID, DIGEST],
            consistency_level=CONSISTENCY,
        )
        batches = []
        while rows := pages.next():
            columns = [[row[name] for row in rows] for name in KNOWN_SCHEMA.names]
            batches.append(pa.record_batch(columns, KNOWN_SCHEMA))
        pages.close()
        return pa.Table.from_batches(batches, KNOWN_SCHEMA)

    def expect(self, num_rows: int) -> None:
        """Do nothing: Milvus makes its index segment by segment."""

    def remove(self, face_ids: pa.Array) -> None:
        """Remove rows."""
        for start in range(0, len(face_ids), IDS_AT_ONCE):
            ids = face_ids.slice(start, IDS_AT_ONCE).to_pylist()
            self._client.delete(self._collection, ids=ids)

    def add(self, rows: pa.Table) -> None:
        """Add rows."""
        self._client.insert(self._collection, _entities(rows))

    def replace(self, rows: pa.Table) -> None:
        """Replace rows.

        Milvus's upsert keeps the values that a row has no more. If this is stopped in between, the
        next export finds that the rows are missing.
        """
        self.remove(rows[FACE_ID].combine_chunks())
        self.add(rows)

    def finish(self, *, removed: bool) -> str:
        """Have Milvus index all rows, and free the space of old ones."""
        self._client.flush(self._collection)
        if removed:
            self._client.compact(self._collection)
        return f"HNSW, M = {M}, efConstruction = {EF_CONSTRUCTION}, IP"

    def search(self, probes: Vectors, k: int, effort: int | None) -> list[list[str]]:
        """Return the nearest faces of each probe."""
        parameters = {} if effort is None else {"ef": max(effort, k)}
        found = self._client.search(
            self._collection,
            data=list(probes),
            anns_field=EMBEDDING,
            limit=k,
            search_params={"metric_type": "IP", "params": parameters},
            output_fields=[FACE_ID],
            consistency_level=CONSISTENCY,
        )
        return [[str(hit["entity"][FACE_ID]) for hit in hits] for hits in found]

    def effort_in_words(self, effort: int) -> Mapping[str, int]:
        """Return the number of candidates of a search."""
        return {"ef": effort}


@contextmanager
def open_milvus_table(address: Address, gallery: Gallery) -> Iterator[MilvusTable]:
    """Open the collection of an address, and make it if it is not there.

    Raises:
        WrongUsageError: the collection is not one of facetrove, or is another dataset's; Milvus
            Lite is not installed; the server has a token and no TLS.
        ContractMismatchError: its embeddings were made by other models.
        FaceTroveError: the server cannot be reached, or refuses.
    """
    if address.is_local and find_spec("milvus_lite") is None:
        raise WrongUsageError(
            "files of Milvus need milvus-lite, which is not installed; it brings another FAISS, so "
            "install it without its dependencies: pip install --no-deps milvus-lite"
        )
    mark = Mark.of(gallery)
    try:
        client = MilvusClient(**_parameters(address))
        try:
            if client.has_collection(address.table):
                there = client.describe_collection(address.table).get("properties") or {}
                mark.require_same(there.get(MARK_PROPERTY), address)
            else:
                _make(client, address.table, gallery.dimension, mark)
            client.load_collection(address.table)
            yield MilvusTable(client, address.table)
        finally:
            client.close()
    except MilvusException as error:
        raise FaceTroveError(f"Milvus at {address}: {first_line(error)}") from error


def _parameters(address: Address) -> dict[str, Any]:
    """Return how the client reaches the server, or opens the files."""
    if address.is_local:
        return {"uri": address.path}
    scheme = "https" if address.uses_tls else "http"
    return {
        "uri": f"{scheme}://{address.server}",
        "token": address.secret_of("MILVUS_TOKEN") or "",
        "db_name": address.options.get("database", ""),
    }


def _make(client: MilvusClient, collection: str, dimension: int, mark: Mark) -> None:
    """Make a collection with its mark and its vector index."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field(FACE_ID, DataType.VARCHAR, max_length=MAX_ID_BYTES, is_primary=True)
    schema.add_field(EMBEDDING, DataType.FLOAT_VECTOR, dim=dimension)
    schema.add_field(DIGEST, DataType.INT64)
    index = MilvusClient.prepare_index_params()
    index.add_index(
        EMBEDDING,
        index_type="HNSW",
        metric_type="IP",
        params={"M": M, "efConstruction": EF_CONSTRUCTION},
    )
    client.create_collection(
        collection,
        schema=schema,
        index_params=index,
        properties={MARK_PROPERTY: mark.to_text()},
        consistency_level=CONSISTENCY,
    )


def _entities(rows: pa.Table) -> list[dict[str, Any]]:
    found = plain_rows(rows)
    for row, embedding in zip(found, matrix_of(rows[EMBEDDING]), strict=True):
        row[EMBEDDING] = embedding
    return found
