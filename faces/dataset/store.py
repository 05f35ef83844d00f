"""An existing dataset: its photos and faces as they now stand, read from its parts.

Where two parts speak of the same uri, the newer one holds. See `faces.dataset.layout` for the
files, and `faces.dataset.writing` for how they come to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.kinds import is_dataset, is_index
from faces.core.settings import FaceSelection, PhotoLimits
from faces.core.tables import Tabular
from faces.dataset.deletions import read_deletions
from faces.dataset.header import DatasetSettings, read_settings
from faces.dataset.layout import PartKind, committed_parts, part_names, part_path, record_paths
from faces.dataset.schema import (
    PHOTO_SCHEMA,
    PartReport,
    PhotoStatus,
    embedding_matrix,
    face_schema,
    last_rows,
    places_of_contents,
    read_report,
    read_table,
    standing_photos,
    stretches,
)


@dataclass(frozen=True)
class DatasetCounts:
    """What is in a dataset.

    Attributes:
        num_photos: photos seen, every place of a copied one.
        num_faces: faces found, those of copies once.
        num_copies: photos whose content another photo has too.
        by_status: photos by `PhotoStatus`.
        by_reason: rejected photos by `RejectReason`.
    """

    num_photos: int
    num_faces: int
    num_copies: int
    by_status: dict[str, int]
    by_reason: dict[str, int]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset that exists, by `open`.

    Attributes:
        path: the dataset's folder.
        settings: what was settled when it was begun or last written.
    """

    path: Path
    settings: DatasetSettings

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open an existing dataset.

        Raises:
            WrongUsageError: there is none at `path`.
            CorruptFileError: its dataset.json cannot be read.
        """
        path = Path(path)
        if not is_dataset(path):
            if is_index(path):
                raise WrongUsageError(f"{path} is an index; name the dataset it was built from")
            problem = "is not a facetrove dataset" if path.exists() else "does not exist"
            raise WrongUsageError(
                f"{path} {problem}; make one with `facetrove embed PHOTOS DATASET`"
            )
        return cls(path, read_settings(path))

    @property
    def contract(self) -> ModelContract:
        """The models that made the dataset's embeddings."""
        return self.settings.contract

    @property
    def selection(self) -> FaceSelection:
        """The faces that were kept."""
        return self.settings.selection

    @property
    def metadata(self) -> pa.Schema:
        """The columns that photo lists added to the dataset's photos."""
        return self.settings.metadata

    @property
    def limits(self) -> PhotoLimits | None:
        """See `DatasetSettings.limits`."""
        return self.settings.limits

    @property
    def purged(self) -> str:
        """See `DatasetSettings.purged`."""
        return self.settings.purged

    def require_selection(self, selection: FaceSelection) -> None:
        """Raise WrongUsageError unless this dataset's faces were selected so."""
        if selection != self.selection:
            raise WrongUsageError(
                f"dataset {self.path} was begun with other limits for faces "
                f"({self.selection}; now {selection}); give the same "
                "ones, or none, or name a new dataset"
            )

    def with_metadata(self, columns: pa.Schema) -> Dataset:
        """The same dataset with further metadata columns, where they are new.

        Raises:
            WrongUsageError: the dataset has one by that name and of another type.
        """
        metadata = self.metadata
        for field in columns:
            place = metadata.get_field_index(field.name)
            if place < 0:
                metadata = metadata.append(field)
            elif not _holds_values_of(metadata.field(place).type, field.type):
                raise WrongUsageError(
                    f"column {field.name!r} is {field.type} in the photo list and "
                    f"{metadata.field(place).type} in dataset {self.path}; make them the same"
                )
        return Dataset(self.path, replace(self.settings, metadata=metadata))

    def part_path(self, kind: PartKind, part: str) -> Path:
        """The path of a part's file of `photos` or `faces`."""
        return part_path(self.path, kind, part)

    def committed_parts(self) -> list[str]:
        """The names of the parts that count, oldest first."""
        return sorted(committed_parts(self.path))

    @property
    def photo_schema(self) -> pa.Schema:
        """The columns of the dataset's photos: `PHOTO_SCHEMA` and metadata."""
        return pa.schema([*PHOTO_SCHEMA, *self.metadata])

    def photos(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The photos as they now stand, one row for each uri.

        Args:
            columns: read only these of `photo_schema`.

        Returns:
            The columns, and with them uri, photo_id, status, is_copy and two more: `part`, which
            the row is in, and `faces_part`, which the faces of its content are in.
        """
        return standing_photos(self.photo_rows(columns))

    def photo_rows(
        self, columns: Sequence[str] | None = None, *, parts: Sequence[str] | None = None
    ) -> pa.Table:
        """All rows of photos as they were written, superseded ones too, oldest part first.

        Args:
            columns: as of `photos`.
            parts: only of these, by default of all committed ones.

        Returns:
            The columns, with them uri, photo_id, status and is_copy, and `part`.
        """
        names = self.photo_schema.names if columns is None else list(columns)
        names = list(dict.fromkeys(["uri", "photo_id", "status", "is_copy", *names]))
        schema = pa.schema([self.photo_schema.field(name) for name in names])
        tables = [schema.append(pa.field("part", pa.string())).empty_table()]
        for part in self.committed_parts() if parts is None else sorted(parts):
            table = read_table(self.part_path("photos", part), schema)
            tables.append(table.append_column("part", pa.repeat(pa.scalar(part), len(table))))
        return pa.concat_tables(tables)

    def faces(
        self, columns: Sequence[str] | None = None, *, photos: pa.Table | None = None
    ) -> FaceTables:
        """The faces of the photos as they now stand, one table per part, oldest first.

        Faces of photos with equal content come once. `uri` is the first of the places where the
        content now is, and the further column `also_at` lists the others.

        Args:
            columns: of `face_schema`, `also_at` and the photos' metadata, which is that of the
                first place; all but metadata by default.
            photos: an earlier answer of `photos`, with the metadata wanted: give the faces as
                they stood then, whatever has been written since. Some rows of it, all those of
                a content or none: the faces of these alone.

        Returns:
            The faces, read when they are iterated over or made one table of.
        """
        names = [*face_schema(1).names, "also_at"] if columns is None else list(columns)
        return FaceTables(self, names, photos)

    def embeddings(self) -> NDArray[np.float32]:
        """The (n, d) float32 embeddings of all faces, of unit length, in the order of `faces`."""
        return embedding_matrix(self.faces(["embedding"]).to_arrow())

    def counts(self) -> DatasetCounts:
        """Count photos and faces."""
        return count_photos(self.photos(COUNTED_COLUMNS))

    def report(self, part: str) -> PartReport:
        """What making a part took."""
        return read_report(self.part_path("photos", part))

    def runs(self) -> list[dict[str, Any]]:
        """What each finished run wrote about itself, oldest first; see
        `faces.dataset.writing.DatasetWriter.finish`."""
        records = []
        for path in record_paths(self.path):
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise CorruptFileError(
                    f"{path} is corrupt; delete it, it is a record and nothing depends on it"
                )
            records.append(record)
        return records

    def require_whole(self) -> None:
        """Raise CorruptFileError if a committed part has lost its faces file."""
        for part in sorted(part_names(self.path, "photos") - part_names(self.path, "faces")):
            raise CorruptFileError(
                f"{self.part_path('faces', part)} is missing; run `facetrove embed` with the same "
                "photos again and it will be made anew"
            )


@dataclass(frozen=True, eq=False)
class FaceTables(Tabular):
    """Faces of a dataset, by `Dataset.faces`: iterated over, tables of one part each.

    Attributes:
        dataset: the dataset.
        columns: names of the columns.
        photos: the photos whose faces they are, as of `Dataset.photos`; None: all that there are
            when the faces are read.
    """

    dataset: Dataset
    columns: Sequence[str]
    photos: pa.Table | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        dataset, names = self.dataset, self.columns
        schema = face_schema(dataset.contract.dimension)
        metadata = [name for name in names if name in dataset.metadata.names]
        photos = dataset.photos(metadata) if self.photos is None else self.photos
        of_place = ["uri", "also_at", *metadata]
        read = [n for n in dict.fromkeys(["photo_id", "face_id", *names]) if n not in of_place]
        embedded = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
        embedded = embedded.select(["faces_part", "photo_id", "uri", *metadata])
        embedded = embedded.sort_by([(n, "ascending") for n in ("faces_part", "photo_id", "uri")])
        pending = read_deletions(dataset.path).pending
        for part, start, count in stretches(embedded["faces_part"]):
            places = places_of_contents(embedded.slice(start, count))
            path = dataset.part_path("faces", part)
            table = read_table(path, pa.schema([schema.field(name) for name in read]))
            place = pc.index_in(table["photo_id"], value_set=places["photo_id"])
            wanted = pc.is_valid(place)
            if len(pending):
                wanted = pc.and_not(wanted, pc.is_in(table["face_id"], value_set=pending))
            table, place = table.filter(wanted), place.filter(wanted)
            for name in of_place:
                table = table.append_column(name, places[name].take(place))
            yield table.select(names)

    def to_arrow(self) -> pa.Table:
        """All faces in one Arrow table."""
        also_at = pa.field("also_at", pa.list_(pa.string()))
        schema = face_schema(self.dataset.contract.dimension)
        known = {field.name: field for field in (*schema, also_at, *self.dataset.metadata)}
        none = pa.schema([known[name] for name in self.columns]).empty_table()
        tables = list(self)
        return pa.concat_tables(tables) if tables else none


COUNTED_COLUMNS = ("num_faces", "reason")


def count_photos(photos: pa.Table) -> DatasetCounts:
    """Count rows of `Dataset.photos`, with `COUNTED_COLUMNS` at least, and the faces in them."""
    contents = photos.filter(pc.is_valid(photos["photo_id"]))
    once = contents.take(last_rows(contents, "photo_id"))
    return DatasetCounts(
        num_photos=len(photos),
        num_faces=pc.sum(once["num_faces"]).as_py() or 0,
        num_copies=len(contents) - len(once),
        by_status=_count_values(photos["status"]),
        by_reason=_count_values(photos["reason"].drop_null()),
    )


def _holds_values_of(column: pa.DataType, values: pa.DataType) -> bool:
    """Whether a column can take values of another type: text takes what reads the same again."""
    as_text = pa.types.is_string(column) and values in (pa.int64(), pa.date32())
    return bool(column == values or as_text)


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}
