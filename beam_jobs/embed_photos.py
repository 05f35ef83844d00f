"""The embed job: photos to a dataset, on any Beam runner.

What is done and what is left is read off the dataset, which makes every run a continuation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.plan import Plan, make_plan, metadata_of
from beam_jobs.runner import runs_elsewhere
from beam_jobs.shard_run import ShardRun, Workers
from faces.core.contract import ModelContract
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.machine import available_threads
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.deletions import copy_deletions
from faces.dataset.importers import read_store, require_agreement
from faces.dataset.reembedding import DatasetFaces, FaceSource, list_dataset, require_same_detector
from faces.dataset.rewrite import follow_deletions
from faces.dataset.schema import PartReport
from faces.dataset.store import COUNTED_COLUMNS, Dataset, DatasetCounts, DatasetWriter, count_photos
from faces.models.choice import ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.listing import PhotoListing, list_photos
from faces.photos.rejection import PASSING_REASONS, RejectReason

PROGRESS_INTERVAL_SECONDS = 0.5

Photos = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class EmbedOptions:
    """What a run takes and leaves.

    Attributes:
        selection: which faces are kept. None: as the dataset was begun, or all.
        limits: of the photos tried.
        retry_rejected: try all rejected photos again, not only those that could not be read.
        drop_vanished: drop the faces of photos that are no longer where they were.
    """

    selection: FaceSelection | None = None
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    retry_rejected: bool = False
    drop_vanished: bool = False


@dataclass(frozen=True)
class PhotosFound:
    """The photos named, compared with the dataset.

    Attributes:
        num_photos: found.
        num_new, num_changed, num_retried: what a run has to do.
        num_unchanged: in the dataset already.
        num_out_of_reach: of these, photos that cannot be looked at now; what is known stays.
        num_vanished: in the dataset, and no longer where they were.
    """

    num_photos: int
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int
    num_out_of_reach: int
    num_vanished: int

    @classmethod
    def of(cls, plan: Plan) -> PhotosFound:
        """Count a plan."""
        parts = (plan.num_new, plan.num_changed, plan.num_retried, plan.num_unchanged)
        return cls(sum(parts), *parts, plan.num_out_of_reach, len(plan.vanished))


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did; kept in the dataset.

    Attributes:
        found: what there was to do.
        num_dropped: vanished photos whose faces were dropped.
        done: what this run added.
        total: what the dataset now holds.
        started: UTC, ISO 8601.
        seconds: from start to end, workers' start-up included.
        stage_seconds: read, decode, detect, align, embed: added over all workers.
        runs_on: by the names of the models, the engine and device that each runs on.
    """

    found: PhotosFound
    num_dropped: int
    done: DatasetCounts
    total: DatasetCounts
    started: str
    seconds: float
    stage_seconds: dict[str, float]
    runs_on: dict[str, str]


def default_models(photos: Photos, dataset: Path) -> ModelChoice:
    """The models of a dataset; for a new one the detector of the dataset that photos are
    taken from, if it is one, and else the built-in ones.
    """
    if Dataset.exists(dataset):
        return ModelChoice.of_contract(Dataset.open(dataset).contract)
    source = source_dataset(photos)
    return ModelChoice(detector=source.contract.detector) if source else ModelChoice()


def source_dataset(photos: Photos) -> Dataset | None:
    """The dataset whose faces are to be embedded again, if that is what was named.

    Raises:
        WrongUsageError: something else was named beside it.
    """
    named = _as_sequence(photos)
    for place in named:
        if (Path(place) / "CURRENT").is_file():
            raise WrongUsageError(f"{place} is an index; name the dataset it was built from")
    datasets = [Path(place) for place in named if Dataset.exists(Path(place))]
    if datasets and len(named) > 1:
        raise WrongUsageError(
            f"{datasets[0]} is a dataset; to embed its faces again, name it alone and the new "
            "dataset last"
        )
    return Dataset.open(Path(os.path.abspath(datasets[0]))) if datasets else None


def _require_other(source: Dataset, dataset: Path) -> None:
    if source.path.resolve() == dataset.resolve():
        raise WrongUsageError(f"{dataset} cannot be embedded into itself; name a new dataset last")


def _selecting_as(source: Dataset, options: EmbedOptions) -> EmbedOptions:
    """Options with the selection of the dataset that faces are taken from."""
    if options.selection is not None:
        source.require_selection(options.selection)
    return replace(options, selection=source.selection)


def _list(photos: Photos, source: Dataset | None) -> PhotoListing:
    return list_dataset(source) if source else list_photos(_as_sequence(photos))


def plan_embedding(
    photos: Photos, dataset: Path, *, options: EmbedOptions = EmbedOptions()
) -> PhotosFound:
    """Say what `embed_photos` would do, and touch nothing.

    Raises:
        WrongUsageError: as `embed_photos` does.
    """
    Dataset.require_place(dataset)
    listing = _list(photos, source_dataset(photos))
    if Dataset.exists(dataset):
        existing = Dataset.open(dataset)
        existing.require_selection(options.selection or existing.selection)
    else:  # of what model does not matter: nothing is in it
        existing = Dataset(dataset, ModelContract("", "", "", "", "", dimension=1))
    existing = existing.with_metadata(metadata_of(listing))
    plan = make_plan(listing, existing, _to_retry(options, existing.limits), group_copies=False)
    return PhotosFound.of(plan)


def embed_photos(
    photos: Photos,
    dataset: Path,
    *,
    models: ModelChoice | None = None,
    options: EmbedOptions = EmbedOptions(),
    workers: int | None = None,
    threads: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Embed every photo that the dataset does not hold yet.

    Args:
        photos: folders, photos, archives, photo lists, patterns or URLs: see
            `faces.photos.listing.list_photos`; or a dataset, whose faces are then embedded again.
        dataset: folder made or continued.
        models: detector and embedder; by default those of the dataset, or the built-in ones.
        options: what to take and what to leave.
        workers: processes on this machine; one per core by default.
        threads: processor cores that each worker uses; all of this machine's are shared out by
            default.
        runner_args: Beam's own flags, for another runner than the local one.
        on_progress: called now and then from another thread.

    Raises:
        WrongUsageError: there are no such photos, or `dataset` is something else.
        ContractMismatchError: the dataset was made by another model.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; what was committed stays.
    """
    dataset = Path(os.path.abspath(dataset))  # workers elsewhere have another current folder
    source = source_dataset(photos)
    if source is not None:
        _require_other(source, dataset)
        options = _selecting_as(source, options)
    models = (models or default_models(photos, dataset)).absolute()
    # Here once before any worker: it fetches and prepares the weights, and tells the contract.
    pipeline = load_pipeline(models, threads=1)
    if not runs_elsewhere(runner_args):  # workers here need not read and check a file again
        made = pipeline.contract
        models = replace(models, embedder=made.embedder, embedder_digest=made.embedder_digest)
    if source is not None:
        require_same_detector(source, pipeline.contract)
        if Dataset.exists(dataset):
            follow_deletions(Dataset.open(dataset), source.path)
    return _Job(dataset, models, pipeline, options).run(
        _list(photos, source),
        DatasetFaces(source) if source else None,
        withheld_of=source,
        workers=Workers(workers or available_threads(), threads),
        runner_args=runner_args,
        on_progress=on_progress,
    )


def import_faces(
    store: str | Path,
    dataset: Path,
    *,
    base: Path = Path(),
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Take over the faces and embeddings that deepface or face_recognition computed.

    The photos are read, for what else a dataset says of faces, and not embedded.

    Args:
        store: see `faces.dataset.importers`.
        dataset: folder made or continued.
        base: folder that relative names of photos start from.
        workers: processes on this machine; one per core by default.
        on_progress: called now and then from another thread.

    Raises:
        WrongUsageError: `store` is no such file, or `dataset` is something else.
        ContractMismatchError: the model here makes other embeddings of the same photos.
        FaceTroveError: the job failed; what was committed stays.
    """
    Dataset.require_place(dataset)
    stored = read_store(Path(store), base)
    listing = stored.listing()
    pipeline = load_pipeline(stored.models, threads=1)
    require_agreement(stored, listing, pipeline)
    return _Job(Path(os.path.abspath(dataset)), stored.models, pipeline, EmbedOptions()).run(
        listing,
        stored,
        workers=Workers(workers or available_threads()),
        on_progress=on_progress,
    )


@dataclass(frozen=True)
class _Job:
    """What a run writes, and by which models."""

    dataset: Path
    models: ModelChoice
    pipeline: FacePipeline
    options: EmbedOptions

    def run(
        self,
        listing: PhotoListing,
        source: FaceSource | None,
        *,
        workers: Workers,
        withheld_of: Dataset | None = None,
        runner_args: Sequence[str] = (),
        on_progress: OnProgress,
    ) -> EmbedSummary:
        """Do what is new. What was deleted from `withheld_of` is withheld from this dataset too."""
        started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        options = self.options
        before = Dataset.open(self.dataset) if Dataset.exists(self.dataset) else None
        selection = options.selection or (before.selection if before else FaceSelection())
        metadata = metadata_of(listing)
        contract = self.pipeline.contract
        wanted = Dataset(self.dataset, contract, selection, metadata, options.limits)
        with wanted.open_for_writing() as writer:
            if withheld_of is not None:
                copy_deletions(withheld_of.path, self.dataset)
            limits_before = before.limits if before else options.limits
            plan = make_plan(listing, writer.dataset, _to_retry(options, limits_before))
            plan = replace(plan, source=source)
            run = ShardRun(writer, plan, self.models, workers, runner_args)
            with _progress_reports(writer, len(plan.to_do), on_progress):
                run.embed_all(forgive=options.retry_rejected)
            if options.drop_vanished and len(plan.vanished):
                run.drop(plan.vanished)
            done, total, stage_seconds = _counted(writer)
            summary = EmbedSummary(
                found=PhotosFound.of(plan),
                num_dropped=len(plan.vanished) if options.drop_vanished else 0,
                done=done,
                total=total,
                started=started,
                seconds=round(time.monotonic() - start, 3),
                stage_seconds=stage_seconds,
                runs_on=self.pipeline.runs_on,
            )
            writer.finish(asdict(summary) if writer.committed_parts() else None)
            return summary


def _counted(writer: DatasetWriter) -> tuple[DatasetCounts, DatasetCounts, dict[str, float]]:
    """What a run has committed, what the dataset holds, and the seconds by stage."""
    parts = sorted(writer.committed_parts())
    photos = writer.dataset.photos(COUNTED_COLUMNS)
    ours = photos.filter(pc.is_in(photos["part"], value_set=pa.array(parts, pa.string())))
    reports = [writer.dataset.report(part) for part in parts]
    stages: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        for stage, seconds in report.seconds.items():
            stages[stage] += seconds
    done = replace(
        count_photos(ours),
        num_faces=sum(report.num_faces for report in reports),
        num_copies=pc.sum(ours["is_copy"]).as_py() or 0,
    )
    stage_seconds = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    return done, count_photos(photos), stage_seconds


def _as_sequence(photos: Photos) -> Sequence[str | Path]:
    return [photos] if isinstance(photos, str | Path) else photos


def _to_retry(options: EmbedOptions, limits_before: PhotoLimits | None) -> set[RejectReason]:
    if options.retry_rejected:
        return set(RejectReason)
    larger = {RejectReason.TOO_LARGE} if options.limits != limits_before else set()
    return {*PASSING_REASONS, *larger}


@contextmanager
def _progress_reports(writer: DatasetWriter, to_do: int, on_progress: OnProgress) -> Iterator[None]:
    """Call back from a thread of its own with what the dataset shows to be committed.

    Looking at files instead of listening to workers works on every runner.
    """
    if not to_do:
        yield
        return
    reports: dict[str, PartReport] = {}
    stopped = threading.Event()

    def report() -> None:
        for part in writer.committed_parts() - reports.keys():
            reports[part] = writer.dataset.report(part)
        on_progress(
            Progress(
                "embedding",
                sum(report.num_photos for report in reports.values()),
                to_do,
                "photos",
                {
                    "faces": sum(report.num_faces for report in reports.values()),
                    "rejected": sum(report.num_rejected for report in reports.values()),
                },
            )
        )

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
    parser = argparse.ArgumentParser(description="Embed the faces of photos.")
    parser.add_argument("--photos", nargs="+", required=True, help="folders, photos, lists...")
    parser.add_argument("--dataset", type=Path, required=True, help="folder made or continued")
    parser.add_argument("--workers", type=int, help="processes here; one per core by default")
    known, runner_args = parser.parse_known_args(argv)
    return embed_photos(known.photos, known.dataset, workers=known.workers, runner_args=runner_args)


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(run()), indent=2))
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
