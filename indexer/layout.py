"""The layout of an index's folder: the one module that spells the names of its files.

INDEX/CURRENT                   names the current manifest; see indexer.manifest
INDEX/manifest-<version>.json   describes a version of the index; see indexer.manifest
INDEX/segments/<id>/            the files of a segment; see indexer.segment_files
INDEX/deletions/<id>.arrow      the deleted rows of a version; see indexer.manifest
INDEX/work/                     partial indexes, while a build with --pieces runs
INDEX/.lock                     held by the one process that writes
"""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

from faces.core.files import TEMPORARY_SUFFIX
from faces.core.kinds import INDEX_MARKER

LOCK = ".lock"

MANIFEST_NAME = re.compile(r"manifest-(\d{6,})\.json")

_ID = re.compile(r"[0-9a-f]{12}")
_SEGMENTS, _DELETIONS, _WORK = "segments", "deletions", "work"


def current_path(index_dir: Path) -> Path:
    """Return the path of CURRENT, the file that names the current manifest."""
    return index_dir / INDEX_MARKER


def manifest_name(version: int) -> str:
    """Return the file name of a version's manifest."""
    return f"manifest-{version:06d}.json"


def manifest_versions(index_dir: Path) -> list[int]:
    """Return the versions whose manifests are in an index's folder, current or not, unsorted."""
    matches = (MANIFEST_NAME.fullmatch(path.name) for path in index_dir.iterdir())
    return [int(match[1]) for match in matches if match]


def segments_dir(index_dir: Path) -> Path:
    """Return the path of the folder that has a folder for each segment."""
    return index_dir / _SEGMENTS


def segment_dir(index_dir: Path, segment_id: str) -> Path:
    """Return the path of the folder with a segment's files."""
    return segments_dir(index_dir) / segment_id


def deletions_dir(index_dir: Path) -> Path:
    """Return the path of the folder with the files that list deleted rows."""
    return index_dir / _DELETIONS


def work_dir(index_dir: Path) -> Path:
    """Return the path of the folder of partial indexes, used while a build with --pieces runs."""
    return index_dir / _WORK


def new_id() -> str:
    """Return a new random id for a segment or a file of deleted rows: 12 hexadecimal digits."""
    return uuid4().hex[:12]


def is_id(name: str) -> bool:
    """Return whether a name has the form of an id from `new_id`."""
    return _ID.fullmatch(name) is not None


def is_deletions_name(name: str) -> bool:
    """Return whether a name has the form of a file of deleted rows."""
    return name.endswith(".arrow") and is_id(name.removesuffix(".arrow"))


def new_deletions_name() -> str:
    """Return a name for a new file of deleted rows."""
    return f"{new_id()}.arrow"


def is_index_entry(path: Path) -> bool:
    """Return whether a path at the top of an index's folder is one that facetrove writes there."""
    if path.name == _SEGMENTS:
        return (
            path.is_dir()
            and not path.is_symlink()
            and all(is_id(segment.name) for segment in path.iterdir())
        )
    return (
        path.name in {INDEX_MARKER, LOCK, _DELETIONS, _WORK}
        or path.name.endswith(TEMPORARY_SUFFIX)
        or MANIFEST_NAME.fullmatch(path.name) is not None
    )
