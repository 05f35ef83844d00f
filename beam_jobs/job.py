"""One run of an embed job, wherever its photos and faces come from.

A run compares the listed photos with the dataset to see what is left to do, so that every run
continues the runs before it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from beam_jobs.job_progress import progress_reports
from beam_jobs.options import EmbedOptions
from beam_jobs.plan import Plan, make_plan, metadata_of
from beam_jobs.runners.select import Workers
from beam_jobs.shard_run import ShardRun
from beam_jobs.summary import EmbedSummary, PhotosFound, count_run
from faces.core.kinds import is_dataset
from faces.core.progress import OnProgress
from faces.core.settings import FaceSelection
from faces.dataset.following import FollowedDeletions
from faces.dataset.header import DatasetSettings
from faces.dataset.people_following import follow_book
from faces.dataset.reembedding import FaceSource, StoredFaces
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.models.choice import ModelChoice
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.listed import PhotoListing
from faces.photos.metadata import TAKEN
from faces.photos.rejection import LIMIT_REASONS, TRANSIENT_REASONS, RejectReason


def plan_run(listing: PhotoListing, dataset: Path, options: EmbedOptions) -> PhotosFound:
    """Count what a run would do, without writing anything.

    Args:
        listing: the listed photos.
        dataset: folder of the dataset, which may not exist yet.
        options: the options of the run.

    Raises:
        WrongUsageError: the dataset has another selection, or a metadata column of another type.
    """
    existing = Dataset.open(dataset) if is_dataset(dataset) else None
    if existing is not None:
        existing.require_selection(options.selection or existing.selection)
        existing = existing.with_metadata(_with_taken(metadata_of(listing), existing))
    plan = make_plan(
        listing,
        existing,
        _to_retry(options, existing),
        drop_below=options.drop_below,
        look_for_copies=False,
    )
    return PhotosFound.of(plan, listing)


@dataclass(frozen=True)
class EmbedJob:
    """An embed job: the dataset that it writes, its models, options and workers.

    Attributes:
        dataset: absolute path of the dataset's folder, which is created or continued.
        models: detector and embedder, as workers load them.
        pipeline: the same models, loaded in this process.
        options: the options of the run.
        workers: processes on this machine, or the workers of another Beam runner.
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
        """Load the models in this process, which fetches and prepares weights before workers do.

        Args:
            dataset: absolute path of the dataset's folder.
            models: detector and embedder.
            options: the options of the run.
            workers: the workers of the job.

        Raises:
            WrongUsageError: there is no model of a given name, or the models cannot be combined.
            ModelUnavailableError: the weights of a model cannot be had.
        """
        models = models.absolute()
        if is_dataset(dataset):
            models = models.continuing(Dataset.open(dataset).contract)
        pipeline = load_pipeline(models, threads=1)
        # The models are this machine's by now, so workers elsewhere may fetch them.
        models = replace(models, asked_by_file=frozenset())
        if not workers.are_elsewhere:  # workers here find a custom model by its digest in the cache
            loaded = pipeline.contract
            models = replace(
                models, embedder=loaded.embedder, embedder_digest=loaded.embedder_digest
            )
        return cls(dataset, models, pipeline, options, workers)

    def run(
        self,
        listing: PhotoListing,
        *,
        source: FaceSource | None = None,
        deletions_of: Dataset | None = None,
        on_progress: OnProgress,
    ) -> EmbedSummary:
        """Embed the photos that are new, changed or to be retried.

        Args:
            listing: the listed photos.
            source: source of given faces; None: faces are detected.
            deletions_of: a dataset whose face_ids are kept, and whose deleted faces are withheld
                from this dataset too; its people book is taken over.
            on_progress: called from another thread about twice a second.

        Returns:
            The summary of the run, which is stored in the dataset if the run committed a part.

        Raises:
            WrongUsageError: the dataset has another selection, or its path is something else.
            ContractMismatchError: the dataset was made by another model.
            BusyError: another process is writing the dataset.
            FaceTroveError: the job failed; committed parts are kept.
        """
        started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        before = Dataset.open(self.dataset) if is_dataset(self.dataset) else None
        followed = None
        if deletions_of is not None:
            followed = FollowedDeletions.of(deletions_of.path, before)
            if before is not None:
                followed.apply_to(before)
        with DatasetWriter.open(
            self.dataset, self._settings(listing, before, deletions_of)
        ) as writer:
            if followed is not None and deletions_of is not None:
                followed.withhold_from(self.dataset)
                follow_book(deletions_of.path, self.dataset)
            to_retry = _to_retry(self.options, before)
            below = self.options.drop_below
            reads_photos = not isinstance(source, StoredFaces)
            plan = make_plan(
                listing, writer.dataset, to_retry, drop_below=below, look_for_copies=reads_photos
            )
            with progress_reports(writer, len(plan.to_do), on_progress):
                num_dropped = self._carry_out(plan, writer, source, deletions_of)
            counts = count_run(writer)
            summary = EmbedSummary(
                found=PhotosFound.of(plan, listing),
                num_dropped=num_dropped,
                started=started,
                seconds=round(time.monotonic() - start, 3),
                runs_on=self.pipeline.runs_on,
                detected=source is None,
                **counts._asdict(),
            )
            record = asdict(summary) if writer.committed_parts() else None
            writer.finish(record, listing.passed_over)
            return summary

    def _settings(
        self, listing: PhotoListing, before: Dataset | None, follows: Dataset | None
    ) -> DatasetSettings:
        """Return the settings of the dataset that the run writes."""
        selection = self.options.selection or (before.selection if before else FaceSelection())
        settings = DatasetSettings(
            self.pipeline.contract,
            selection,
            _with_taken(metadata_of(listing), before),
            self.options.limits,
        )
        return replace(settings, salted_ids=needs_salted_ids(settings, follows))

    def _carry_out(
        self,
        plan: Plan,
        writer: DatasetWriter,
        source: FaceSource | None,
        follows: Dataset | None,
    ) -> int:
        """Embed what is to do, and drop what is asked to be dropped; return how much was."""
        options = self.options
        run = ShardRun(
            writer, plan, self.models, self.workers, source, follows=follows, options=options
        )
        run.embed_all(retry_quarantined=options.retry_rejected)
        dropped = plan.below_gone
        if options.drop_vanished:
            dropped = pa.concat_arrays([dropped, plan.vanished, plan.excluded])
        if len(dropped):
            run.drop(dropped)
        return len(dropped)


def needs_salted_ids(settings: DatasetSettings, follows: Dataset | None) -> bool:
    """Return whether new faces need ids that the dataset that is followed cannot have given."""
    if follows is None:
        return False
    return follows.settings.salted_ids or follows.settings.detection != settings.detection


def _to_retry(options: EmbedOptions, before: Dataset | None) -> set[RejectReason]:
    """Return the reasons of rejected photos that a run tries again."""
    if options.retry_rejected:
        return set(RejectReason)
    limits_changed = before is not None and before.limits != options.limits
    return {*TRANSIENT_REASONS, *(LIMIT_REASONS if limits_changed else ())}


def _with_taken(metadata: pa.Schema, before: Dataset | None) -> pa.Schema:
    """Return metadata columns with `taken`, which every dataset has: photos say it themselves.

    Args:
        metadata: the columns of the photo lists.
        before: the dataset as it was; None: it is new. If it has the column, its type counts.
    """
    if TAKEN in metadata.names or (before is not None and TAKEN in before.metadata.names):
        return metadata
    return metadata.append(pa.field(TAKEN, pa.timestamp("us")))
