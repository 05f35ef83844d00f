"""The layout of an index folder: the one place where the names of its files are spelled.

INDEX/CURRENT                   which manifest is in force; see indexer.manifest
INDEX/manifest-<version>.json   what a version of the index is; see indexer.manifest
INDEX/segments/<id>/            the files of a segment; see indexer.segment_files
INDEX/deletions/<id>.arrow      the deleted rows of a version; see indexer.manifest
INDEX/work/                     partial indexes, while an index is built in pieces
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
    """The file that names the manifest in force."""
    return index_dir / INDEX_MARKER


def manifest_name(version: int) -> str:
    """The file name of a version's manifest."""
    return f"manifest-{version:06d}.json"


def manifest_versions(index_dir: Path) -> list[int]:
    """The versions whose manifests lie in an index folder, in force or not; in no order."""
    matches = (MANIFEST_NAME.fullmatch(path.name) for path in index_dir.iterdir())
    return [int(match[1]) for match in matches if match]


def segments_dir(index_dir: Path) -> Path:
    """The folder of all segments' folders."""
    return index_dir / _SEGMENTS


def segment_dir(index_dir: Path, segment_id: str) -> Path:
    """The folder of a segment's files."""
    return segments_dir(index_dir) / segment_id


def deletions_dir(index_dir: Path) -> Path:
    """The folder of the files that list deleted rows."""
    return index_dir / _DELETIONS


def work_dir(index_dir: Path) -> Path:
    """The folder of partial indexes, while an index is built in pieces."""
    return index_dir / _WORK


def new_id() -> str:
    """A name, never used before, of a segment or of a file of deleted rows."""
    return uuid4().hex[:12]


def is_id(name: str) -> bool:
    """Whether a name is one that `new_id` gives."""
    return _ID.fullmatch(name) is not None


def is_deletions_name(name: str) -> bool:
    """Whether a name is that of a file of deleted rows."""
    return name.endswith(".arrow") and is_id(name.removesuffix(".arrow"))


def new_deletions_name() -> str:
    """The name of a new file of deleted rows."""
    return f"{new_id()}.arrow"


def is_index_entry(path: Path) -> bool:
    """Whether a file or folder is one that lies at the top of an index folder."""
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
