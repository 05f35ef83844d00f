"""The index folder: open a version's segments; hold the lock and publish the next version."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.kinds import is_index
from faces.core.named import require_no_address
from faces.core.settings import Device
from faces.core.storage import Folder
from indexer.layout import (
    DELETIONS,
    LOCK,
    REBUILD,
    SEGMENTS,
    WORK,
    index_folder,
    is_deletions_name,
    is_id,
    is_index_entry,
    manifest_name,
    manifest_versions,
)
from indexer.manifest import (
    DeletionsEntry,
    Manifest,
    current_line,
    manifest_named_by,
    publish,
    read_current,
    read_deletions,
    read_manifest,
    write_deletions,
)
from indexer.segment import Segment, open_segment

GRACE_SECONDS = 300.0
"""Seconds for which the files of a version stay after a newer one is published, for readers that
are just opening it. A reader that has opened a version has its files mapped, and needs no grace."""


def open_segments(
    index_dir: Path,
    manifest: Manifest,
    opened: Sequence[Segment] = (),
    *,
    device: Device = "cpu",
) -> list[Segment]:
    """Open all segments of a version, with their deleted rows.

    Args:
        index_dir: path of the index's folder.
        manifest: the version's manifest.
        opened: segments that are open already and are used again.
        device: where the segments will be searched.

    Returns:
        The segments, oldest first.

    Raises:
        CorruptFileError: a file is not what was written; the message names it.
    """
    deletions = read_deletions(index_dir, manifest.deletions)
    by_id = {s.entry.segment_id: replace(s, deleted=None) for s in opened}
    segments, num_deleted = [], 0
    for entry in manifest.segments:
        segment = by_id.get(entry.segment_id)
        if segment is None:
            segment = open_segment(index_dir, entry, manifest.contract.dimension, device)
        if (rows := deletions.pop(entry.segment_id, None)) is not None:
            if not 0 <= rows.min() <= rows.max() < entry.num_faces:
                raise CorruptFileError(
                    f"index {index_dir} deletes rows {rows.min()} to {rows.max()} of segment "
                    f"{entry.segment_id}, which has {entry.num_faces} rows"
                )
            deleted = np.zeros(entry.num_faces, dtype=bool)
            deleted[rows] = True
            num_deleted += int(np.count_nonzero(deleted))
            segment = replace(segment, deleted=deleted)
        segments.append(segment)
    if deletions:
        raise CorruptFileError(
            f"index {index_dir} deletes rows of segments that it does not have: "
            f"{', '.join(map(repr, sorted(deletions)[:3]))}"
        )
    if num_deleted != (0 if manifest.deletions is None else manifest.deletions.num_faces):
        raise CorruptFileError(
            f"index {index_dir} deletes {num_deleted} rows, and its manifest says another number; "
            f"{REBUILD}"
        )
    return segments


class IndexWriter:
    """The right to write an index, which one process holds at a time. Use `open`.

    Attributes:
        path: path of the index's folder.
        folder: the storage of the index's files.
        previous: the current manifest; None if there is none, or if it is corrupt.
    """

    def __init__(self, path: Path, previous: Manifest | None) -> None:
        self.path = path
        self.folder = index_folder(path)
        self.previous = previous
        self._line = current_line(path)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[IndexWriter]:
        """Hold the lock of an index for writing; make its folder if there is none.

        Raises:
            WrongUsageError: the folder is not an index's, or was written by a newer facetrove.
            BusyError: another process is writing the index.
        """
        require_no_address(path)
        _require_index_or_empty(path)
        existed = path.exists()
        folder = index_folder(path)
        folder.make()
        try:
            with folder.lease(what=f"index {path}", name=LOCK):
                writer = cls(path, _read_previous(path))
                writer.remove_unused()
                yield writer
        finally:
            if not existed and not is_index(path):
                _remove_failed(path)

    def require_previous(self) -> Manifest:
        """Return the current manifest.

        Raises:
            WrongUsageError: there is no index yet.
            CorruptFileError: the manifest cannot be read.
        """
        return read_current(self.path) if self.previous is None else self.previous

    def publish(self, manifest: Manifest, *, grace_seconds: float = GRACE_SECONDS) -> Manifest:
        """Publish a manifest as the index's next version.

        Args:
            manifest: the manifest; its `version` and `created` are set here.
            grace_seconds: how long, in seconds, the files of older versions stay.

        Returns:
            The manifest as it was published.
        """
        manifest = replace(
            manifest,
            version=max(manifest_versions(self.path), default=0) + 1,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        publish(self.path, manifest, previous=self._line)
        self._line = current_line(self.path)
        self.previous = manifest
        self.remove_unused(grace_seconds)
        return manifest

    def write_deletions(self, segments: Sequence[Segment]) -> DeletionsEntry | None:
        """Write the deleted rows of segments to a new file; return None if there are none."""
        rows = {s.entry.segment_id: np.flatnonzero(~s.live()).astype(np.int64) for s in segments}
        return write_deletions(self.path, rows)

    def remove_unused(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Remove files that only older versions use, and files that killed writers left."""
        if self.previous is None:
            return  # without a readable manifest, files may be needed to repair the index by hand
        self.folder.remove_temporary_files()
        self.folder.remove_temporary_files(DELETIONS)
        self.folder.remove_folder(WORK)
        kept = [self.previous]
        for name, superseded in _older_manifests(self.folder, self.previous.version):
            try:
                if time.time() - superseded < grace_seconds:
                    kept.append(read_manifest(self.path, name))
                    continue
            except (CorruptFileError, WrongUsageError):
                pass
            self.folder.remove(name)
        segments = {entry.segment_id for manifest in kept for entry in manifest.segments}
        deletions = {m.deletions.name for m in kept if m.deletions is not None}
        for name in self.folder.names(SEGMENTS):
            if name not in segments and is_id(name):
                self.folder.remove_folder(f"{SEGMENTS}/{name}")
        for name in self.folder.names(DELETIONS):
            if name not in deletions and is_deletions_name(name):
                self.folder.remove(f"{DELETIONS}/{name}")


def _older_manifests(folder: Folder, version: int) -> list[tuple[str, float]]:
    """Return the names of all manifests but the current one, and when each was superseded.

    Times are in seconds since 1970. A version above the current one was left by a writer that was
    killed before it published it; its time is 0, so that it is removed at once.
    """
    numbers = sorted(manifest_versions(folder.path))
    older = []
    for number, following in zip(numbers, [*numbers[1:], 0], strict=True):
        superseded = 0.0
        if number < version:
            superseded = folder.modified(manifest_name(following))
        if number != version:
            older.append((manifest_name(number), superseded))
    return older


def _require_index_or_empty(index_dir: Path) -> None:
    """Refuse a folder that holds foreign files: a mistyped path must not cost anyone a file."""
    if not index_dir.exists() or manifest_named_by(current_line(index_dir)):
        return  # foreign files in an index, such as file managers leave, are never touched
    names = index_folder(index_dir).names() if index_dir.is_dir() else []
    if not index_dir.is_dir() or not all(_is_ours(index_dir, name) for name in names):
        raise WrongUsageError(
            f"{index_dir} exists and is not a facetrove index; name a new or empty folder"
        )


def _is_ours(index_dir: Path, name: str) -> bool:
    try:
        return is_index_entry(index_dir, name)
    except CorruptFileError:  # a link, or a file in place of a folder
        return False


def _read_previous(index_dir: Path) -> Manifest | None:
    """Return the current manifest; None if there is none or it is corrupt."""
    if not is_index(index_dir):
        return None
    try:
        return read_current(index_dir)
    except CorruptFileError:
        return None


def _remove_failed(index_dir: Path) -> None:
    """Remove the lock and the empty folders that a failed first build leaves."""
    with suppress(OSError, CorruptFileError):
        index_folder(index_dir).remove(LOCK)
        if not index_folder(index_dir).names(SEGMENTS):
            index_folder(index_dir).remove_folder(SEGMENTS)
        index_dir.rmdir()
