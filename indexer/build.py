"""Bring an index up to date with a dataset, and compact it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import DamagedFileError, WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.core.settings import Device
from faces.core.vectors import has_unit_length
from faces.dataset.deletions import Deletions, read_deletions
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.changes import (
    Changes,
    changes_since,
    deleted_rows,
    everything,
    joined_photos,
    known_photos,
    outdated_rows,
)
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, SegmentEntry
from indexer.recipes import (
    EXACT_UP_TO_FACES,
    Asked,
    Recipe,
    Wanted,
    add,
    choose_recipe,
    train,
    use_gpu,
)
from indexer.segment import (
    VECTORS_FILE,
    FaceBatch,
    Segment,
    digests,
    faces_schema,
    metadata_of,
    new_segment_dir,
    read_photos,
    with_columns,
    write_codes,
    write_faces,
    write_photos,
)
from indexer.thresholds import Calibration, operating_threshold
from indexer.tuning import tune
from indexer.vectors import open_vectors

if TYPE_CHECKING:
    import faiss

    from indexer.manifest import Measured

COMPACT_DELETED_SHARE = 0.3
"""With a larger share of its faces deleted, an index is compacted when it is brought up to date."""


LEAST_FACES_TUNED = 16
"""Fewer are compared exactly whatever is asked: there are no probes to tune a recipe with."""


class Crew(Protocol):
    """Does the heavy steps of a build elsewhere; see `beam_jobs.index_pieces`."""

    def read_faces(self, source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
        """The faces of photos, in the order of the dataset's parts."""

    def fill(self, codes: faiss.Index) -> None:
        """Add to a trained FAISS index all faces that were read, in their order."""

    def finish(self) -> None:
        """Clear up."""


def build_index(
    dataset: str | Path,
    index: str | Path,
    *,
    rebuild: bool = False,
    device: Device = "auto",
    crew: Crew | None = None,
    on_progress: OnProgress = lambda _: None,
    **asked: Unpack[Asked],
) -> Manifest:
    """Bring an index up to date with a dataset; does nothing when it is.

    Args:
        dataset: folder written by the embed job.
        index: folder made, or given a new version. Readers of the old version keep it.
        rebuild: build all of it anew, whatever is there.
        device: `cpu`, `cuda`, or `auto`: a GPU where FAISS sees one.
        crew: does the heavy steps of a build from nothing.
        on_progress: called with what is being done.
        asked: recipe, target_recall, recall_of, memory_bytes, threshold; see `Wanted`. By default
            what was asked for last. Where something else is asked, all is built anew.

    Returns:
        The manifest now in force.

    Raises:
        WrongUsageError: no such dataset, no face in it, no such recipe, no such device, or `index`
            is something else.
        ContractMismatchError: the index holds another model's embeddings.
        DamagedFileError: a file of the dataset is damaged.
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
        wanted = (Wanted() if previous is None else previous.wanted).changed_by(asked)
        choose_recipe(wanted, EXACT_UP_TO_FACES + 1, source.contract.dimension)  # refuses nonsense
        build = _Build(writer, source.contract, source.metadata, device, on_progress, crew)
        deletions = read_deletions(source.path)
        on_progress(Progress("comparing with the dataset"))
        manifest = None
        if previous is not None and not rebuild and wanted == previous.wanted:
            manifest = _update(build, source, previous, deletions)
        if manifest is None:
            manifest = _first_build(build, source, wanted, deletions)
        return manifest


def compact_index(
    index: str | Path, *, device: Device = "auto", on_progress: OnProgress = lambda _: None
) -> Manifest:
    """Make one segment of all, without deleted faces; does nothing where there is but one.

    Raises: as `build_index`.
    """
    use_gpu(device)
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        if len(previous.segments) == 1 and previous.deletions is None:
            return previous
        photos = known_photos(writer.path, previous.segments)
        entry = _one_segment(writer, previous, photos, device, on_progress)
        return writer.publish(replace(previous, segments=(entry,), deletions=None))


def rewrite_index(
    index: str | Path, source: Dataset, *, on_progress: OnProgress = lambda _: None
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
        known = known_photos(writer.path, previous.segments)
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
    build = _Build(writer, previous.contract, metadata, device, on_progress)
    faces = _live_faces(segments, metadata)
    return build.write_segment(faces, photos, previous.wanted, previous.num_faces)


def _same_rows(photos: pa.Table, known: pa.Table) -> bool:
    order = [("part", "ascending"), ("uri", "ascending")]
    if photos.num_rows != known.num_rows or set(photos.column_names) != set(known.column_names):
        return False
    known = known.select(photos.column_names).cast(photos.schema)
    return bool(photos.sort_by(order).equals(known.sort_by(order)))


def _first_build(build: _Build, source: Dataset, wanted: Wanted, deletions: Deletions) -> Manifest:
    try:
        with new_segment_dir(build.writer.path) as folder:
            rows = _write_everything(build, source, folder)
            entry = build.finish_segment(folder, rows, wanted)
    finally:
        if build.crew is not None:
            build.crew.finish()
    return build.writer.publish(
        Manifest(
            version=0,
            contract=source.contract,
            wanted=wanted,
            segments=(entry,),
            dataset_deletions=deletions.state,
            dataset_purged=source.purged,
            calibration=_calibration_kept(build, source),
        )
    )


def _calibration_kept(build: _Build, source: Dataset) -> Calibration | None:
    """That of the index as it was before, unless it was of another dataset."""
    previous = build.writer.previous
    if previous is None or previous.calibration is None:
        return None
    try:
        known = known_photos(build.writer.path, previous.segments)["part"]
    except DamagedFileError:
        return None
    same = set(pc.unique(known).to_pylist()) & set(source.committed_parts())
    return previous.calibration if same else None


def _write_everything(build: _Build, source: Dataset, folder: Path) -> _Rows:
    """Write all rows of a dataset. What that takes in memory is free when training begins."""
    changes = everything(source)
    if len(changes.photos) == 0 and build.writer.previous is None:
        raise WrongUsageError(f"dataset {source.path} holds no face; embed photos of people")
    read = faces_of_photos if build.crew is None else build.crew.read_faces
    faces = read(source, changes.photos)
    return build.write_rows(folder, faces, changes.photo_rows, changes.num_faces)


def _update(
    build: _Build, source: Dataset, previous: Manifest, deletions: Deletions
) -> Manifest | None:
    """Publish what has changed; None if it takes a build from nothing."""
    index_dir = build.writer.path
    if source.purged != previous.dataset_purged:
        return None  # rows that say what vanished are gone
    try:
        segments = open_segments(index_dir, previous)
        photos = [read_photos(index_dir, entry) for entry in previous.segments]
        changes = changes_since(source, joined_photos(photos))
    except DamagedFileError:
        return None  # building again is the remedy
    if changes is None:
        return None
    same_deletions = deletions.state == previous.dataset_deletions
    if changes.is_empty and same_deletions:
        return previous
    dead = {}
    for segment in segments:
        rows = outdated_rows(segment, changes)
        if not same_deletions:
            rows |= deleted_rows(segment, deletions)
        dead[segment.entry.segment_id] = rows | ~segment.live()
    segments = [replace(s, deleted=dead[s.entry.segment_id]) for s in segments]
    kept = segments
    entries = list(previous.segments)
    if not changes.is_empty:
        kept, merged = _split(segments, changes)
        metadata = source.metadata
        entry = build.write_segment(
            chain(_live_faces(merged, metadata), faces_of_photos(source, changes.photos)),
            joined_photos([*photos[len(kept) :], changes.photo_rows]),
            previous.wanted,
            None,
            is_whole=not kept,
        )
        entries = [*(s.entry for s in kept), entry]
    return build.writer.publish(
        replace(
            previous,
            segments=tuple(entries),
            deletions=build.writer.write_deletions(kept),
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


def _live_faces(segments: Sequence[Segment], metadata: pa.Schema) -> Iterator[FaceBatch]:
    """The faces of segments that were not deleted."""
    schema = faces_schema(metadata)
    for segment in segments:
        live, start = segment.live(), 0
        for batch, vectors in segment.rows():
            inside = live[start : start + len(batch)]
            table = pa.Table.from_batches([batch]).filter(pa.array(inside))
            yield FaceBatch(vectors[inside], with_columns(table, schema))
            start += len(batch)


def faces_of_photos(source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
    """The faces of some rows of `Dataset.photos`, metadata included, in the order of the parts.

    Raises:
        DamagedFileError: a file is damaged, or an embedding does not have length 1.
    """
    columns = [*faces_schema(source.metadata).names, "embedding"]
    for table in source.faces(columns, photos=photos):
        vectors = embedding_matrix(table)
        if not has_unit_length(vectors).all():
            raise DamagedFileError(
                f"dataset {source.path} holds an embedding that does not have length 1: it was "
                "written by something else; embed the photos into a new dataset"
            )
        yield FaceBatch(vectors, table)


@dataclass(frozen=True)
class _Rows:
    """How many rows of faces and photos a segment has."""

    num_faces: int
    num_photos: int


@dataclass(frozen=True)
class _Build:
    """What all steps of a build share."""

    writer: IndexWriter
    contract: ModelContract
    metadata: pa.Schema
    device: Device
    on_progress: OnProgress
    crew: Crew | None = None

    @property
    def in_force(self) -> Wanted | None:
        """What was asked of the index before."""
        return None if self.writer.previous is None else self.writer.previous.wanted

    @property
    def calibration(self) -> Calibration | None:
        """Of the index as it was before."""
        return None if self.writer.previous is None else self.writer.previous.calibration

    def write_segment(
        self,
        batches: Iterator[FaceBatch],
        photos: pa.Table,
        wanted: Wanted,
        num_faces: int | None,
        *,
        is_whole: bool = True,
    ) -> SegmentEntry:
        """Write a segment; it counts once a manifest that names it is published.

        Args:
            batches: its faces.
            photos: the rows of photos read for it.
            wanted: what is asked of it.
            num_faces: how many there will be, where that is known.
            is_whole: as of `finish_segment`.
        """
        with new_segment_dir(self.writer.path) as folder:
            rows = self.write_rows(folder, batches, photos, num_faces)
            return self.finish_segment(folder, rows, wanted, is_whole=is_whole)

    def write_rows(
        self, folder: Path, batches: Iterator[FaceBatch], photos: pa.Table, num_faces: int | None
    ) -> _Rows:
        """Write what a segment holds, as of `write_segment`."""
        write_photos(folder, photos)
        counted = self._counted(batches, num_faces)
        return _Rows(
            write_faces(folder, counted, self.contract.dimension, self.metadata), len(photos)
        )

    def finish_segment(
        self, folder: Path, rows: _Rows, wanted: Wanted, *, is_whole: bool = True
    ) -> SegmentEntry:
        """Train, fill and measure what proposes candidates in a segment.

        Args:
            folder: with its rows.
            rows: how many there are.
            wanted: what is asked of it.
            is_whole: whether it is all there is. A few faces added to others are compared
                exactly, whatever the recipe.
        """
        pa.default_memory_pool().release_unused()  # what reading took
        if not is_whole and rows.num_faces <= EXACT_UP_TO_FACES:
            wanted = replace(wanted, recipe="auto")
        recipe, measured = self._write_codes(folder, wanted, rows.num_faces)
        return SegmentEntry(
            segment_id=folder.name,
            num_faces=rows.num_faces,
            num_photos=rows.num_photos,
            recipe=recipe,
            measured=measured,
            files=digests(folder),
            built_on="cuda" if use_gpu(self.device) and not recipe.is_exact else "cpu",
        )

    def _counted(self, batches: Iterator[FaceBatch], num_faces: int | None) -> Iterator[FaceBatch]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch.vectors)
            self.on_progress(Progress("reading faces", done, num_faces))

    def _write_codes(
        self, folder: Path, wanted: Wanted, count: int
    ) -> tuple[Recipe, Measured | None]:
        recipe = choose_recipe(wanted, count, self.contract.dimension)
        if recipe.is_exact:
            return recipe, None
        if count < LEAST_FACES_TUNED:
            return Recipe(reason="so few faces are compared at once"), None
        vectors = open_vectors(folder / VECTORS_FILE, count, self.contract.dimension)
        self.on_progress(Progress(f"training {recipe.factory}"))
        try:
            codes = train(recipe, vectors, device=self.device)
        except WrongUsageError:
            if wanted != self.in_force:
                raise
            # It could be trained once; that faces were deleted since is no reason to refuse.
            return Recipe(reason=f"{recipe.factory} cannot be trained on so few faces"), None
        self.on_progress(Progress(f"adding to {recipe.factory}", 0, count))
        if self.crew is not None:
            self.crew.fill(codes)
        else:
            for done in add(codes, vectors):
                self.on_progress(Progress(f"adding to {recipe.factory}", done, count))
        self.on_progress(Progress("measuring recall against exact search"))
        threshold = wanted.threshold
        if threshold is None:
            threshold = operating_threshold(self.contract.embedder, count, self.calibration)
        recipe, measured = tune(codes, recipe, vectors, wanted, threshold)
        if not recipe.is_exact:
            write_codes(folder, codes)
        return recipe, measured
