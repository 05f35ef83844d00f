"""One run of an embed job, whatever its photos and faces come from.

What is done and what is left is read off the dataset, which makes every run a continuation.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from beam_jobs.job_progress import progress_reports
from beam_jobs.options import EmbedOptions
from beam_jobs.plan import make_plan, metadata_of
from beam_jobs.runners.select import Workers
from beam_jobs.shard_run import ShardRun
from beam_jobs.summary import EmbedSummary, PhotosFound, count_run
from faces.core.kinds import is_dataset
from faces.core.progress import OnProgress
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.deletions import copy_deletions
from faces.dataset.header import DatasetSettings
from faces.dataset.reembedding import FaceSource
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.listed import PhotoListing
from faces.photos.rejection import TRANSIENT_REASONS, RejectReason


def plan_run(listing: PhotoListing, dataset: Path, options: EmbedOptions) -> PhotosFound:
    """Say what a run would do, and touch nothing.

    Raises:
        WrongUsageError: the dataset was begun with another selection.
    """
    existing = Dataset.open(dataset) if is_dataset(dataset) else None
    if existing is not None:
        existing.require_selection(options.selection or existing.selection)
        existing = existing.with_metadata(metadata_of(listing))
    limits_before = existing.limits if existing else options.limits
    plan = make_plan(listing, existing, _to_retry(options, limits_before), group_copies=False)
    return PhotosFound.of(plan)


@dataclass(frozen=True)
class EmbedJob:
    """What a run writes, by which models, and who does it.

    Attributes:
        dataset: absolute path of the folder made or continued.
        models: detector and embedder, as workers are to load them.
        pipeline: the same, loaded here.
        options: what the run takes and leaves.
        workers: processes here, or another runner's.
    """

    dataset: Path
    models: ModelChoice
    pipeline: FacePipeline
    options: EmbedOptions
    workers: Workers

    @classmethod
    def prepare(
        cls, dataset: Path, models: ModelChoice, options: EmbedOptions, workers: Workers
    ) -> EmbedJob:
        """Load the models here once before any worker: weights are fetched and prepared by it.

        Raises:
            WrongUsageError: there is no model of that name, or it cannot be used so.
            ModelUnavailableError: its weights cannot be had.
        """
        models = models.absolute()
        pipeline = load_pipeline(models, threads=1)
        if not workers.are_elsewhere:  # workers here need not read and check a file again
            made = pipeline.contract
            models = replace(models, embedder=made.embedder, embedder_digest=made.embedder_digest)
        return cls(dataset, models, pipeline, options, workers)

    def run(
        self,
        listing: PhotoListing,
        *,
        source: FaceSource | None = None,
        withheld_of: Dataset | None = None,
        on_progress: OnProgress,
    ) -> EmbedSummary:
        """Do what is new.

        Args:
            listing: the photos.
            source: what knows the photos' faces; None: they are to be found.
            withheld_of: a dataset; what was deleted from it is withheld from this one too.
            on_progress: called now and then from another thread.
        """
        started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        options = self.options
        before = Dataset.open(self.dataset) if is_dataset(self.dataset) else None
        selection = options.selection or (before.selection if before else FaceSelection())
        settings = DatasetSettings(
            self.pipeline.contract, selection, metadata_of(listing), options.limits
        )
        with DatasetWriter.open(self.dataset, settings) as writer:
            if withheld_of is not None:
                copy_deletions(withheld_of.path, self.dataset)
            limits_before = before.limits if before else options.limits
            plan = make_plan(listing, writer.dataset, _to_retry(options, limits_before))
            run = ShardRun(writer, plan, self.models, self.workers, source)
            with progress_reports(writer, len(plan.to_do), on_progress):
                run.embed_all(forgive=options.retry_rejected)
            if options.drop_vanished and len(plan.vanished):
                run.drop(plan.vanished)
            done, total, stage_seconds = count_run(writer)
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


def _to_retry(options: EmbedOptions, limits_before: PhotoLimits | None) -> set[RejectReason]:
    if options.retry_rejected:
        return set(RejectReason)
    larger = {RejectReason.TOO_LARGE} if options.limits != limits_before else set()
    return {*TRANSIENT_REASONS, *larger}
