"""Collections of faces in Qdrant: on a server, or in a folder by the client's local mode."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from faces.core.errors import FaceTroveError, first_line
from faces.dataset.schema import matrix_of
from facetrove.export.addresses import Address
from facetrove.export.face_table import KNOWN_SCHEMA, Mark
from facetrove.export.gallery import DIGEST, EMBEDDING, FACE_ID, Gallery
from facetrove.export.plain_values import plain_rows
from indexer.vectors import Vectors

M, EF_CONSTRUCT = 16, 128
"""Edges of each face of the HNSW graph, and candidates while it is made, as in PostgreSQL."""

MARK_KEY = "facetrove"

IDS_AT_ONCE = 1_000
"""Number of face_ids in one request."""

READ_ROWS = 10_000

TIMEOUT_SECONDS = 60
"""Seconds that a request may take."""

INDEX_SECONDS, INDEX_INTERVAL = 7_200.0, 1.0
"""Seconds to wait for the server's index, and between two looks at it."""

_KINDS = {
    "string": "keyword",
    "int64": "integer",
    "double": "float",
    "float": "float",
    "bool": "bool",
    "date32[day]": "datetime",
    "timestamp[us]": "datetime",
}
"""Qdrant's type of index for each type of a column."""

_NAMESPACE = uuid.UUID("6f2d3c0a-5a58-5d0e-9c5e-6d2f6c1f7a11")


class QdrantTable:
    """A collection of faces in Qdrant; see `facetrove.export.face_table.FaceTable`."""

    rows_at_once = 1_000
    efforts = (16, 32, 64, 128, 256, 512)
    renamed: Mapping[str, str] = {}

    def __init__(self, client: QdrantClient, address: Address, schema: pa.Schema) -> None:
        self._client = client
        self._is_local = address.is_local
        self._collection = address.table
        self._schema = schema

    def known(self) -> pa.Table:
        """Return the rows that the collection has."""
        batches, offset, is_first = [], None, True
        while is_first or offset is not None:
            is_first = False
            points, offset = self._client.scroll(
                self._collection,
                limit=READ_ROWS,
                offset=offset,
                with_payload=KNOWN_SCHEMA.names,
            )
            columns = [[point.payload[name] for point in points] for name in KNOWN_SCHEMA.names]
            batches.append(pa.record_batch(columns, KNOWN_SCHEMA))
        return pa.Table.from_batches(batches, KNOWN_SCHEMA)

    def expect(self, num_rows: int) -> None:
        """Do nothing: Qdrant makes its index meanwhile."""

    def remove(self, face_ids: pa.Array) -> None:
        """Remove points."""
        for start in range(0, len(face_ids), IDS_AT_ONCE):
            ids = _point_ids(face_ids.slice(start, IDS_AT_ONCE).to_pylist())
            self._client.delete(self._collection, models.PointIdsList(points=ids))

    def add(self, rows: pa.Table) -> None:
        """Add points."""
        self._client.upsert(
            self._collection,
            models.Batch(
                ids=_point_ids(rows[FACE_ID].to_pylist()),
                vectors=matrix_of(rows[EMBEDDING]).tolist(),
                payloads=plain_rows(rows),
            ),
        )

    def replace(self, rows: pa.Table) -> None:
        """Replace points."""
        self.add(rows)

    def finish(self, *, removed: bool) -> str:
        """Make indexes of the columns, and wait for the server's vector index."""
        if self._is_local:
            return ""
        for column in self._schema:
            kind = _KINDS.get(str(column.type))
            if kind is not None and column.name != DIGEST:
                self._client.create_payload_index(self._collection, f'"{column.name}"', kind)
        deadline = time.monotonic() + INDEX_SECONDS
        while self._client.get_collection(self._collection).status != models.CollectionStatus.GREEN:
            if time.monotonic() > deadline:
                raise FaceTroveError(
                    "the Qdrant server has not finished its index in two hours; all faces are "
                    "there: look at the server, and run the same command again"
                )
            time.sleep(INDEX_INTERVAL)
        return f"HNSW, m = {M}, ef_construct = {EF_CONSTRUCT}, Dot"

    def search(self, probes: Vectors, k: int, effort: int | None) -> list[list[str]]:
        """Return the nearest faces of each probe."""
        parameters = None if effort is None else models.SearchParams(hnsw_ef=effort)
        found = []
        for probe in probes:
            answer = self._client.query_points(
                self._collection,
                query=probe,
                limit=k,
                search_params=parameters,
                with_payload=[FACE_ID],
            )
            found.append([str(point.payload[FACE_ID]) for point in answer.points])
        return found

    def effort_in_words(self, effort: int) -> Mapping[str, int]:
        """Return the number of candidates of a search."""
        return {"hnsw_ef": effort}


@contextmanager
def open_qdrant_table(address: Address, gallery: Gallery) -> Iterator[QdrantTable]:
    """Open the collection of an address, and make it if it is not there.

    Raises:
        WrongUsageError: the collection is not one of facetrove, or is another dataset's; the server
            has a key and no TLS.
        ContractMismatchError: its embeddings were made by other models.
        FaceTroveError: the server cannot be reached, or refuses.
    """
    mark = Mark.of(gallery)
    try:
        with warnings.catch_warnings():
            # The local mode advises a server from 20,000 points on; docs/export.md does, too.
            warnings.filterwarnings("ignore", message=".*[Ll]ocal mode is not recommended.*")
            client = QdrantClient(**_parameters(address))
            try:
                if client.collection_exists(address.table):
                    there = client.get_collection(address.table).config.metadata or {}
                    mark.require_same(there.get(MARK_KEY), address)
                else:
                    _make(client, address.table, gallery.dimension, mark)
                yield QdrantTable(client, address, gallery.schema)
            finally:
                client.close()
    except (QdrantException, ApiException, RuntimeError) as error:
        raise FaceTroveError(f"Qdrant at {address}: {first_line(error)}") from error


def _parameters(address: Address) -> dict[str, Any]:
    """Return how the client reaches the server, or opens the folder."""
    if address.is_local:
        return {"path": address.path}
    scheme = "https" if address.uses_tls else "http"
    return {
        "url": f"{scheme}://{address.server}",
        "api_key": address.secret_of("QDRANT_API_KEY"),
        "timeout": TIMEOUT_SECONDS,
        "check_compatibility": False,
    }


def _make(client: QdrantClient, collection: str, dimension: int, mark: Mark) -> None:
    """Make a collection with its mark."""
    client.create_collection(
        collection,
        vectors_config=models.VectorParams(size=dimension, distance=models.Distance.DOT),
        hnsw_config=models.HnswConfigDiff(m=M, ef_construct=EF_CONSTRUCT),
        metadata={MARK_KEY: mark.to_text()},
    )


def _point_ids(face_ids: Iterable[str]) -> Sequence[str]:
    """Return the ids of points, which are UUIDs in Qdrant, of faces."""
    return [str(uuid.uuid5(_NAMESPACE, face_id)) for face_id in face_ids]
