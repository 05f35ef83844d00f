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
    DATASET/work/                         files that only a running job needs

A part is one shard's result. Its photos file is written last and is the commit mark: a part is
committed when both its files exist. Part names sort by age.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from faces.core.kinds import DATASET_MARKER
from faces.core.storage import LOCK_FILE, TEMPORARY_SUFFIX, Folder

HEADER_FILE = DATASET_MARKER
DELETIONS_FILE = "deletions.parquet"
DELETED_PICTURES_FILE = "deleted_pictures.parquet"
PASSED_OVER_FILE = "passed_over.parquet"
DELETIONS_LOCK = ".deletions.lock"
RUNS_DIR = "runs"
WORK_DIR = "work"

PartKind = Literal["photos", "faces"]
"""One of a part's two files; also the name of the subfolder that the file is in."""

PART_KINDS: tuple[PartKind, ...] = ("photos", "faces")

FOLDERS = (*PART_KINDS, RUNS_DIR)
"""Subfolders that every dataset has."""

_PART_SUFFIX = ".parquet"
_RECORD_SUFFIX = ".json"

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


def is_dataset_file(name: str) -> bool:
    """Return whether a path, relative to the dataset's folder, names a file of the dataset."""
    folder, _, file = name.rpartition("/")
    if folder in PART_KINDS:
        return _PART_NAME.fullmatch(file.removesuffix(_PART_SUFFIX)) is not None
    if folder == RUNS_DIR:
        return file.endswith(_RECORD_SUFFIX)
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
