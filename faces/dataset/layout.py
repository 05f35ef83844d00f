"""The layout of a dataset's folder. No other module spells the names of its files.

    DATASET/dataset.json                  the dataset's settings; see faces.dataset.header
    DATASET/photos/<part>.parquet         one row per photo
    DATASET/faces/<part>.parquet          one row per face
    DATASET/runs/<run>.json               a summary of each finished run
    DATASET/deletions.parquet             faces deleted on request; see faces.dataset.deletions
    DATASET/deleted_pictures.parquet      how to recognise edited copies of their photos; see
                                          faces.dataset.deleted_pictures
    DATASET/work/                         files that only a running job needs

A part is one shard's result. Its photos file is written last and is the commit mark: a part is
committed when both its files exist. Part names sort by age.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from faces.core.files import LOCK_FILE, TEMPORARY_SUFFIX
from faces.core.kinds import DATASET_MARKER

HEADER_FILE = DATASET_MARKER
DELETIONS_FILE = "deletions.parquet"
DELETED_PICTURES_FILE = "deleted_pictures.parquet"
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


def part_path(dataset_dir: Path, kind: PartKind, part: str) -> Path:
    """Return the path of a part's file of photos or of faces."""
    return dataset_dir / kind / f"{part}{_PART_SUFFIX}"


def part_names(dataset_dir: Path, kind: PartKind, prefix: str = "part-") -> set[str]:
    """Return the names of all parts that have a file of one kind, committed or not."""
    try:
        # Unlike glob, listdir raises where the folder cannot be read.
        files = os.listdir(dataset_dir / kind)  # noqa: PTH208  # faster than iterdir for many files
    except FileNotFoundError:
        return set()
    names = (name.removesuffix(_PART_SUFFIX) for name in files if name.startswith(prefix))
    return {name for name in names if _PART_NAME.fullmatch(name)}


def committed_parts(dataset_dir: Path, prefix: str = "part-") -> set[str]:
    """Return the names of the committed parts, which are those that have both their files."""
    photos, faces = (part_names(dataset_dir, kind, prefix) for kind in PART_KINDS)
    return photos & faces


def record_path(dataset_dir: Path, run: str) -> Path:
    """Return the path of the summary that a finished run writes."""
    return dataset_dir / RUNS_DIR / f"{run}{_RECORD_SUFFIX}"


def record_paths(dataset_dir: Path) -> list[Path]:
    """Return the paths of the summaries of all finished runs, oldest first."""
    return sorted((dataset_dir / RUNS_DIR).glob(f"*{_RECORD_SUFFIX}"))


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
