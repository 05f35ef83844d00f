"""Publish a calibration: the FPIR that an index has at each similarity, measured beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from faces.core.errors import BusyError
from indexer.folder import IndexWriter
from indexer.manifest import Manifest, read_current
from indexer.thresholds import Calibration


def require_no_writer(index: str | Path) -> None:
    """Raise BusyError if another process is writing an index.

    Raises:
        WrongUsageError: there is no index at that path.
        CorruptFileError: the current manifest cannot be read.
        BusyError: another process is writing the index.
    """
    read_current(Path(index))
    with IndexWriter.open(Path(index)):
        pass


def publish_calibration(
    index: str | Path, calibration: Calibration, *, measured_on: Manifest
) -> Manifest:
    """Publish a calibration as the index's next version, which equals the measured one otherwise.

    Args:
        index: path of the index's folder.
        calibration: the false-positive identification rates that were measured.
        measured_on: the manifest of the version that the rates were measured on.

    Returns:
        The manifest of the new version.

    Raises:
        WrongUsageError: there is no index at that path.
        CorruptFileError: the current manifest cannot be read.
        BusyError: another process is writing the index, or has published a version since the
            rates were measured.
    """
    read_current(Path(index))  # raises for a missing index before the writer creates its folder
    with IndexWriter.open(Path(index)) as writer:
        manifest = writer.require_previous()
        if manifest != measured_on:
            raise BusyError(
                f"index {index} has changed since it was measured (version {measured_on.version} "
                f"then, {manifest.version} now); calibrate again"
            )
        return writer.publish(replace(manifest, calibration=calibration))
