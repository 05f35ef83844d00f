"""An existing dataset: its current photos and faces, read from its parts.

Where several parts have a row for the same uri, the row of the newest part is the current one.
`faces.dataset.layout` describes the files, and `faces.dataset.writing` writes them.
"""

# Over 400 lines: `Dataset` and the tables of its faces are made of each other.
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from faces.core.named import require_no_address
from faces.core.settings import FaceSelection, PhotoLimits
from faces.core.storage import Folder
from faces.core.tables import Tabular
from faces.dataset.counts import COUNTED_COLUMNS, DatasetCounts, count_photos
from faces.dataset.deletions import faces_among, read_deletions
from faces.dataset.face_counts import without_withheld
from faces.dataset.header import DatasetSettings, read_settings
from faces.dataset.layout import (
    committed_parts,
    dataset_folder,
    part_file,
    part_names,
)
from faces.dataset.passed_over_names import read_passed_over
from faces.dataset.run_records import read_records
from faces.dataset.schema import (
    KEPT_AWAY,
    PHOTO_SCHEMA,
    PICTURE_HASH,
    PartReport,
    PhotoStatus,
    current_photos,
    embedding_matrix,
    face_schema,
    measured_fields,
    one_row_per_content,
    read_report,
    read_table,
    value_runs,
)
from faces.photos.metadata import is_places_column, places_column, places_columns, spelled_as

CONTENT_ROWS = 1 << 16
"""About so many rows of photos are put together to contents at once: with 150 a part, that takes a
tenth of the time that it takes part by part."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """An existing dataset, as `Dataset.open` returns it.

    Attributes:
        path: the dataset's folder.
        settings: the dataset's settings as they were when it was opened.
    """

    path: Path
    settings: DatasetSettings

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open an existing dataset.

        Args:
            path: the dataset's folder.

        Raises:
            WrongUsageError: there is no dataset at `path`, or it is of another format version.
            CorruptFileError: dataset.json cannot be read.
        """
        require_no_address(path)
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
        """The models and preprocessing that made the dataset's embeddings."""
        return self.settings.contract

    @property
    def selection(self) -> FaceSelection:
        """The rule by which detected faces were kept."""
        return self.settings.selection

    @property
    def metadata(self) -> pa.Schema:
        """The schema of the columns that photo lists added to the dataset's photos."""
        return self.settings.metadata

    @property
    def limits(self) -> PhotoLimits | None:
        """The limits on photos that the last finished run applied; see `DatasetSettings`."""
        return self.settings.limits

    @property
    def purged(self) -> str:
        """The name of the last run that removed rows, or ""; see `DatasetSettings`."""
        return self.settings.purged

    def require_selection(self, selection: FaceSelection) -> None:
        """Check that the dataset's faces were selected by a selection.

        Args:
            selection: the selection to compare with the dataset's.

        Raises:
            WrongUsageError: the dataset's selection is another.
        """
        if selection != self.selection:
            raise WrongUsageError(
                f"dataset {self.path} was begun with other limits for faces "
                f"({self.selection}; now {selection}); give the same limits, leave them out, or "
                "embed it into a new dataset, which keeps face_ids, deletions and columns: "
                f"`facetrove embed {self.path} NEW` with these limits"
            )

    def with_metadata(self, columns: pa.Schema) -> Dataset:
        """Return a copy of this dataset with those of `columns` added that its metadata lacks.

        Names that differ only in upper and lower case are names of one column.

        Args:
            columns: names and types of metadata columns.

        Raises:
            WrongUsageError: the dataset's column of that name cannot hold values of the new type.
        """
        metadata = self.metadata
        for name, field in zip(spelled_as(columns.names, metadata.names), columns, strict=True):
            position = metadata.get_field_index(name)
            if position < 0:
                metadata = metadata.append(field)
            elif not _holds_values_of(metadata.field(position).type, field.type):
                kinds = metadata.field(position).type, field.type
                dates = pa.types.is_temporal(kinds[0]) and pa.types.is_string(kinds[1])
                hint = f", or store it by another name: --rename {name}=list_{name}"
                hint += "; --date-order says what dates begin with" if dates else ""
                raise WrongUsageError(
                    f"column {name!r} is {field.type} in the photo list and "
                    f"{metadata.field(position).type} in dataset {self.path}; make them the same, "
                    f"or remove it: facetrove columns {self.path} --remove {name}{hint}"
                )
        return Dataset(self.path, replace(self.settings, metadata=metadata))

    @property
    def folder(self) -> Folder:
        """The storage of the dataset's files."""
        return dataset_folder(self.path)

    def committed_parts(self) -> list[str]:
        """Return the names of the committed parts, oldest first."""
        return sorted(committed_parts(self.folder))

    @property
    def photo_schema(self) -> pa.Schema:
        """The columns of the dataset's photos: those of `PHOTO_SCHEMA`, then the metadata."""
        return pa.schema([*PHOTO_SCHEMA, *self.metadata])

    @property
    def face_schema(self) -> pa.Schema:
        """The columns of the dataset's faces: those of `face_schema`, then the measured ones."""
        fields = face_schema(self.contract.dimension)
        return pa.schema([*fields, *measured_fields(self.settings.measured)])

    @property
    def face_metadata(self) -> pa.Schema:
        """What filters know of faces beside their own columns: metadata, and measured columns.

        A metadata column that has the name of a measured one is called `photo_<name>` here.
        """
        measured = measured_fields(self.settings.measured)
        metadata = [field.with_name(self.face_name(field.name)) for field in self.metadata]
        return pa.schema([*metadata, *measured])

    def face_name(self, column: str) -> str:
        """Return the name that a metadata column has among the columns of faces.

        Args:
            column: the column's name in `metadata`.
        """
        taken = {field.name for field in measured_fields(self.settings.measured)}
        return f"photo_{column}" if column in taken else column

    def photos(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the current photos, one row for each uri.

        Faces that are withheld, because somebody deleted them, do not count.

        Args:
            columns: names of the columns of `photo_schema` to read; None: all.

        Returns:
            A table of uri, photo_id, status, is_copy, the columns asked for, and two more: `part`,
            the name of the part that has the row, and `faces_part`, the name of the part that has
            the faces of the photo's content, null where there is none.

        Raises:
            CorruptFileError: a part cannot be read.
        """
        return without_withheld(self.photos_in_parts(columns), read_deletions(self.path))

    def photos_in_parts(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the current photos as `photos` does, with withheld faces counted.

        Args:
            columns: names of the columns of `photo_schema` to read; None: all.

        Raises:
            CorruptFileError: a part cannot be read.
        """
        return current_photos(self.photo_rows(columns))

    def photo_rows(
        self, columns: Sequence[str] | None = None, *, parts: Sequence[str] | None = None
    ) -> pa.Table:
        """Return all rows of photos as they were written, superseded ones too, oldest part first.

        Args:
            columns: names of the columns of `photo_schema` to read; None: all.
            parts: names of the parts to read; None: all committed parts.

        Returns:
            A table of uri, photo_id, status, is_copy, the columns asked for, and `part`, the name
            of the part that has the row.

        Raises:
            CorruptFileError: a part cannot be read.
        """
        names = self.photo_schema.names if columns is None else list(columns)
        names = list(dict.fromkeys(["uri", "photo_id", "status", "is_copy", *names]))
        schema = pa.schema([self.photo_schema.field(name) for name in names])
        tables = [schema.append(pa.field("part", pa.string())).empty_table()]
        for part in self.committed_parts() if parts is None else sorted(parts):
            table = read_table(self.folder, part_file("photos", part), schema)
            tables.append(table.append_column("part", pa.repeat(pa.scalar(part), len(table))))
        return pa.concat_tables(tables)

    def faces(
        self, columns: Sequence[str] | None = None, *, photos: pa.Table | None = None
    ) -> FaceTables:
        """Return the faces of the current photos, one table per part, oldest part first.

        Photos with the same content have their faces returned once: `uri` is the first uri of the
        content in sorted order, and the column `also_at` lists its other uris.

        Args:
            columns: names of columns of `Dataset.face_schema`, `also_at`, `picture_hash` of the
                photo, and metadata columns as `face_metadata` calls them, whose values are those of
                the photo `uri`, or where it has none, those of the first of `also_at` that has one;
                the values of all places are in the columns that
                `faces.photos.metadata.places_column` names; None: all columns of
                `Dataset.face_schema`, and `also_at`.
            photos: an earlier result of `photos` that has the metadata columns asked for: the faces
                are those of that state, whatever has been written since. A subset of its rows
                selects the faces of these photos; it must have all rows of a content or none.
                None: the photos that are current when the faces are read.

        Returns:
            The faces. Files are read when the result is iterated over or turned into one table,
            which raises CorruptFileError where a part cannot be read.
        """
        names = [*self.face_schema.names, "also_at"] if columns is None else list(columns)
        return FaceTables(self, names, photos)

    def embeddings(self) -> NDArray[np.float32]:
        """Return the embeddings of all faces: (n, d) float32, unit length, ordered as `faces`."""
        return embedding_matrix(self.faces(["embedding"]).to_arrow())

    def counts(self) -> DatasetCounts:
        """Count the current photos and their faces."""
        return count_photos(self.photos(COUNTED_COLUMNS))

    def kept_away(self) -> pa.Table:
        """Return the faces that were found and kept away, because they were deleted before.

        Returns:
            A row for each face, sorted by uri: uri; photo_id; digest, which `allow_faces` takes to
            let the face in again; deletion, the digest of the deletion that withheld it; certainty,
            "same_bytes", "same_picture" or "uncertain"; and box, x, y, width and height in pixels
            of the upright photo.

        Raises:
            CorruptFileError: a part cannot be read.
        """
        photos = self.photos(["kept_away"]).sort_by([("uri", "ascending")])
        lists = photos["kept_away"].combine_chunks()
        photos = photos.select(["uri", "photo_id"]).take(pc.list_parent_indices(lists))
        flat = pc.list_flatten(lists)
        for field in KEPT_AWAY:
            photos = photos.append_column(field, pc.struct_field(flat, field.name))
        return photos

    def report(self, part: str) -> PartReport:
        """Read the counts and times of a part.

        Args:
            part: the part's name.

        Raises:
            CorruptFileError: the part's photos file cannot be read.
        """
        return read_report(self.folder, part_file("photos", part))

    def runs(self) -> list[dict[str, Any]]:
        """Return the summaries of all finished runs, oldest first, each a JSON object.

        Raises:
            CorruptFileError: a summary cannot be read.
        """
        return read_records(self.folder)

    def passed_over(self) -> pa.Table | None:
        """Return what the last run passed over in folders and archives, sorted.

        Returns:
            A row for each file or folder: kind, label and uri, see
            `faces.photos.passed_over.PassedOverCounts`; None where no run has said it, as none did
            in earlier versions, or a purge has removed it.

        Raises:
            CorruptFileError: the file with the names cannot be read.
        """
        return read_passed_over(self.folder)

    def require_whole(self) -> None:
        """Check that each part that has its photos file has its faces file too.

        Raises:
            CorruptFileError: a part's faces file is missing.
        """
        for part in sorted(part_names(self.folder, "photos") - part_names(self.folder, "faces")):
            raise CorruptFileError(
                f"{self.folder.at(part_file('faces', part))} is missing; run `facetrove embed` "
                "with the same photos again to write it anew"
            )


@dataclass(frozen=True, eq=False)
class FaceTables(Tabular):
    """The faces of a dataset, as `Dataset.faces` returns them: iterating reads one part at a time.

    Each iteration yields Arrow tables with the columns asked for, one for each part that has faces
    of the photos, and reads the files again.

    Attributes:
        dataset: the dataset.
        columns: names of the columns.
        photos: rows of `Dataset.photos` whose faces are read; None: the photos that are current
            when the faces are read.
        with_withheld: whether to return faces too that are withheld because they were deleted, and
            photos too that lost all faces.
    """

    dataset: Dataset
    columns: Sequence[str]
    photos: pa.Table | None = None
    with_withheld: bool = False

    def __iter__(self) -> Iterator[pa.Table]:
        dataset, names = self.dataset, self.columns
        schema = dataset.face_schema
        named = {dataset.face_name(name): name for name in dataset.metadata.names}
        named = {name: of_list for name, of_list in named.items() if name in names}
        metadata = list(named.values())
        read_photos = dataset.photos_in_parts if self.with_withheld else dataset.photos
        photos = read_photos(metadata) if self.photos is None else self.photos
        from_photos = ["uri", "also_at", *named, *filter(is_places_column, names)]
        not_of_faces = {*from_photos, PICTURE_HASH.name}
        read = [n for n in dict.fromkeys(["photo_id", "face_id", *names]) if n not in not_of_faces]
        embedded = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
        embedded = embedded.select(["faces_part", "photo_id", "uri", *metadata])
        embedded = embedded.sort_by([(n, "ascending") for n in ("faces_part", "photo_id", "uri")])
        self._require_parts(embedded)
        deletions = read_deletions(dataset.path)
        columns = pa.schema([schema.field(name) for name in read])
        for part, of_photos in _contents_of_parts(embedded, metadata):
            contents = _as_of_faces(of_photos, named, dataset)
            table = read_table(dataset.folder, part_file("faces", part), columns)
            content = pc.index_in(table["photo_id"], value_set=contents["photo_id"])
            kept = pc.is_valid(content)
            if len(deletions.pending) and not self.with_withheld:
                hidden = faces_among(table, deletions.pending, deletions.hidden_contents)
                kept = pc.and_not(kept, hidden)
            table, content = table.filter(kept), content.filter(kept)
            for name in from_photos:
                table = table.append_column(name, contents[name].take(content))
            if PICTURE_HASH.name in names:
                hashes = self._picture_hashes(part, table["photo_id"])
                table = table.append_column(PICTURE_HASH, hashes)
            yield table.select(names)

    def _require_parts(self, embedded: pa.Table) -> None:
        """Check that a part has the faces of each photo: a lost one may leave only copies' rows.

        Raises:
            CorruptFileError: no part has the faces of a photo.
        """
        if embedded["faces_part"].null_count:
            self.dataset.require_whole()  # names the file, if the rest of the part is there
            uri = embedded.filter(pc.is_null(embedded["faces_part"]))["uri"][0].as_py()
            raise CorruptFileError(
                f"dataset {self.dataset.path} has no part with the faces of {uri}; run "
                "`facetrove embed` with the same photos again to write it anew"
            )

    def _picture_hashes(self, part: str, photo_ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the hashes of the photos with faces in a part, whose owners' rows are there."""
        rows = self.dataset.photo_rows([PICTURE_HASH.name], parts=[part])
        rows = rows.filter(pc.is_valid(rows[PICTURE_HASH.name]))
        row = pc.index_in(photo_ids, value_set=rows["photo_id"].combine_chunks())
        return rows[PICTURE_HASH.name].take(row)

    def to_arrow(self) -> pa.Table:
        """Return all faces as one Arrow table; without rows where there are no faces."""
        also_at = pa.field("also_at", pa.list_(pa.string()))
        schema = self.dataset.face_schema
        metadata = self.dataset.face_metadata
        known = (*schema, also_at, PICTURE_HASH, *metadata, *places_columns(metadata))
        fields = {field.name: field for field in known}
        empty = pa.schema([fields[name] for name in self.columns]).empty_table()
        tables = list(self)
        return pa.concat_tables(tables) if tables else empty


def _as_of_faces(contents: pa.Table, named: Mapping[str, str], dataset: Dataset) -> pa.Table:
    """Give metadata columns the names that they have among faces, and add columns of places.

    Args:
        contents: one row per content, with metadata columns as the dataset's photos have them.
        named: those columns by their names among faces.
        dataset: the dataset.
    """
    new = {of_list: name for name, of_list in named.items()}
    new |= {places_column(of_list): places_column(name) for name, of_list in named.items()}
    contents = contents.rename_columns([new.get(name, name) for name in contents.column_names])
    measured = pa.schema(measured_fields(dataset.settings.measured))
    for field in places_columns(measured):  # a face has what was measured wherever its photo lies
        contents = contents.append_column(field, pa.nulls(len(contents), field.type))
    return contents


def _contents_of_parts(photos: pa.Table, metadata: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the parts that have faces, each with its contents, as from `one_row_per_content`.

    A content's faces are in one part. Contents are put together for many parts at once, as those of
    one part are few.

    Args:
        photos: rows sorted by faces_part, then by photo_id, then by uri.
        metadata: names of the columns of metadata.
    """
    runs = list(value_runs(photos["faces_part"]))
    first = 0
    for number, (_, start, count) in enumerate(runs, start=1):
        begin = runs[first][1]
        if start + count - begin < CONTENT_ROWS and number < len(runs):
            continue
        block = photos.slice(begin, start + count - begin)
        contents = one_row_per_content(block, filled=metadata)
        for part, row, length in value_runs(contents["faces_part"]):
            yield part, contents.slice(row, length)
        first = number


def _holds_values_of(column: pa.DataType, values: pa.DataType) -> bool:
    """Return whether a column can hold values: text those that read back the same, times dates."""
    as_text = pa.types.is_string(column) and values in (pa.int64(), pa.date32())
    as_times = pa.types.is_timestamp(column) and values == pa.date32()
    return bool(column == values or as_text or as_times)
