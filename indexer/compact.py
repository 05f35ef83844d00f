"""Rewrite an index as one segment, to speed up its search or to leave deleted faces out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.progress import OnProgress, ignore_progress
from faces.core.settings import Device
from faces.dataset.store import Dataset
from indexer.changes import all_changes, indexed_photos
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, SegmentEntry
from indexer.recipes import use_gpu
from indexer.segment import metadata_of
from indexer.segment_builder import SegmentBuilder, live_faces


def compact_index(
    index: str | Path, *, device: Device = "auto", on_progress: OnProgress = ignore_progress
) -> Manifest:
    """Rewrite an index as one segment without deleted faces; do nothing if it is one already.

    Args:
        index: path of the index's folder.
        device: where vectors are clustered: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one).
        on_progress: called with each step and how far it is.

    Returns:
        The manifest of the index's current version.

    Raises:
        WrongUsageError: there is no index at that path, or no such device.
        CorruptFileError: a file of the index is corrupt.
        BusyError: another process is writing the index.
    """
    use_gpu(device)
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        if len(previous.segments) == 1 and previous.deletions is None:
            return previous
        photos = indexed_photos(writer.path, previous.segments)
        entry = _one_segment(writer, previous, photos, device, on_progress)
        return writer.publish(replace(previous, segments=(entry,), deletions=None))


def rewrite_index(
    index: str | Path, source: Dataset, *, on_progress: OnProgress = ignore_progress
) -> None:
    """Rewrite an index without deleted faces, and remove all files of older versions at once.

    Args:
        index: path of the index's folder; the index is up to date with its dataset.
        source: the dataset, already purged; its rows of photos replace those in the index.
        on_progress: called with each step and how far it is.
    """
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        indexed = indexed_photos(writer.path, previous.segments)
        photos = all_changes(source).photo_rows
        photos = photos.filter(pc.is_in(photos["part"], value_set=indexed["part"].unique()))
        if previous.deletions is None and _same_rows(photos, indexed):
            if previous.dataset_purged != source.purged:
                writer.publish(replace(previous, dataset_purged=source.purged))
            writer.remove_unused(grace_seconds=0)
            return
        previous = replace(previous, dataset_purged=source.purged)
        entry = _one_segment(writer, previous, photos, "auto", on_progress)
        writer.publish(replace(previous, segments=(entry,), deletions=None), grace_seconds=0)


def _one_segment(
    writer: IndexWriter,
    previous: Manifest,
    photos: pa.Table,
    device: Device,
    on_progress: OnProgress,
) -> SegmentEntry:
    """Write all live faces of a version, and the given rows of photos, as one new segment."""
    segments = open_segments(writer.path, previous)
    metadata = metadata_of(segments)
    builder = SegmentBuilder(writer, previous.contract, metadata, device, on_progress)
    faces = live_faces(segments, metadata)
    return builder.write_segment(faces, photos, previous.wanted, previous.num_faces)


def _same_rows(photos: pa.Table, indexed: pa.Table) -> bool:
    order = [("part", "ascending"), ("uri", "ascending")]
    if photos.num_rows != indexed.num_rows or set(photos.column_names) != set(indexed.column_names):
        return False
    indexed = indexed.select(photos.column_names).cast(photos.schema)
    return bool(photos.sort_by(order).equals(indexed.sort_by(order)))
