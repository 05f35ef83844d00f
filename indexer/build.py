"""Build an index from a dataset, or update it with what has changed in the dataset since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Unpack

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import require_same_contract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.forks import starting_threads
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.settings import Device
from faces.core.storage import Folder
from faces.dataset.deletions import Deletions, read_deletions
from faces.dataset.store import Dataset
from indexer.changes import (
    Changes,
    all_changes,
    changes_since,
    deleted_rows,
    indexed_photos,
    joined_photos,
    outdated_rows,
)
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest
from indexer.options import GivenOptions, IndexOptions
from indexer.origin import origin_of
from indexer.recipes import EXACT_UP_TO_FACES, choose_recipe, use_gpu
from indexer.segment import Segment
from indexer.segment_builder import (
    BuildWorkers,
    SegmentBuilder,
    SegmentRows,
    faces_of_photos,
    live_faces,
)
from indexer.segment_files import new_segment, read_photos
from indexer.thresholds import Calibration

COMPACT_DELETED_SHARE = 0.3
"""Share of deleted rows, 0 to 1, above which an update merges all segments into one: so deleted
rows never fill more than about this share of the files."""


def build_index(
    dataset: str | Path,
    index: str | Path,
    *,
    rebuild: bool = False,
    device: Device = "auto",
    workers: BuildWorkers | None = None,
    on_progress: OnProgress = ignore_progress,
    **given: Unpack[GivenOptions],
) -> Manifest:
    """Build an index from a dataset, or update it; do nothing if it is up to date already.

    Args:
        dataset: path of the dataset's folder, written by `facetrove embed`.
        index: path of the index's folder. It is created if it does not exist; otherwise a new
            version is published in it, and readers of an older version keep theirs.
        rebuild: build the whole index again, even where an update would do.
        device: where vectors are clustered: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one).
        workers: runs the expensive steps of a full build elsewhere; None: they run here.
        on_progress: called with each step and how far it is.
        given: recipe, target_recall, recall_of, memory (bytes), threshold; see `IndexOptions`.
            An option left out keeps its previous value; a changed option causes a full build.

    Returns:
        The manifest of the index's current version.

    Raises:
        WrongUsageError: the dataset does not exist or holds no face, the recipe or the device
            cannot be used, or `index` is a folder of something else.
        ContractMismatchError: the index holds embeddings of another model.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the index.
    """
    starting_threads()
    source = Dataset.open(Path(dataset))
    source.require_whole()
    use_gpu(device)  # raises before any work if there is no such device
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
        choose_recipe(options, EXACT_UP_TO_FACES + 1, source.contract.dimension)  # fails early
        builder = SegmentBuilder(
            writer, source.contract, source.face_metadata, device, on_progress, workers
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
        with new_segment(builder.writer.path) as folder:
            rows = _write_everything(builder, source, folder)
            entry = builder.finish_segment(folder, rows, options)
    finally:
        if builder.workers is not None:
            builder.workers.finish()
    return builder.writer.publish(
        Manifest(
            version=0,
            contract=source.contract,
            wanted=options,
            segments=(entry,),
            dataset_deletions=deletions.state,
            dataset_purged=source.purged,
            **origin_of(source, builder.writer.path),
            calibration=_calibration_kept(builder, source),
        )
    )


def _calibration_kept(builder: SegmentBuilder, source: Dataset) -> Calibration | None:
    """Return the previous calibration, or None if the index was built from a different dataset."""
    previous = builder.writer.previous
    if previous is None or previous.calibration is None:
        return None
    try:
        indexed_parts = indexed_photos(builder.writer.path, previous.segments)["part"]
    except CorruptFileError:
        return None
    shared = set(pc.unique(indexed_parts).to_pylist()) & set(source.committed_parts())
    return previous.calibration if shared else None


def _write_everything(builder: SegmentBuilder, source: Dataset, folder: Folder) -> SegmentRows:
    """Write the faces and photos of the whole dataset into the folder of a new segment.

    This is a function of its own so that the memory it takes is free when training begins.
    """
    changes = all_changes(source)
    if len(changes.photos) == 0 and builder.writer.previous is None:
        raise WrongUsageError(f"dataset {source.path} holds no face; embed photos of people")
    read = faces_of_photos if builder.workers is None else builder.workers.read_faces
    faces = read(source, changes.photos)
    return builder.write_rows(folder, faces, changes.photo_rows, changes.num_faces)


def _update(
    builder: SegmentBuilder, source: Dataset, previous: Manifest, deletions: Deletions
) -> Manifest | None:
    """Publish an update of the index; return None if only a full build can bring it up to date."""
    index_dir = builder.writer.path
    if source.purged != previous.dataset_purged:
        return None  # the purge has removed the rows that tell which photos vanished
    try:
        segments = open_segments(index_dir, previous)
        photos = [read_photos(index_dir, entry) for entry in previous.segments]
        same_deletions = deletions.state == previous.dataset_deletions
        incomplete = None if same_deletions else _incomplete_photos(segments, deletions)
        changes = changes_since(source, joined_photos(photos), incomplete)
    except CorruptFileError:
        return None  # a full build replaces the corrupt file
    if changes is None:
        return None
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
        metadata = source.face_metadata
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
            **origin_of(source, builder.writer.path),
        )
    )


def _incomplete_photos(segments: Sequence[Segment], deletions: Deletions) -> pa.Array:
    """Return the photo_ids of faces that were taken back and that no segment has: (n,) string."""
    restored = deletions.restored
    if not len(restored):
        return restored["photo_id"].combine_chunks()
    indexed = [pa.array([], pa.string())]
    for segment in segments:
        live = segment.faces.table["face_id"].filter(pa.array(segment.live()))
        indexed.append(live.combine_chunks())
    lacking = pc.invert(pc.is_in(restored["face_id"], value_set=pa.concat_arrays(indexed)))
    return restored["photo_id"].filter(lacking).drop_null().unique()


def _split(segments: Sequence[Segment], changes: Changes) -> tuple[list[Segment], list[Segment]]:
    """Split the segments into those that an update keeps and those that it merges.

    Starting with the newest, a segment is merged if it has at most twice as many live faces as
    are being written already. So an index has at most about log2(n) segments, and each face is
    rewritten about as often. If the share of deleted rows exceeds `COMPACT_DELETED_SHARE`, all
    segments are merged.
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
