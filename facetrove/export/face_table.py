"""What every database does for an export: hold a table of faces, and say what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.documents import json_text, parse
from faces.core.errors import ContractMismatchError, WrongUsageError, first_line
from facetrove.export.addresses import Address
from facetrove.export.gallery import DIGEST, FACE_ID, Gallery
from indexer.vectors import Vectors

MARK_VERSION = 1
"""Version of the mark that this module writes and reads."""

KNOWN_SCHEMA = pa.schema([(FACE_ID, pa.string()), (DIGEST, pa.int64())])
"""The columns by which an export tells which rows a database has, and which of them changed."""


@dataclass(frozen=True)
class SearchSettings:
    """How a database searches its table.

    Attributes:
        index: the vector index in words, such as "HNSW, m=16"; "": every row is compared.
        effort: the setting that trades speed for recall, by the database's name for it and its
            value, such as ef_search: 80; empty: there is none.
    """

    index: str = ""
    effort: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """The mark of a table of faces, which its database keeps with it.

    Attributes:
        format_version: `MARK_VERSION` of the facetrove that wrote the mark.
        contract: the models and preprocessing that made the embeddings.
        dataset: id of the dataset whose faces are in the table.
        columns: Arrow types of the columns that facetrove made, by name.
    """

    format_version: int
    contract: ModelContract
    dataset: str
    columns: dict[str, str]

    @classmethod
    def of(cls, gallery: Gallery) -> Mark:
        """Return the mark of a table with the faces of an index."""
        manifest = gallery.snapshot.manifest
        columns = {column.name: str(column.type) for column in gallery.schema}
        dataset = manifest.dataset_id or manifest.dataset
        return cls(MARK_VERSION, manifest.contract, dataset, columns)

    def to_text(self) -> str:
        """Return the mark as JSON on one line."""
        return " ".join(json_text(asdict(self)).split())

    def require_same(self, found: str | None, address: Address) -> Mark:
        """Return the mark of a table that is there, if faces like ours may go into it.

        Args:
            found: the table's mark; None: it has none.
            address: the table's address.

        Raises:
            WrongUsageError: the table is not one of facetrove, or is another dataset's.
            ContractMismatchError: its embeddings were made by other models.
        """
        try:
            if found is None:
                raise ValueError("it has no mark of facetrove")
            mark = parse(found, Mark)
            if mark.format_version != MARK_VERSION:
                raise ValueError(f"its mark has version {mark.format_version}")
        except ValueError as error:
            raise WrongUsageError(
                f"{address} is there, and is no table of this facetrove ({first_line(error)}); "
                "name another table with ?table=NAME"
            ) from error
        if mark.contract != self.contract:
            raise ContractMismatchError(
                f"{address} holds embeddings of {mark.contract}, and the index those of "
                f"{self.contract}; they cannot be compared: name another table with ?table=NAME"
            )
        if mark.dataset != self.dataset:
            raise WrongUsageError(
                f"{address} holds the faces of another dataset, which this export would remove; "
                "name another table with ?table=NAME"
            )
        return mark


class FaceTable(Protocol):
    """A table of faces in a database, open for one export."""

    @property
    def rows_at_once(self) -> int:
        """The number of rows that are sent at once."""

    @property
    def renamed(self) -> Mapping[str, str]:
        """The names in the database of the columns that it has by another name, by ours."""

    @property
    def efforts(self) -> Sequence[int]:
        """Values of the setting that trades speed for recall, ascending; empty: there is none."""

    def known(self) -> pa.Table:
        """Return the rows that the table has, with the columns of `KNOWN_SCHEMA`."""

    def expect(self, num_rows: int) -> None:
        """Prepare for a number of rows that will be added."""

    def remove(self, face_ids: pa.Array) -> None:
        """Remove the rows of (n,) face_ids; where one has two rows, both."""

    def add(self, rows: pa.Table) -> None:
        """Add rows of faces that the table does not have."""

    def replace(self, rows: pa.Table) -> None:
        """Replace the rows of faces that the table has."""

    def finish(self, *, removed: bool) -> str:
        """Make the vector index, or bring it up to date, and free the space of old rows.

        Args:
            removed: whether rows were removed or replaced.

        Returns:
            The index in words, see `SearchSettings.index`.
        """

    def search(self, probes: Vectors, k: int, effort: int | None) -> list[list[str]]:
        """Return the face_ids of the k nearest faces of each of (p, d) probes, nearest first."""

    def effort_in_words(self, effort: int) -> Mapping[str, int]:
        """Return the setting of `efforts` by the database's name for it."""
