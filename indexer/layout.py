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

from faces.core.kinds import INDEX_MARKER
from faces.core.storage import TEMPORARY_SUFFIX, Folder

LOCK = ".lock"
CURRENT = INDEX_MARKER
SEGMENTS, DELETIONS, WORK = "segments", "deletions", "work"

REBUILD = "build the index again with --rebuild"
"""What to do about any corrupt file of an index; error messages end in it."""

MANIFEST_NAME = re.compile(r"manifest-(\d{6,})\.json")

ID_PATTERN = r"[0-9a-f]{12}"
"""Regular expression of the ids of segments and of files of deleted rows."""


def index_folder(index_dir: Path) -> Folder:
    """Return the storage of an index's files."""
    return Folder(index_dir, remedy=REBUILD)


def manifest_name(version: int) -> str:
    """Return the file name of a version's manifest."""
    return f"manifest-{version:06d}.json"


def manifest_versions(index_dir: Path) -> list[int]:
    """Return the versions whose manifests are in an index's folder, current or not, unsorted."""
    matches = map(MANIFEST_NAME.fullmatch, index_folder(index_dir).names())
    return [int(match[1]) for match in matches if match]


def segment_folder(index_dir: Path, segment_id: str) -> Folder:
    """Return the storage of a segment's files."""
    return index_folder(index_dir).folder(f"{SEGMENTS}/{segment_id}")


def new_id() -> str:
    """Return a new random id for a segment or a file of deleted rows: 12 hexadecimal digits."""
    return uuid4().hex[:12]


def is_id(name: str) -> bool:
    """Return whether a name has the form of an id from `new_id`."""
    return re.fullmatch(ID_PATTERN, name) is not None


def is_deletions_name(name: str) -> bool:
    """Return whether a name has the form of a file of deleted rows."""
    return name.endswith(".arrow") and is_id(name.removesuffix(".arrow"))


def new_deletions_name() -> str:
    """Return a name for a new file of deleted rows."""
    return f"{new_id()}.arrow"


def is_index_entry(index_dir: Path, name: str) -> bool:
    """Return whether facetrove writes something by a name at the top of an index's folder."""
    if name == SEGMENTS:
        return all(map(is_id, index_folder(index_dir).names(SEGMENTS)))
    return (
        name in {CURRENT, LOCK, DELETIONS, WORK}
        or name.endswith(TEMPORARY_SUFFIX)
        or MANIFEST_NAME.fullmatch(name) is not None
    )
