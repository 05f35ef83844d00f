"""The index folder: opening a version, and the one writer's right to publish the next."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.files import PRIVATE, remove_temporaries, writer_lock
from faces.core.kinds import is_index
from faces.core.settings import Device
from indexer.layout import (
    LOCK,
    deletions_dir,
    is_id,
    is_index_entry,
    manifest_name,
    manifest_versions,
    segments_dir,
    work_dir,
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
"""So long the files of a version stay when the next is in force, for readers that are just
opening it. A reader that has opened a version needs its files no more than by the maps it holds."""


def open_segments(
    index_dir: Path,
    manifest: Manifest,
    opened: Sequence[Segment] = (),
    *,
    device: Device = "cpu",
) -> list[Segment]:
    """Open all segments of a version, with their deletions.

    Args:
        index_dir: the index's folder.
        manifest: the version's manifest.
        opened: segments that are open already and are used again.
        device: where the segments are to be searched.

    Raises:
        CorruptFileError: naming the file that is not what was written.
    """
    deletions = read_deletions(index_dir, manifest.deletions)
    by_id = {s.entry.segment_id: replace(s, deleted=None) for s in opened}
    segments = []
    for entry in manifest.segments:
        segment = by_id.get(entry.segment_id)
        if segment is None:
            segment = open_segment(index_dir, entry, manifest.contract.dimension, device)
        if (rows := deletions.pop(entry.segment_id, None)) is not None:
            if not 0 <= rows.min() <= rows.max() < entry.num_faces:
                raise CorruptFileError(f"index {index_dir} deletes rows that are not there")
            deleted = np.zeros(entry.num_faces, dtype=bool)
            deleted[rows] = True
            segment = replace(segment, deleted=deleted)
        segments.append(segment)
    if deletions:
        raise CorruptFileError(f"index {index_dir} deletes rows of segments that are not there")
    return segments


class IndexWriter:
    """The right to write an index, held by one process at a time. Use `open`.

    Attributes:
        path: the index's folder.
        previous: the manifest in force; None where there is none that can be read.
    """

    def __init__(self, path: Path, previous: Manifest | None) -> None:
        self.path = path
        self.previous = previous

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[IndexWriter]:
        """Hold the lock of an index; makes its folder if there is none.

        Raises:
            WrongUsageError: the folder is something else, or of a newer facetrove.
            BusyError: another process is writing it.
        """
        _require_index_or_empty(path)
        existed = path.exists()
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        try:
            with writer_lock(path, what=f"index {path}", name=LOCK):
                writer = cls(path, _read_previous(path))
                writer.remove_unused()
                yield writer
        finally:
            if not existed and not is_index(path):
                _remove_failed(path)

    def require_previous(self) -> Manifest:
        """The manifest in force.

        Raises:
            WrongUsageError: there is no index yet.
            CorruptFileError: it cannot be read.
        """
        return read_current(self.path) if self.previous is None else self.previous

    def publish(self, manifest: Manifest, *, grace_seconds: float = GRACE_SECONDS) -> Manifest:
        """Make a manifest the one in force, as the next version.

        Args:
            manifest: its version and date are set here.
            grace_seconds: how long older versions keep their files.
        """
        manifest = replace(
            manifest,
            version=max(manifest_versions(self.path), default=0) + 1,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        publish(self.path, manifest)
        self.previous = manifest
        self.remove_unused(grace_seconds)
        return manifest

    def write_deletions(self, segments: Sequence[Segment]) -> DeletionsEntry | None:
        """List the deleted rows of segments in a new file."""
        rows = {s.entry.segment_id: np.flatnonzero(~s.live()).astype(np.int64) for s in segments}
        return write_deletions(self.path, rows)

    def remove_unused(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Remove files of versions that are out of force, and what killed writers left."""
        if self.previous is None:
            return  # what there is may be of use to somebody who mends it
        remove_temporaries(self.path)
        remove_temporaries(deletions_dir(self.path))
        shutil.rmtree(work_dir(self.path), ignore_errors=True)
        kept = [self.previous]
        for path, superseded in _older_manifests(self.path, self.previous.version):
            try:
                if time.time() - superseded < grace_seconds:
                    kept.append(read_manifest(path))
                    continue
            except (CorruptFileError, WrongUsageError):
                pass
            path.unlink()
        segments = {entry.segment_id for manifest in kept for entry in manifest.segments}
        deletions = {m.deletions.name for m in kept if m.deletions is not None}
        for folder, used in (
            (segments_dir(self.path), segments),
            (deletions_dir(self.path), deletions),
        ):
            if folder.is_dir():
                for path in folder.iterdir():
                    if path.name not in used and is_id(path.stem):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _older_manifests(index_dir: Path, version: int) -> list[tuple[Path, float]]:
    """Manifests but for the one in force, and when (since 1970) each was superseded.

    A later one than that in force is what a writer left that was killed before it was.
    """
    numbers = sorted(manifest_versions(index_dir))
    older = []
    for number, following in zip(numbers, [*numbers[1:], 0], strict=True):
        superseded = 0.0
        if number < version:
            superseded = (index_dir / manifest_name(following)).stat().st_mtime
        if number != version:
            older.append((index_dir / manifest_name(number), superseded))
    return older


def _require_index_or_empty(index_dir: Path) -> None:
    """Refuse any folder that holds something an index does not: a slip must not cost files."""
    if not index_dir.exists() or manifest_named_by(current_line(index_dir)):
        return  # whatever else lies in an index, as file managers leave it, is not touched
    if not index_dir.is_dir() or not all(map(is_index_entry, index_dir.iterdir())):
        raise WrongUsageError(
            f"{index_dir} exists and is not a facetrove index; name a new or empty folder"
        )


def _read_previous(index_dir: Path) -> Manifest | None:
    """The manifest in force; None where there is none that can be read, so one is built anew."""
    if not is_index(index_dir):
        return None
    try:
        return read_current(index_dir)
    except CorruptFileError:
        return None


def _remove_failed(index_dir: Path) -> None:
    """Leave no empty folder where a first build failed."""
    (index_dir / LOCK).unlink(missing_ok=True)
    for folder in (segments_dir(index_dir), index_dir):
        with suppress(OSError):
            folder.rmdir()
