"""Publish what was measured of an index: a version of it that says what similarities mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from faces.core.errors import BusyError
from indexer.folder import IndexWriter
from indexer.manifest import Manifest, read_current
from indexer.thresholds import Calibration


def require_no_writer(index: str | Path) -> None:
    """Raise BusyError if another process is writing an index; other errors as below."""
    read_current(Path(index))
    with IndexWriter.open(Path(index)):
        pass


def publish_calibration(
    index: str | Path, calibration: Calibration, *, measured_on: Manifest
) -> Manifest:
    """Publish the next version of an index: the version that was measured, with its calibration.

    Args:
        index: the index's folder.
        calibration: the false-positive identification rates that were measured.
        measured_on: the manifest of the version that the calibration was measured on.

    Returns:
        The manifest now in force.

    Raises:
        WrongUsageError: there is no index at that path.
        CorruptFileError: the manifest in force cannot be read.
        BusyError: another process is writing the index, or has published another version since
            it was measured.
    """
    read_current(Path(index))  # refuses what is no index before its folder is made
    with IndexWriter.open(Path(index)) as writer:
        manifest = writer.require_previous()
        if manifest != measured_on:
            raise BusyError(
                f"index {index} has changed since it was measured (version {measured_on.version} "
                f"then, {manifest.version} now); calibrate again"
            )
        return writer.publish(replace(manifest, calibration=calibration))
