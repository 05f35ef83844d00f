"""Find a person's name in the rows of a dataset's photos, and remove it from them.

A name belongs to a photo, not to a face. When a face is deleted and another face of the photo
stays, the photo's row stays too, with whatever its photo list said of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deletion_records import DeletionRequest
from faces.dataset.deletion_steps import replace_requests
from faces.dataset.layout import part_file
from faces.dataset.rewrite import replace_photos
from faces.dataset.schema import read_table, with_column
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter

PEOPLE_BOOK = "people book"
"""`NameLeft.column` of a name that is left in the people book, by a decision or as an author's."""

PERSON = "person"
"""The metadata column that names the person in a photo."""


@dataclass(frozen=True)
class PersonName:
    """A person's name as it is looked for: whole words, in any case, equal after Unicode NFC.

    Attributes:
        name: the name.
    """

    name: str

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = r"\s+".join(map(re.escape, normalize("NFC", self.name).split()))
        return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)

    def is_in(self, text: str) -> bool:
        """Return whether a text contains the name."""
        return self._pattern.search(normalize("NFC", text)) is not None

    def cut_from(self, text: str) -> str | None:
        """Return a text without the name, or None if nothing but punctuation is left of it."""
        text = self._pattern.sub("", normalize("NFC", text))
        text = re.sub(r"\s{2,}", " ", text).strip(" ,;")
        return text if re.search(r"\w", text) else None


def person_names(names: Iterable[str]) -> list[PersonName]:
    """Return the names to look for, each once, without blank ones."""
    return [PersonName(name) for name in dict.fromkeys(names) if name.strip()]


def people_of(dataset: Dataset, photo_ids: pa.Array) -> list[str]:
    """Return the values of the column `person` in any row of some contents, superseded rows too.

    Args:
        dataset: the dataset.
        photo_ids: (n,) string, the contents.
    """
    if not len(photo_ids) or PERSON not in dataset.metadata.names:
        return []
    rows = dataset.photo_rows([PERSON])
    people = rows[PERSON].filter(pc.is_in(rows["photo_id"], value_set=photo_ids))
    return sorted(map(str, people.drop_null().unique().to_pylist()))


@dataclass(frozen=True)
class NameLeft:
    """A name that is left in a row of a photo.

    Attributes:
        name: the name.
        uri: the photo's uri; "": the name is in the people book.
        column: name of the column: a metadata column, `uri` where the photo's path has the name, or
            `PEOPLE_BOOK`.
    """

    name: str
    uri: str
    column: str


def names_left(dataset: Dataset, names: Iterable[str]) -> tuple[NameLeft, ...]:
    """Find names in the current rows of photos: in their paths and text columns.

    Args:
        dataset: the dataset.
        names: the names to look for.
    """
    wanted = person_names(names)
    if not wanted:
        return ()
    columns = _text_columns(dataset)
    photos = dataset.photos(columns)
    uris = photos["uri"].to_pylist()
    found = []
    for column in ("uri", *columns):
        for name in wanted:
            rows = _rows_with(photos[column], name.is_in)
            found += [NameLeft(name.name, uris[row], column) for row in rows]
    return tuple(sorted(found, key=lambda left: (left.name, left.uri, left.column)))


def remove_names(
    dataset: Dataset, names: Iterable[str], on_progress: OnProgress = ignore_progress
) -> tuple[Dataset, int]:
    """Remove names from the text columns of all rows of photos.

    A value that is the name becomes null; from a longer text the name is cut. If this is stopped at
    any point, the next call finishes it. Indexes that may have the rows are built from nothing at
    their next update.

    Args:
        dataset: the dataset.
        names: the names to remove.
        on_progress: called before each part is read.

    Returns:
        The dataset with its new settings, and the number of rows of photos that were changed.

    Raises:
        BusyError: another process is writing the dataset.
    """
    wanted = person_names(names)
    columns = _text_columns(dataset)
    if not wanted or not columns:
        return dataset, 0
    changed = 0
    with DatasetWriter.open(dataset.path, dataset.settings) as writer:
        parts = dataset.committed_parts()
        for number, part in enumerate(parts):
            on_progress(Progress("removing names", number, len(parts)))
            name = part_file("photos", part)
            photos = read_table(dataset.folder, name, dataset.photo_schema)
            cleaned, rows = _without_names(photos, columns, wanted)
            if rows:
                if not changed:
                    writer.begin_purge()
                replace_photos(dataset.folder, name, cleaned)
                changed += rows
        writer.finish(None)
    return Dataset.open(dataset.path), changed


def redact_records(dataset_dir: Path, names: Iterable[str]) -> None:
    """Remove the requests that have a name from the records of deletions.

    These deletions can still be taken back by their ids.

    Args:
        dataset_dir: folder of the dataset.
        names: the names to remove.
    """
    wanted = person_names(names)

    def without_name(request: DeletionRequest) -> DeletionRequest:
        where = [] if request.where is None else [request.where.replace("''", "'")]
        texts = [*request.photos, *where]
        has_name = any(name.is_in(text) for name in wanted for text in texts)
        return DeletionRequest() if has_name else request

    if wanted:
        replace_requests(dataset_dir, without_name)


def _text_columns(dataset: Dataset) -> list[str]:
    return [field.name for field in dataset.metadata if pa.types.is_string(field.type)]


def _rows_with(column: pa.ChunkedArray, is_in: Callable[[str], bool]) -> list[int]:
    """Return the numbers of the rows whose text a function accepts; each text is tried once."""
    texts = column.unique().drop_null()
    accepted = [text for text in texts.to_pylist() if is_in(text)]
    if not accepted:
        return []
    mask = pc.is_in(column, value_set=pa.array(accepted, pa.string()))
    return list(pc.indices_nonzero(mask).to_pylist())


def _without_names(
    photos: pa.Table, columns: Iterable[str], names: Iterable[PersonName]
) -> tuple[pa.Table, int]:
    """Return rows of photos with names removed from columns, and how many rows had one."""
    rows: set[int] = set()
    for column in columns:
        texts: list[str | None] = photos[column].to_pylist()
        for name in names:
            found = _rows_with(pa.chunked_array([pa.array(texts, pa.string())]), name.is_in)
            for row in found:
                texts[row] = name.cut_from(texts[row] or "")
            rows.update(found)
        photos = with_column(photos, column, pa.array(texts, pa.string()))
    return photos, len(rows)
