"""The layout of a dataset's folder: the names of its files stand here and nowhere else.

    DATASET/dataset.json                  what the dataset settled; see faces.dataset.header
    DATASET/photos/<part>.parquet         one row per photo seen
    DATASET/faces/<part>.parquet          one row per face found
    DATASET/runs/<run>.json               what a run did
    DATASET/deletions.parquet             what may never come back; see faces.dataset.deletions
    DATASET/work/                         what only a running job needs

A part is one shard's result. Its photos file is written last and is the commit mark: a part
counts when both its files are there. Part names sort by age.
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
DELETIONS_LOCK = ".deletions.lock"
RUNS_DIR = "runs"
WORK_DIR = "work"

PartKind = Literal["photos", "faces"]
"""Which of a part's two files: it is called like the folder that has it."""

PART_KINDS: tuple[PartKind, ...] = ("photos", "faces")

FOLDERS = (*PART_KINDS, RUNS_DIR)
"""Folders that every dataset has."""

_PART_SUFFIX = ".parquet"
_RECORD_SUFFIX = ".json"

_PART_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{8}-\d{6,}")


def part_path(dataset_dir: Path, kind: PartKind, part: str) -> Path:
    """The path of one of a part's two files."""
    return dataset_dir / kind / f"{part}{_PART_SUFFIX}"


def part_names(dataset_dir: Path, kind: PartKind, beginning: str = "part-") -> set[str]:
    """The names of the parts that have a file of that kind, whether they count or not."""
    try:
        # Unlike a glob, it fails where it cannot look.
        files = os.listdir(dataset_dir / kind)  # noqa: PTH208  # fast for many
    except FileNotFoundError:
        return set()
    names = (name.removesuffix(_PART_SUFFIX) for name in files if name.startswith(beginning))
    return {name for name in names if _PART_NAME.fullmatch(name)}


def committed_parts(dataset_dir: Path, beginning: str = "part-") -> set[str]:
    """The names of the parts that count: those that have both their files."""
    photos, faces = (part_names(dataset_dir, kind, beginning) for kind in PART_KINDS)
    return photos & faces


def record_path(dataset_dir: Path, run: str) -> Path:
    """The path of the record that a finished run leaves."""
    return dataset_dir / RUNS_DIR / f"{run}{_RECORD_SUFFIX}"


def record_paths(dataset_dir: Path) -> list[Path]:
    """The paths of all records of finished runs, oldest first."""
    return sorted((dataset_dir / RUNS_DIR).glob(f"*{_RECORD_SUFFIX}"))


def is_dataset_file(name: str) -> bool:
    """Whether a file belongs to a dataset, by its path relative to the dataset's folder."""
    folder, _, file = name.rpartition("/")
    if folder in PART_KINDS:
        return _PART_NAME.fullmatch(file.removesuffix(_PART_SUFFIX)) is not None
    if folder == RUNS_DIR:
        return file.endswith(_RECORD_SUFFIX)
    return name in {HEADER_FILE, DELETIONS_FILE, LOCK_FILE, DELETIONS_LOCK}


def could_become_dataset(path: Path) -> bool:
    """Whether a path is an empty folder, but for what a run killed at its start leaves."""
    return path.is_dir() and all(
        entry.name == LOCK_FILE
        or entry.name.endswith(TEMPORARY_SUFFIX)
        or (entry.name in FOLDERS and entry.is_dir() and not any(entry.iterdir()))
        for entry in path.iterdir()
    )
