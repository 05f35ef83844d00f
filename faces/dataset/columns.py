"""The columns that photo lists added to a dataset: list, remove and rename them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.layout import part_file
from faces.dataset.rewrite import replace_photos
from faces.dataset.schema import read_table
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.photos.metadata import TAKEN, column_key, column_name, is_reserved, spelled_as
from faces.photos.uris import is_unicode


@dataclass(frozen=True)
class ListColumn:
    """A column that photo lists added to the photos of a dataset.

    Attributes:
        name: the column's name.
        kind: type of its values, such as `string` or `date32[day]`.
        num_photos: number of photos that have a value.
        num_values: number of different values.
    """

    name: str
    kind: str
    num_photos: int
    num_values: int


def list_columns(dataset: str | Path) -> list[ListColumn]:
    """List the columns that photo lists added to the photos of a dataset.

    Args:
        dataset: path of the dataset's folder.

    Raises:
        WrongUsageError: there is no dataset at that path.
        CorruptFileError: a file of the dataset is corrupt.
    """
    opened = Dataset.open(dataset)
    photos = opened.photos(opened.metadata.names)
    return [
        ListColumn(
            field.name,
            str(field.type),
            len(photos) - photos[field.name].null_count,
            pc.count_distinct(photos[field.name]).as_py(),
        )
        for field in opened.metadata
    ]


def remove_column(
    dataset: str | Path, name: str, *, on_progress: OnProgress = ignore_progress
) -> None:
    """Remove a column of photo lists from a dataset, with its values in all rows.

    Of the column `taken` the lists' values are removed; the photos' own times by EXIF stay.

    Indexes lose it when they are next brought up to date, for which they are built from nothing. If
    this is stopped at any point, the same call finishes it.

    Args:
        dataset: path of the dataset's folder.
        name: the column's name; upper and lower case make no difference if no other column has it.
        on_progress: called before each part is rewritten.

    Raises:
        WrongUsageError: there is no dataset at that path, or it has no such column.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the dataset.
    """
    opened = Dataset.open(dataset)
    name = _existing(opened, name)
    of_photos = pa.field(TAKEN, pa.timestamp("us"))
    after = [of_photos if field.name == TAKEN else field for field in opened.metadata]

    def without(photos: pa.Table) -> pa.Table:
        if name != TAKEN:
            return photos.drop_columns([name])
        position = photos.schema.get_field_index(TAKEN)
        return photos.set_column(position, of_photos, photos["exif_taken"])

    if name != TAKEN:
        after = [field for field in opened.metadata if field.name != name]
    _rewrite(opened, opened.metadata, without, pa.schema(after), on_progress)


def rename_column(
    dataset: str | Path, name: str, new_name: str, *, on_progress: OnProgress = ignore_progress
) -> None:
    """Rename a column of photo lists in a dataset.

    If the dataset has both columns, they become one, unless both have values for a photo that
    differ. Where the names differ only in upper and lower case, that of `new_name` counts there.
    Indexes follow as after `remove_column`. If this is stopped at any point, the same call finishes
    it.

    Args:
        dataset: path of the dataset's folder.
        name: the column's name.
        new_name: the column's new name.
        on_progress: called before each part is rewritten.

    Raises:
        WrongUsageError: there is no dataset at that path, it has no such column, or the new name is
            taken, reserved or no valid Unicode.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the dataset.
    """
    opened = Dataset.open(dataset)
    metadata, new_name = opened.metadata, column_name(new_name)
    name = _existing(opened, name)
    if not is_unicode(new_name):
        raise WrongUsageError(f"{new_name!r} is no valid Unicode; choose another name")
    if not new_name or is_reserved(new_name):
        raise WrongUsageError(
            f"{new_name!r} is a name that is reserved for a column of datasets; choose another"
        )
    if name == new_name:
        return
    field = metadata.field(name).with_name(new_name)
    for other in metadata:
        if other.name != name and column_key(other.name) == column_key(new_name):
            _require_mergeable(opened, name, other.name)
    both = metadata if new_name in metadata.names else metadata.append(field)

    def renamed(photos: pa.Table) -> pa.Table:
        position = photos.schema.get_field_index(new_name)
        joined = pc.coalesce(photos[new_name], photos[name])
        return photos.set_column(position, field, joined).drop_columns([name])

    kept = [other for other in metadata if other.name != new_name]
    after = pa.schema([field if other.name == name else other for other in kept])
    _rewrite(opened, both, renamed, after, on_progress)


def _require_mergeable(dataset: Dataset, name: str, other: str) -> None:
    """Raise WrongUsageError if two columns cannot become one without losing a value."""
    metadata = dataset.metadata
    mergeable = metadata.field(name).type == metadata.field(other).type
    if mergeable and column_key(name) != column_key(other):
        photos = dataset.photos([name, other])
        differ = pc.not_equal(photos[name], photos[other])  # null where one has no value
        mergeable = not pc.any(differ).as_py()
    if not mergeable:
        raise WrongUsageError(
            f"dataset {dataset.path} has a column {other!r} ({metadata.field(other).type}) already "
            f"with other values; remove it first: facetrove columns {dataset.path} --remove {other}"
        )


def _existing(dataset: Dataset, name: str) -> str:
    """Return a column's name as the dataset spells it."""
    (spelled,) = spelled_as([name], dataset.metadata.names)
    if spelled not in dataset.metadata.names:
        known = ", ".join(dataset.metadata.names) or "none"
        raise WrongUsageError(
            f"dataset {dataset.path} has no column {name!r} of photo lists; it has {known}"
        )
    return spelled


def _rewrite(
    dataset: Dataset,
    before: pa.Schema,
    change: Callable[[pa.Table], pa.Table],
    after: pa.Schema,
    on_progress: OnProgress,
) -> None:
    """Change the photos of all parts, and then the metadata columns that dataset.json names.

    Args:
        dataset: the dataset.
        before: the metadata columns while parts are rewritten, of the old and the new names.
        change: function that returns the new photos of a part, given those with `before`.
        after: the metadata columns when all parts are rewritten.
        on_progress: called before each part is rewritten.
    """
    with DatasetWriter.open(dataset.path, dataset.settings) as writer:
        writer.dataset = Dataset(dataset.path, replace(dataset.settings, metadata=before))
        writer.begin_purge()
        parts = writer.dataset.committed_parts()
        for number, part in enumerate(parts):
            on_progress(Progress("rewriting columns", number, len(parts)))
            folder, file = writer.dataset.folder, part_file("photos", part)
            photos = read_table(folder, file, writer.dataset.photo_schema)
            replace_photos(folder, file, change(photos))
        settings = replace(writer.dataset.settings, metadata=after)
        writer.dataset = Dataset(dataset.path, settings)
        writer.finish(None)
