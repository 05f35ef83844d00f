"""The machine's grouping of faces by person: one derived file of the people book.

    DATASET/people/groups-<time>-<id>.parquet   face_id, person, doubt, listed

Each grouping replaces it as a whole: the new file is there before the old one goes, and the latest
counts. `listed` is what a photo list calls the face's person, where it is sure whose face is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Meta

from faces.core.arrow_checks import require_values
from faces.core.documents import parse
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import Folder
from faces.dataset.layout import BookFile
from faces.dataset.people_decisions import (
    FORMAT_VERSION,
    MAX_PERSON,
    book_files,
    require_format,
)
from faces.dataset.schema import write_table

GROUPS_SCHEMA = pa.schema(
    [
        pa.field("face_id", pa.string(), nullable=False),  # sorted, each once
        pa.field("person", pa.int64(), nullable=False),  # number of the person, from 1
        # How doubtful it is that the face is this person's, 0 (sure) to 1; 0 for a face alone.
        pa.field("doubt", pa.float32(), nullable=False),
        pa.field("listed", pa.string()),  # the name by a photo list; null: none says it for sure
    ]
)

MAX_ROWS = 200_000_000
"""Maximum number of faces of a file that is read: more than a machine groups."""

_KEY = b"facetrove.groups"
"""Key of `_Header` in the metadata of the file's schema."""


@dataclass(frozen=True)
class _Header:
    """What the file says beside its rows."""

    format_version: int
    next_person: Annotated[int, Meta(ge=1, le=2 * MAX_PERSON)]


@dataclass(frozen=True, eq=False)
class Groups:
    """A grouping of faces by person.

    Attributes:
        table: rows of `GROUPS_SCHEMA`, sorted by face_id, each face once.
        next_person: the smallest number that no person has had, as far as the grouping knows.
    """

    table: pa.Table
    next_person: int

    @classmethod
    def of(cls, table: pa.Table) -> Groups:
        """Return a grouping with its rows in order.

        Args:
            table: rows of `GROUPS_SCHEMA`, each face once.
        """
        highest = pc.max(table["person"]).as_py() or 0
        table = table.select(GROUPS_SCHEMA.names).cast(GROUPS_SCHEMA).sort_by("face_id")
        return cls(table.combine_chunks(), highest + 1)

    @classmethod
    def empty(cls) -> Groups:
        """Return the grouping of no face."""
        return cls(GROUPS_SCHEMA.empty_table(), 1)


def write_groups(folder: Folder, groups: Groups, file: BookFile) -> None:
    """Write the file of a grouping, and remove earlier ones.

    Args:
        folder: the folder of the people book, whose lease the caller holds.
        groups: the grouping.
        file: the file's name.
    """
    header = msgspec.json.encode(_Header(FORMAT_VERSION, groups.next_person))
    with folder.put(file.name) as opened:
        write_table(groups.table.replace_schema_metadata({_KEY: header}), opened)
    remove_old_groups(folder)


def remove_old_groups(folder: Folder) -> None:
    """Remove all files of groupings but the latest; the caller holds the folder's lease."""
    names = folder.names()
    _, latest = book_files(names)
    for name in names:
        found = BookFile.of(name)
        if found is not None and found.kind == "groups" and found != latest:
            folder.remove(name)


def read_groups(folder: Folder, file: BookFile) -> Groups:
    """Read a grouping.

    Args:
        folder: the folder of the people book.
        file: the file.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError: the file cannot be read.
        FaceTroveError: a newer facetrove wrote the file.
    """
    content = folder.mapped(file.name)
    try:
        buffer = pa.BufferReader(pa.py_buffer(content))
        with pq.ParquetFile(buffer, page_checksum_verification=True) as opened:
            metadata = opened.schema_arrow.metadata or {}
            version = msgspec.json.decode(metadata[_KEY])["format_version"]
            require_format(folder, file, version if isinstance(version, int) else 0)
            header = parse(metadata[_KEY], _Header)
            if opened.metadata.num_rows > MAX_ROWS:
                raise ValueError(f"it has {opened.metadata.num_rows:,} rows")
            table = opened.read(GROUPS_SCHEMA.names)
        table.validate(full=True)
        require_values(table, GROUPS_SCHEMA, finite=("doubt",))
        table = table.cast(GROUPS_SCHEMA).combine_chunks()
        _require_sense(table)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(file.name)} is corrupt ({first_line(error)}); remove it and run "
            "`facetrove people group` again"
        ) from error
    highest = pc.max(table["person"]).as_py() or 0
    return Groups(table, max(header.next_person, highest + 1))


def _require_sense(table: pa.Table) -> None:
    """Raise ValueError unless faces are sorted, each once, and people have numbers."""
    ids, people = table["face_id"], table["person"]
    if len(table) and (pc.min(people).as_py() < 1 or pc.max(people).as_py() > MAX_PERSON):
        raise ValueError("a person's number is out of range")
    if len(table) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise ValueError("faces are not sorted, or one is there twice")
