"""The layout of a dataset's folder. No other module spells the names of its files.

    DATASET/dataset.json                  the dataset's settings; see faces.dataset.header
    DATASET/photos/<part>.parquet         one row per photo
    DATASET/faces/<part>.parquet          one row per face
    DATASET/runs/<run>.json               a summary of each finished run
    DATASET/passed_over.parquet           what the last run passed over; see
                                          faces.dataset.passed_over_names
    DATASET/deletions.parquet             faces deleted on request; see faces.dataset.deletions
    DATASET/deleted_pictures.parquet      how to recognise edited copies of their photos; see
                                          faces.dataset.deleted_pictures
    DATASET/people/                       the people book; see faces.dataset.people_decisions and
                                          faces.dataset.people_groups
    DATASET/exports/                      where its faces were sent; see faces.dataset.exports
    DATASET/work/                         files that only a running job needs

A part is one shard's result. Its photos file is written last and is the commit mark: a part is
committed when both its files exist. Part names sort by age.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from faces.core.kinds import DATASET_MARKER
from faces.core.storage import LOCK_FILE, TEMPORARY_SUFFIX, Folder

HEADER_FILE = DATASET_MARKER
DELETIONS_FILE = "deletions.parquet"
DELETED_PICTURES_FILE = "deleted_pictures.parquet"
PASSED_OVER_FILE = "passed_over.parquet"
DELETIONS_LOCK = ".deletions.lock"
RUNS_DIR = "runs"
PEOPLE_DIR = "people"
EXPORTS_DIR = "exports"
WORK_DIR = "work"

PartKind = Literal["photos", "faces"]
"""One of a part's two files; also the name of the subfolder that the file is in."""

PART_KINDS: tuple[PartKind, ...] = ("photos", "faces")

FOLDERS = (*PART_KINDS, RUNS_DIR)
"""Subfolders that every dataset has."""

_PART_SUFFIX = ".parquet"
_RECORD_SUFFIX = ".json"

_STAMP = r"\d{8}T\d{12}-[0-9a-f]{12}"
"""A time in UTC to the microsecond and a random id: names that begin with it sort by time."""

_BOOK_FILE = re.compile(rf"(decision|groups)-({_STAMP})(?:\.(\d{{1,6}}))?\.(?:json|parquet)")

BookKind = Literal["decision", "groups"]
"""The kinds of files of the people book."""

_BOOK_SUFFIX: dict[BookKind, str] = {"decision": ".json", "groups": ".parquet"}

_EXPORT_FILE = re.compile(r"export-([0-9a-f]{16})\.json|(?:\.[0-9a-f]{16})?\.lock")

_PART_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{8}-\d{6,}")


def dataset_folder(path: Path) -> Folder:
    """Return the storage of a dataset's files."""
    return Folder(path, remedy="restore it from a backup, or embed the photos into a new dataset")


def part_file(kind: PartKind, part: str) -> str:
    """Return the name of a part's file of photos or of faces."""
    return f"{kind}/{part}{_PART_SUFFIX}"


def part_names(folder: Folder, kind: PartKind, prefix: str = "part-") -> set[str]:
    """Return the names of all parts that have a file of one kind, committed or not."""
    files = folder.names(kind)
    names = (name.removesuffix(_PART_SUFFIX) for name in files if name.startswith(prefix))
    return {name for name in names if _PART_NAME.fullmatch(name)}


def committed_parts(folder: Folder, prefix: str = "part-") -> set[str]:
    """Return the names of the committed parts, which are those that have both their files."""
    photos, faces = (part_names(folder, kind, prefix) for kind in PART_KINDS)
    return photos & faces


def record_file(run: str) -> str:
    """Return the name of the summary that a finished run writes."""
    return f"{RUNS_DIR}/{run}{_RECORD_SUFFIX}"


def record_files(folder: Folder) -> list[str]:
    """Return the names of the summaries of all finished runs, oldest first."""
    names = sorted(name for name in folder.names(RUNS_DIR) if name.endswith(_RECORD_SUFFIX))
    return [f"{RUNS_DIR}/{name}" for name in names]


class BookFile(NamedTuple):
    """The name of a file of the people book.

    Attributes:
        key: the time and id of what the file holds, by which such files sort.
        revision: how often a purge has rewritten the file.
        kind: what the file holds.
    """

    key: str
    revision: int
    kind: BookKind

    @property
    def name(self) -> str:
        """The file's name in the folder of the people book."""
        revision = f".{self.revision}" if self.revision else ""
        return f"{self.kind}-{self.key}{revision}{_BOOK_SUFFIX[self.kind]}"

    @classmethod
    def of(cls, name: str) -> BookFile | None:
        """Return what a file's name says; None: it is no file of the people book."""
        match = _BOOK_FILE.fullmatch(name)
        if match is None:
            return None
        kind: BookKind = "decision" if match[1] == "decision" else "groups"
        found = cls(match[2], int(match[3] or 0), kind)
        return found if found.name == name else None


def book_folder(dataset_dir: Path) -> Folder:
    """Return the storage of the files of a dataset's people book."""
    folder = Folder(dataset_dir, remedy="restore it from a backup, or remove it to do without")
    return folder.folder(PEOPLE_DIR)


def exports_folder(dataset_dir: Path) -> Folder:
    """Return the storage of the records of a dataset's exports."""
    folder = Folder(dataset_dir, remedy="remove it, and run `facetrove export` again")
    return folder.folder(EXPORTS_DIR)


def export_file(key: str) -> str:
    """Return the name of the record of an export, by its key of 16 hexadecimal digits."""
    return f"export-{key}.json"


def export_lock(key: str) -> str:
    """Return the name of the lock of an export."""
    return f".{key}.lock"


def export_keys(folder: Folder) -> list[str]:
    """Return the keys of all exports that have a record, sorted."""
    matches = map(_EXPORT_FILE.fullmatch, folder.names())
    return sorted(match[1] for match in matches if match and match[1])


def is_dataset_file(name: str) -> bool:
    """Return whether a path, relative to the dataset's folder, names a file of the dataset."""
    folder, _, file = name.rpartition("/")
    if folder in PART_KINDS:
        return _PART_NAME.fullmatch(file.removesuffix(_PART_SUFFIX)) is not None
    if folder == RUNS_DIR:
        return file.endswith(_RECORD_SUFFIX)
    if folder == PEOPLE_DIR:
        return file == LOCK_FILE or BookFile.of(file) is not None
    if folder == EXPORTS_DIR:
        return _EXPORT_FILE.fullmatch(file) is not None
    return name in {
        HEADER_FILE,
        DELETIONS_FILE,
        DELETED_PICTURES_FILE,
        PASSED_OVER_FILE,
        LOCK_FILE,
        DELETIONS_LOCK,
    }


def could_become_dataset(path: Path) -> bool:
    """Return whether a path is a folder in which a new dataset may be created.

    That is an empty folder, or one with nothing but what a run leaves that was killed while it
    created a dataset: a lock, temporary files and empty subfolders.
    """
    return path.is_dir() and all(
        entry.name == LOCK_FILE
        or entry.name.endswith(TEMPORARY_SUFFIX)
        or (entry.name in FOLDERS and entry.is_dir() and not any(entry.iterdir()))
        for entry in path.iterdir()
    )
