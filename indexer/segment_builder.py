"""Build a segment: write its rows, then train, fill, tune and measure its FAISS index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import faiss
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.core.settings import Device
from faces.core.storage import Folder
from faces.core.vectors import has_unit_length
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.codes_file import write_codes
from indexer.faces_file import faces_schema, with_columns
from indexer.folder import IndexWriter
from indexer.manifest import Measured, SegmentEntry
from indexer.model_rates import operating_threshold
from indexer.options import AUTO, IndexOptions, Recipe
from indexer.recipes import EXACT_UP_TO_FACES, add, choose_recipe, train, use_gpu
from indexer.segment import Segment
from indexer.segment_files import (
    CODES_FILE,
    VECTORS_FILE,
    FaceBatch,
    digests,
    new_segment,
    write_faces,
    write_photos,
)
from indexer.thresholds import Calibration
from indexer.tuning import tune
from indexer.vectors import open_vectors

MIN_FACES_TUNED = 16
"""Smallest number of faces for which an approximate recipe is built. With fewer there are too few
probes to tune it, and exact search is used whatever the recipe."""


class BuildWorkers(Protocol):
    """Workers elsewhere that run the expensive steps of a build; see `beam_jobs.index_pieces`."""

    def read_faces(self, source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
        """Iterate over the faces of photos, in the order of the dataset's parts."""

    def fill(self, codes: faiss.Index) -> None:
        """Add all faces that were read to a trained FAISS index, in the same order."""

    def finish(self) -> None:
        """Remove the files of the build; called whether it succeeded or failed."""


@dataclass(frozen=True)
class SegmentRows:
    """The numbers of rows of faces and of photos in a segment."""

    num_faces: int
    num_photos: int


@dataclass(frozen=True)
class SegmentBuilder:
    """The context that all steps of building a segment share.

    Attributes:
        writer: the right to write the index.
        contract: the models and preprocessing that made the embeddings.
        metadata: the columns of the photos' metadata.
        device: where vectors are clustered: `cpu`, `cuda`, or `auto` (a GPU if FAISS sees one).
        on_progress: called with each step and how far it is.
        workers: runs the expensive steps of a full build elsewhere; None: they run here.
    """

    writer: IndexWriter
    contract: ModelContract
    metadata: pa.Schema
    device: Device
    on_progress: OnProgress
    workers: BuildWorkers | None = None

    @property
    def previous_options(self) -> IndexOptions | None:
        """The options of the index's previous version; None if there is none."""
        return None if self.writer.previous is None else self.writer.previous.wanted

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the index's previous version; None if there is none."""
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
        """Write a segment, which becomes part of the index when a manifest with it is published.

        Args:
            batches: the segment's faces.
            photos: the rows of photos that were read for the segment.
            options: the options of the index.
            num_faces: number of faces, for reporting progress; None: not known.
            is_whole: whether the segment will be the whole index; see `finish_segment`.

        Returns:
            The segment's entry for a manifest.
        """
        with new_segment(self.writer.path) as folder:
            rows = self.write_rows(folder, batches, photos, num_faces)
            return self.finish_segment(folder, rows, options, is_whole=is_whole)

    def write_rows(
        self, folder: Folder, batches: Iterator[FaceBatch], photos: pa.Table, num_faces: int | None
    ) -> SegmentRows:
        """Write the embeddings, faces and photos of a segment; see `write_segment`."""
        write_photos(folder, photos)
        counted = self._counted(batches, num_faces)
        return SegmentRows(
            write_faces(folder, counted, self.contract.dimension, self.metadata), len(photos)
        )

    def finish_segment(
        self, folder: Folder, rows: SegmentRows, options: IndexOptions, *, is_whole: bool = True
    ) -> SegmentEntry:
        """Train, fill and measure the FAISS index of a segment whose rows are written.

        Args:
            folder: the segment's folder.
            rows: numbers of rows in the segment.
            options: the options of the index.
            is_whole: whether the segment will be the whole index. If not, up to
                `EXACT_UP_TO_FACES` faces are searched exactly, whatever the recipe.

        Returns:
            The segment's entry for a manifest.
        """
        pa.default_memory_pool().release_unused()  # memory that reading the faces took
        if not is_whole and rows.num_faces <= EXACT_UP_TO_FACES:
            options = replace(options, recipe=AUTO)
        recipe, measured = self._write_codes(folder, options, rows.num_faces)
        return SegmentEntry(
            segment_id=folder.at().name,
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
        self, folder: Folder, options: IndexOptions, count: int
    ) -> tuple[Recipe, Measured | None]:
        recipe = choose_recipe(options, count, self.contract.dimension)
        if recipe.is_exact:
            return recipe, None
        if count < MIN_FACES_TUNED:
            return Recipe(reason=f"{count} faces are too few for {recipe.factory}"), None
        vectors = open_vectors(folder, VECTORS_FILE, (count, self.contract.dimension))
        self.on_progress(Progress(f"training {recipe.factory}"))
        try:
            codes = train(recipe, vectors, device=self.device)
        except WrongUsageError:
            if options != self.previous_options:
                raise
            # The recipe could be trained before: deleting faces must not make an update fail.
            return Recipe(reason=f"{recipe.factory} cannot be trained on so few faces"), None
        self.on_progress(Progress(f"adding to {recipe.factory}", 0, count))
        if self.workers is not None:
            self.workers.fill(codes)
        else:
            for done in add(codes, vectors):
                self.on_progress(Progress(f"adding to {recipe.factory}", done, count))
        self.on_progress(Progress("measuring recall against exact search"))
        threshold = options.threshold
        if threshold is None:
            threshold = operating_threshold(self.contract.embedder, count, self.calibration)
        recipe, measured = tune(codes, recipe, vectors, options, threshold)
        if not recipe.is_exact:
            write_codes(folder, CODES_FILE, codes)
        return recipe, measured


def faces_of_photos(source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
    """Iterate over the faces of photos, metadata included, in the order of the dataset's parts.

    Args:
        source: the dataset.
        photos: rows as from `Dataset.photos`.

    Raises:
        CorruptFileError: a file is corrupt, or an embedding does not have length 1.
    """
    columns = [*faces_schema(source.face_metadata).names, "embedding"]
    for table in source.faces(columns, photos=photos):
        vectors = embedding_matrix(table)
        if not has_unit_length(vectors).all():
            raise CorruptFileError(
                f"dataset {source.path} holds an embedding that does not have length 1: it was not "
                "written by facetrove; embed the photos into a new dataset"
            )
        yield FaceBatch(vectors, table)


def live_faces(segments: Sequence[Segment], metadata: pa.Schema) -> Iterator[FaceBatch]:
    """Iterate over the faces of segments that are not deleted, with the given metadata columns."""
    schema = faces_schema(metadata)
    for segment in segments:
        live, start = segment.live(), 0
        for batch, vectors in segment.rows():
            is_live = live[start : start + len(batch)]
            table = pa.Table.from_batches([batch]).filter(pa.array(is_live))
            yield FaceBatch(vectors[is_live], with_columns(table, schema))
            start += len(batch)
