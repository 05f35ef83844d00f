"""Build a segment: write its rows, then train, fill and measure what proposes candidates in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import faiss
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.core.settings import Device
from faces.core.vectors import has_unit_length
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.codes import write_codes
from indexer.faces_file import faces_schema, with_columns
from indexer.folder import IndexWriter
from indexer.manifest import Measured, SegmentEntry
from indexer.options import AUTO, IndexOptions, Recipe
from indexer.recipes import EXACT_UP_TO_FACES, add, choose_recipe, train, use_gpu
from indexer.segment import Segment
from indexer.segment_files import (
    VECTORS_FILE,
    FaceBatch,
    digests,
    new_segment_dir,
    write_faces,
    write_photos,
)
from indexer.thresholds import Calibration, operating_threshold
from indexer.tuning import tune
from indexer.vectors import open_vectors

MIN_FACES_TUNED = 16
"""Fewer are compared exactly whatever is asked: there are no probes to tune a recipe with."""


class Crew(Protocol):
    """Does the heavy steps of a build elsewhere; see `beam_jobs.index_pieces`."""

    def read_faces(self, source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
        """The faces of photos, in the order of the dataset's parts."""

    def fill(self, codes: faiss.Index) -> None:
        """Add to a trained FAISS index all faces that were read, in their order."""

    def finish(self) -> None:
        """Clear up."""


@dataclass(frozen=True)
class SegmentRows:
    """How many rows of faces and photos a segment has."""

    num_faces: int
    num_photos: int


@dataclass(frozen=True)
class SegmentBuilder:
    """What all steps of a build share."""

    writer: IndexWriter
    contract: ModelContract
    metadata: pa.Schema
    device: Device
    on_progress: OnProgress
    crew: Crew | None = None

    @property
    def in_force(self) -> IndexOptions | None:
        """The options of the index as it was before."""
        return None if self.writer.previous is None else self.writer.previous.wanted

    @property
    def calibration(self) -> Calibration | None:
        """Of the index as it was before."""
        return None if self.writer.previous is None else self.writer.previous.calibration

    def write_segment(
        self,
        batches: Iterator[FaceBatch],
        photos: pa.Table,
        options: IndexOptions,
        num_faces: int | None,
        *,
        is_whole: bool = True,
    ) -> SegmentEntry:
        """Write a segment; it counts once a manifest that names it is published.

        Args:
            batches: its faces.
            photos: the rows of photos read for it.
            options: the options of the index.
            num_faces: how many there will be, where that is known.
            is_whole: as of `finish_segment`.
        """
        with new_segment_dir(self.writer.path) as folder:
            rows = self.write_rows(folder, batches, photos, num_faces)
            return self.finish_segment(folder, rows, options, is_whole=is_whole)

    def write_rows(
        self, folder: Path, batches: Iterator[FaceBatch], photos: pa.Table, num_faces: int | None
    ) -> SegmentRows:
        """Write what a segment holds, as of `write_segment`."""
        write_photos(folder, photos)
        counted = self._counted(batches, num_faces)
        return SegmentRows(
            write_faces(folder, counted, self.contract.dimension, self.metadata), len(photos)
        )

    def finish_segment(
        self, folder: Path, rows: SegmentRows, options: IndexOptions, *, is_whole: bool = True
    ) -> SegmentEntry:
        """Train, fill and measure what proposes candidates in a segment.

        Args:
            folder: with its rows.
            rows: how many there are.
            options: the options of the index.
            is_whole: whether it is all there is. A few faces added to others are compared
                exactly, whatever the recipe.
        """
        pa.default_memory_pool().release_unused()  # what reading took
        if not is_whole and rows.num_faces <= EXACT_UP_TO_FACES:
            options = replace(options, recipe=AUTO)
        recipe, measured = self._write_codes(folder, options, rows.num_faces)
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
        self, folder: Path, options: IndexOptions, count: int
    ) -> tuple[Recipe, Measured | None]:
        recipe = choose_recipe(options, count, self.contract.dimension)
        if recipe.is_exact:
            return recipe, None
        if count < MIN_FACES_TUNED:
            return Recipe(reason="so few faces are compared at once"), None
        vectors = open_vectors(folder / VECTORS_FILE, count, self.contract.dimension)
        self.on_progress(Progress(f"training {recipe.factory}"))
        try:
            codes = train(recipe, vectors, device=self.device)
        except WrongUsageError:
            if options != self.in_force:
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
        threshold = options.threshold
        if threshold is None:
            threshold = operating_threshold(self.contract.embedder, count, self.calibration)
        recipe, measured = tune(codes, recipe, vectors, options, threshold)
        if not recipe.is_exact:
            write_codes(folder, codes)
        return recipe, measured


def faces_of_photos(source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
    """The faces of some rows of `Dataset.photos`, metadata included, in the order of the parts.

    Raises:
        CorruptFileError: a file is corrupt, or an embedding does not have length 1.
    """
    columns = [*faces_schema(source.metadata).names, "embedding"]
    for table in source.faces(columns, photos=photos):
        vectors = embedding_matrix(table)
        if not has_unit_length(vectors).all():
            raise CorruptFileError(
                f"dataset {source.path} holds an embedding that does not have length 1: it was "
                "written by something else; embed the photos into a new dataset"
            )
        yield FaceBatch(vectors, table)


def live_faces(segments: Sequence[Segment], metadata: pa.Schema) -> Iterator[FaceBatch]:
    """The faces of segments that were not deleted."""
    schema = faces_schema(metadata)
    for segment in segments:
        live, start = segment.live(), 0
        for batch, vectors in segment.rows():
            inside = live[start : start + len(batch)]
            table = pa.Table.from_batches([batch]).filter(pa.array(inside))
            yield FaceBatch(vectors[inside], with_columns(table, schema))
            start += len(batch)
