"""Write an index anew as one segment: to search faster, or to leave out what was deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.progress import OnProgress, ignore_progress
from faces.core.settings import Device
from faces.dataset.store import Dataset
from indexer.changes import everything, indexed_photos
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, SegmentEntry
from indexer.recipes import use_gpu
from indexer.segment import metadata_of
from indexer.segment_builder import SegmentBuilder, live_faces


def compact_index(
    index: str | Path, *, device: Device = "auto", on_progress: OnProgress = ignore_progress
) -> Manifest:
    """Make one segment of all, without deleted faces; does nothing where there is but one.

    Raises: as `build_index`.
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
) -> int:
    """Write an index anew without what was deleted, and remove every older file of it at once.

    Args:
        index: up to date with its dataset.
        source: the dataset, purged: the rows of its photos replace those the index keeps.
        on_progress: called with what is being done.

    Returns:
        How many rows of faces the files hold no more.
    """
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        known = indexed_photos(writer.path, previous.segments)
        photos = everything(source).photo_rows
        photos = photos.filter(pc.is_in(photos["part"], value_set=known["part"].unique()))
        num_rows = sum(entry.num_faces for entry in previous.segments)
        if previous.deletions is None and _same_rows(photos, known):
            if previous.dataset_purged != source.purged:
                writer.publish(replace(previous, dataset_purged=source.purged))
            writer.remove_unused(grace_seconds=0)
            return 0
        previous = replace(previous, dataset_purged=source.purged)
        entry = _one_segment(writer, previous, photos, "auto", on_progress)
        writer.publish(replace(previous, segments=(entry,), deletions=None), grace_seconds=0)
        return num_rows - entry.num_faces


def _one_segment(
    writer: IndexWriter,
    previous: Manifest,
    photos: pa.Table,
    device: Device,
    on_progress: OnProgress,
) -> SegmentEntry:
    """Write a segment of all live faces of a version, with these rows of photos."""
    segments = open_segments(writer.path, previous)
    metadata = metadata_of(segments)
    builder = SegmentBuilder(writer, previous.contract, metadata, device, on_progress)
    faces = live_faces(segments, metadata)
    return builder.write_segment(faces, photos, previous.wanted, previous.num_faces)


def _same_rows(photos: pa.Table, known: pa.Table) -> bool:
    order = [("part", "ascending"), ("uri", "ascending")]
    if photos.num_rows != known.num_rows or set(photos.column_names) != set(known.column_names):
        return False
    known = known.select(photos.column_names).cast(photos.schema)
    return bool(photos.sort_by(order).equals(known.sort_by(order)))
