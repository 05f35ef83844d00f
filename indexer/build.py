"""Bring an index up to date with a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Unpack

import pyarrow.compute as pc

from faces.core.contract import require_same_contract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.settings import Device
from faces.dataset.deletions import Deletions, read_deletions
from faces.dataset.store import Dataset
from indexer.changes import (
    Changes,
    changes_since,
    deleted_rows,
    everything,
    indexed_photos,
    joined_photos,
    outdated_rows,
)
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest
from indexer.options import GivenOptions, IndexOptions
from indexer.recipes import EXACT_UP_TO_FACES, choose_recipe, use_gpu
from indexer.segment import Segment
from indexer.segment_builder import Crew, SegmentBuilder, SegmentRows, faces_of_photos, live_faces
from indexer.segment_files import new_segment_dir, read_photos
from indexer.thresholds import Calibration

COMPACT_DELETED_SHARE = 0.3
"""With a larger share of its faces deleted, an index is compacted when it is brought up to date."""


def build_index(
    dataset: str | Path,
    index: str | Path,
    *,
    rebuild: bool = False,
    device: Device = "auto",
    crew: Crew | None = None,
    on_progress: OnProgress = ignore_progress,
    **given: Unpack[GivenOptions],
) -> Manifest:
    """Bring an index up to date with a dataset; does nothing when it is.

    Args:
        dataset: folder written by the embed job.
        index: folder made, or given a new version. Readers of the old version keep it.
        rebuild: build all of it anew, whatever is there.
        device: `cpu`, `cuda`, or `auto`: a GPU where FAISS sees one.
        crew: does the heavy steps of a build from nothing.
        on_progress: called with what is being done.
        given: recipe, target_recall, recall_of, memory (in bytes), threshold; see `IndexOptions`.
            By default those that were given last. Where others are given, all is built anew.

    Returns:
        The manifest now in force.

    Raises:
        WrongUsageError: no such dataset, no face in it, no such recipe, no such device, or `index`
            is something else.
        ContractMismatchError: the index holds another model's embeddings.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the index.
    """
    source = Dataset.open(Path(dataset))
    source.require_whole()
    use_gpu(device)  # refuses at once what cannot be had
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.previous
        if previous is not None:
            require_same_contract(
                source.contract,
                previous.contract,
                ours_name=f"dataset {source.path}",
                theirs_name=f"index {index}",
                remedy="name a new index",
            )
        options = (IndexOptions() if previous is None else previous.wanted).changed_by(given)
        choose_recipe(options, EXACT_UP_TO_FACES + 1, source.contract.dimension)  # refuses nonsense
        builder = SegmentBuilder(
            writer, source.contract, source.metadata, device, on_progress, crew
        )
        deletions = read_deletions(source.path)
        on_progress(Progress("comparing with the dataset"))
        manifest = None
        if previous is not None and not rebuild and options == previous.wanted:
            manifest = _update(builder, source, previous, deletions)
        if manifest is None:
            manifest = _first_build(builder, source, options, deletions)
        return manifest


def _first_build(
    builder: SegmentBuilder, source: Dataset, options: IndexOptions, deletions: Deletions
) -> Manifest:
    try:
        with new_segment_dir(builder.writer.path) as folder:
            rows = _write_everything(builder, source, folder)
            entry = builder.finish_segment(folder, rows, options)
    finally:
        if builder.crew is not None:
            builder.crew.finish()
    return builder.writer.publish(
        Manifest(
            version=0,
            contract=source.contract,
            wanted=options,
            segments=(entry,),
            dataset_deletions=deletions.state,
            dataset_purged=source.purged,
            calibration=_calibration_kept(builder, source),
        )
    )


def _calibration_kept(builder: SegmentBuilder, source: Dataset) -> Calibration | None:
    """Carry the previous calibration over, unless the index was built from a different dataset."""
    previous = builder.writer.previous
    if previous is None or previous.calibration is None:
        return None
    try:
        known = indexed_photos(builder.writer.path, previous.segments)["part"]
    except CorruptFileError:
        return None
    same = set(pc.unique(known).to_pylist()) & set(source.committed_parts())
    return previous.calibration if same else None


def _write_everything(builder: SegmentBuilder, source: Dataset, folder: Path) -> SegmentRows:
    """Write all rows of a dataset. What that takes in memory is free when training begins."""
    changes = everything(source)
    if len(changes.photos) == 0 and builder.writer.previous is None:
        raise WrongUsageError(f"dataset {source.path} holds no face; embed photos of people")
    read = faces_of_photos if builder.crew is None else builder.crew.read_faces
    faces = read(source, changes.photos)
    return builder.write_rows(folder, faces, changes.photo_rows, changes.num_faces)


def _update(
    builder: SegmentBuilder, source: Dataset, previous: Manifest, deletions: Deletions
) -> Manifest | None:
    """Publish what has changed; None if it takes a build from nothing."""
    index_dir = builder.writer.path
    if source.purged != previous.dataset_purged:
        return None  # rows that say what vanished are gone
    try:
        segments = open_segments(index_dir, previous)
        photos = [read_photos(index_dir, entry) for entry in previous.segments]
        changes = changes_since(source, joined_photos(photos))
    except CorruptFileError:
        return None  # building again is the remedy
    if changes is None:
        return None
    same_deletions = deletions.state == previous.dataset_deletions
    if changes.is_empty and same_deletions:
        return previous
    dead = {}
    for segment in segments:
        rows = outdated_rows(segment.faces, changes)
        if not same_deletions:
            rows |= deleted_rows(segment.faces, deletions)
        dead[segment.entry.segment_id] = rows | ~segment.live()
    segments = [replace(s, deleted=dead[s.entry.segment_id]) for s in segments]
    kept = segments
    entries = list(previous.segments)
    if not changes.is_empty:
        kept, merged = _split(segments, changes)
        metadata = source.metadata
        entry = builder.write_segment(
            chain(live_faces(merged, metadata), faces_of_photos(source, changes.photos)),
            joined_photos([*photos[len(kept) :], changes.photo_rows]),
            previous.wanted,
            None,
            is_whole=not kept,
        )
        entries = [*(s.entry for s in kept), entry]
    return builder.writer.publish(
        replace(
            previous,
            segments=tuple(entries),
            deletions=builder.writer.write_deletions(kept),
            dataset_deletions=deletions.state,
        )
    )


def _split(segments: Sequence[Segment], changes: Changes) -> tuple[list[Segment], list[Segment]]:
    """Which segments stay, and which are merged with what is new.

    The newest ones are merged while they are not much larger than what comes, so that there
    are never more than some log2(n) segments, and every face is rewritten as often at most. All
    are, where many faces were deleted.
    """
    rows = sum(len(segment.vectors) for segment in segments)
    live = sum(segment.num_live for segment in segments)
    if live < (1 - COMPACT_DELETED_SHARE) * rows:
        return [], list(segments)
    kept = list(segments)
    size = changes.num_faces
    while kept and kept[-1].num_live <= 2 * size:
        size += kept.pop().num_live
    return kept, list(segments[len(kept) :])
