"""Open a table of faces in the database that an address names."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec

from faces.core.environment import loading_libraries
from faces.core.errors import WrongUsageError
from facetrove.export.addresses import Address, Kind
from facetrove.export.face_table import FaceTable
from facetrove.export.gallery import Gallery

CLIENTS: dict[Kind, tuple[str, str]] = {
    "lancedb": ("lancedb", "lancedb"),
    "postgresql": ("psycopg", "psycopg[binary]"),
    "milvus": ("pymilvus", "pymilvus"),
    "qdrant": ("qdrant_client", "qdrant-client"),
}
"""The module of each database's client, and what pip installs it by; the extra is the kind."""


def open_table(address: Address, gallery: Gallery) -> AbstractContextManager[FaceTable]:
    """Return a context in which the table of an address is open, and fits the gallery.

    Raises:
        WrongUsageError: the database's client is not installed.
    """
    module, package = CLIENTS[address.kind]
    if find_spec(module) is None:
        raise WrongUsageError(
            f"an export to {address.kind} needs {package}, which is not installed; run `pip "
            f"install '.[{address.kind}]'` where you installed facetrove from"
        )
    with loading_libraries():
        if address.kind == "lancedb":
            from facetrove.export.lance import open_lance_table

            return open_lance_table(address, gallery)
        if address.kind == "postgresql":
            from facetrove.export.postgres import open_postgres_table

            return open_postgres_table(address, gallery)
        if address.kind == "milvus":
            from facetrove.export.milvus import open_milvus_table

            return open_milvus_table(address, gallery)
        from facetrove.export.qdrant import open_qdrant_table

        return open_qdrant_table(address, gallery)
