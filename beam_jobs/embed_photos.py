"""The embed job: a folder of photos to a dataset, shard by shard, on any Beam runner.

A shard of photos is one Beam element. The worker that gets it decodes, detects, embeds and
commits the shard's part of the dataset itself, so nothing heavy flows through Beam; what is
done and what is left is read off the dataset, which makes every run a continuation.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.local_runner import WorkerLostError, run_locally
from beam_jobs.shard import embed_shard
from faces.dataset import Dataset, DatasetCounts, DatasetWriter
from faces.engine import available_threads
from faces.errors import FaceTroveError, WrongUsageError
from faces.images import RejectReason
from faces.models import ModelChoice, load_pipeline
from faces.photos import PhotoFile, list_photos
from faces.pipeline import FacePipeline

LEAST_SHARD_PHOTOS, MOST_SHARD_PHOTOS = 4, 128
"""Photos in a shard: what a killed job may have to do again, per worker. Some seconds' work."""

SHARDS_PER_WORKER = 16
"""In a small collection shards are smaller, so that stopping early loses little."""

ATTEMPTS = 3
"""Times that workers are started for the shards left when one of them was lost."""

PROGRESS_INTERVAL_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedProgress:
    """How far a run is: photos in the shards committed so far, of those this run has to do."""

    photos_done: int
    photos_to_do: int


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    Attributes:
        photos_found: in the folder.
        photos_skipped: already in the dataset and unchanged.
        done: what this run added.
        total: what the dataset now holds.
    """

    photos_found: int
    photos_skipped: int
    done: DatasetCounts
    total: DatasetCounts


def embed_photos(
    photos: Path,
    dataset: Path,
    *,
    models: ModelChoice = ModelChoice(),
    workers: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: Callable[[EmbedProgress], None] = lambda _: None,
) -> EmbedSummary:
    """Embed every photo of a folder that the dataset does not hold yet.

    Args:
        photos: folder searched as `faces.photos.list_photos` says.
        dataset: folder made or continued.
        models: detector and embedder.
        workers: processes on this machine; one per core by default.
        runner_args: Beam's own flags, for another runner than the local one.
        on_progress: called now and then from another thread.

    Raises:
        WrongUsageError: no such folder, no photos in it, or `dataset` is something else.
        ContractMismatchError: the dataset was made by another model.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; what was committed stays.
    """
    workers = workers or available_threads()
    dataset = Path(os.path.abspath(dataset))  # workers elsewhere have another current folder
    files = list_photos(photos)
    # Here once before any worker: it fetches and prepares the weights, and tells the contract.
    contract = load_pipeline(models, threads=1).contract
    with Dataset.open_for_writing(dataset, contract) as writer:
        to_do = _not_done(files, writer.dataset)
        shards = list(_cut_into_shards(to_do, workers, writer))
        if shards:
            with _progress_reports(writer, shards, on_progress):
                _run(shards, writer, models, workers, runner_args)
        parts = writer.committed_parts()
        return EmbedSummary(
            photos_found=len(files),
            photos_skipped=len(files) - len(to_do),
            done=writer.dataset.counts(parts),
            total=writer.dataset.counts(),
        )


def _not_done(files: Sequence[PhotoFile], dataset: Dataset) -> list[PhotoFile]:
    """Photos that are new, changed, or could not be read last time, which may have passed."""
    known = dataset.photos([*PhotoFile._fields, "reason"])
    passing = pa.array([RejectReason.READ_ERROR.value, RejectReason.NOT_PROCESSED.value])
    known = known.filter(pc.invert(pc.is_in(known["reason"], value_set=passing)))
    done = {PhotoFile(**row) for row in known.select(PhotoFile._fields).to_pylist()}
    return [file for file in files if file not in done]


Shard = tuple[str, list[tuple[str, int, int]]]
"""Name of the part to write, and the photos; plain tuples, which Beam encodes without pickle."""


def _cut_into_shards(
    files: Sequence[PhotoFile], workers: int, writer: DatasetWriter
) -> Iterator[Shard]:
    even = -(-len(files) // (workers * SHARDS_PER_WORKER))
    size = min(MOST_SHARD_PHOTOS, max(LEAST_SHARD_PHOTOS, even))
    for number, start in enumerate(range(0, len(files), size)):
        yield writer.part_name(number), [(*file,) for file in files[start : start + size]]


def _run(
    shards: Sequence[Shard],
    writer: DatasetWriter,
    models: ModelChoice,
    workers: int,
    runner_args: Sequence[str],
) -> None:
    """Run the shards on the runner that the arguments name, else on processes here."""
    elsewhere = any(arg.split("=")[0] == "--runner" for arg in runner_args)
    threads = 1 if elsewhere else max(1, available_threads() // workers)
    for attempt in range(ATTEMPTS):
        committed = writer.committed_parts()
        left = [shard for shard in shards if shard[0] not in committed]
        build = partial(_add_steps, shards=left, embed=EmbedShard(writer, models, threads))
        try:
            if elsewhere:
                with _pipeline_elsewhere(runner_args) as pipeline:
                    build(pipeline)
            else:
                run_locally(build, workers=min(workers, len(left)), beam_args=runner_args)
            return
        except WorkerLostError as error:
            if attempt + 1 == ATTEMPTS:
                raise FaceTroveError(f"{error}, {ATTEMPTS} times; {_CONTINUE}") from error
            _log.warning("%s; starting workers again", error)
        except FaceTroveError:
            raise
        except Exception as error:  # whatever a runner makes of a failure in a worker
            raise FaceTroveError(f"the job failed ({_cause(error)}); {_CONTINUE}") from error


_CONTINUE = "finished shards are kept, run the same command again to continue"


def _pipeline_elsewhere(runner_args: Sequence[str]) -> beam.Pipeline:
    try:
        return beam.Pipeline(options=PipelineOptions(list(runner_args)))
    except ValueError as error:
        raise WrongUsageError(f"Apache Beam refuses {' '.join(runner_args)}: {error}") from error


def _cause(error: Exception) -> str:
    """What went wrong in a worker, out of the trace that Beam makes the message of its error."""
    last_line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return re.sub(r"^RuntimeError: | \[while running .*\]$", "", last_line)


def _add_steps(pipeline: beam.Pipeline, *, shards: Sequence[Shard], embed: EmbedShard) -> None:
    (
        pipeline
        | "List shards" >> beam.Create(shards)
        | "Spread over workers" >> beam.Reshuffle()
        | "Embed and commit" >> beam.ParDo(embed)
    )


class EmbedShard(beam.DoFn):  # type: ignore[misc]  # Beam's classes are untyped
    """Embeds shards and commits each one's part of the dataset."""

    def __init__(self, writer: DatasetWriter, models: ModelChoice, threads: int) -> None:
        self._writer = writer
        self._models = models
        self._threads = threads
        self._pipeline: FacePipeline | None = None
        self._photos = Metrics.counter("facetrove", "photos")
        self._faces = Metrics.counter("facetrove", "faces")

    def setup(self) -> None:
        """Load the networks, once per worker process."""
        import cv2

        cv2.setNumThreads(self._threads)
        self._pipeline = load_pipeline(self._models, threads=self._threads)

    def process(self, shard: Shard) -> None:
        """Embed one shard and commit its part."""
        assert self._pipeline is not None, "Beam calls setup first"
        part, files = shard
        photos, faces = embed_shard(self._pipeline, [PhotoFile(*file) for file in files])
        self._writer.write_part(part, photos, faces)
        self._photos.inc(len(photos))
        self._faces.inc(len(faces))


@contextmanager
def _progress_reports(
    writer: DatasetWriter, shards: Sequence[Shard], on_progress: Callable[[EmbedProgress], None]
) -> Iterator[None]:
    """Call back from a thread of its own with what the dataset shows to be committed.

    Looking at files instead of listening to workers works on every runner.
    """
    sizes = {part: len(files) for part, files in shards}
    to_do = sum(sizes.values())
    stopped = threading.Event()

    def report() -> None:
        on_progress(EmbedProgress(sum(sizes[part] for part in writer.committed_parts()), to_do))

    def watch() -> None:
        while not stopped.wait(PROGRESS_INTERVAL_SECONDS):
            report()

    report()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        report()


def run(argv: Sequence[str] | None = None) -> EmbedSummary:
    """Run the job as a Beam program: its own flags below, all others go on to the runner."""
    parser = argparse.ArgumentParser(description="Embed the faces of a folder of photos.")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--dataset", type=Path, required=True, help="folder made or continued")
    parser.add_argument("--workers", type=int, help="processes here; one per core by default")
    known, runner_args = parser.parse_known_args(argv)
    return embed_photos(known.photos, known.dataset, workers=known.workers, runner_args=runner_args)


if __name__ == "__main__":
    print(run())
