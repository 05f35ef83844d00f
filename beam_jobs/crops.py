"""The job that cuts the crops of a dataset's faces, which networks are trained on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.job_progress import PROGRESS_INTERVAL_SECONDS
from beam_jobs.runners.select import Workers, run_pipeline
from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.errors import FaceTroveError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.settings import PhotoLimits
from faces.dataset.crop_cache import CropCache, Crops
from faces.dataset.cropping import FACE_COLUMNS, cut_crops
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from faces.models.registry import load_detector
from faces.photos.limited import ReadingRules

SHARD_FACES = 256
"""Number of faces whose crops make one file: 10 MB, some seconds of a worker."""

_WORK_FILE = "work.arrow"


class CutCrops(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Cut the crops of shards of faces, and write the file of each shard into the cache.

    Takes a PCollection of int, the first rows of shards in the cache's file of work, and returns
    a PCollection of int, the number of crops of each shard.

    Args:
        cache: where the crops are kept, in a folder that all workers can access.
        dataset: the dataset that the faces are of.
    """

    def __init__(self, cache: CropCache, dataset: Dataset) -> None:
        super().__init__()
        self._cut = partial(_cut_shard, cache, dataset)

    def expand(self, starts: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of first rows."""
        return (
            starts
            | "Spread over workers" >> beam.Reshuffle()
            | "Cut crops" >> beam.Map(self._cut).with_output_types(int)
        )


def _cut_shard(cache: CropCache, dataset: Dataset, start: int) -> int:
    """Cut the crops of one shard, write their file, and return how many there are."""
    work = read_arrow(cache.folder.mapped(_WORK_FILE)).slice(start, SHARD_FACES)
    rules = ReadingRules(dataset.limits or PhotoLimits())
    cut = list(cut_crops(work, rules, reduction_for=reduction_of(dataset)))
    if cut:
        cache.write([face_id for face_id, _ in cut], np.stack([crop for _, crop in cut]))
    return len(cut)


def reduction_of(dataset: Dataset) -> Callable[[int], int]:
    """Return how far the job that made a dataset reduced a photo of a given longer side.

    Where its detector is not here, as that of imported faces may not be, no photo is reduced.
    """
    try:
        choice = ModelChoice.of_contract(dataset.contract)
        return load_detector(choice, dataset.selection, threads=1).reduction_for
    except FaceTroveError:
        return lambda _: 1


def cut_missing_crops(
    dataset: Dataset,
    faces: pa.Table,
    *,
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Crops:
    """Cut the crops of faces that the cache does not have yet, on the workers of a Beam job.

    A job that was killed continues where it was, since a shard's file appears whole.

    Args:
        dataset: the dataset.
        faces: n of its faces, with `FACE_COLUMNS`.
        workers: number of worker processes on this machine; None: one per core.
        on_progress: called from another thread about twice a second.

    Returns:
        The crops of the faces, in their order; a face whose photo is gone or has changed has none.

    Raises:
        BusyError: another process is cutting crops of the dataset, or purges them.
        FaceTroveError: a worker failed; the crops that were cut are kept.
    """
    cache = CropCache.of(dataset.path, dataset.contract)
    crops = cache.open(faces["face_id"])
    if crops.present.all():  # so that several trainings may run at once
        return crops
    with cache.writing():
        has = pc.is_in(faces["face_id"], value_set=cache.face_ids())
        to_do = faces.select(FACE_COLUMNS).filter(pc.invert(has)).sort_by("photo_id")
        if len(to_do):
            write_arrow(cache.folder, _WORK_FILE, to_do.combine_chunks())
            shards = "List shards" >> beam.Create(range(0, len(to_do), SHARD_FACES)) | CutCrops(
                cache, dataset
            )
            chosen = Workers.chosen(workers).at_most(-(-len(to_do) // SHARD_FACES))
            try:
                with _reporting(cache, len(to_do), on_progress):
                    run_pipeline(
                        lambda pipeline: pipeline | shards,
                        workers=chosen,
                        remedy="crops that were cut are kept; run the same command again",
                    )
            finally:
                cache.folder.remove(_WORK_FILE)
        return cache.open(faces["face_id"])


@contextmanager
def _reporting(cache: CropCache, to_do: int, on_progress: OnProgress) -> Iterator[None]:
    """Report from another thread how many crops have been written, while the context is open."""
    before, stopped = len(cache.folder.names()), threading.Event()

    def watch() -> None:
        while not stopped.wait(PROGRESS_INTERVAL_SECONDS):
            num_shards = max(0, len(cache.folder.names()) - before)
            done = min(to_do, num_shards * SHARD_FACES)
            on_progress(Progress("cutting faces out of their photos", done, to_do))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
