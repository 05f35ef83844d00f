"""The re-embed job: the faces of a dataset to another dataset, by another embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from beam_jobs.job import EmbedJob, plan_run
from beam_jobs.options import EmbedOptions, default_models
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary, PhotosFound
from faces.core.errors import WrongUsageError
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.reembedding import DatasetFaces, list_dataset, require_same_detector
from faces.dataset.store import Dataset
from faces.dataset.writing import require_dataset_path
from faces.models.choice import ModelChoice


def plan_reembedding(
    source: str | Path, dataset: str | Path, *, options: EmbedOptions = EmbedOptions()
) -> PhotosFound:
    """Count what `reembed` would do, without writing anything.

    Args:
        source: folder of the dataset that has the faces.
        dataset: folder of the dataset to write, which may not exist yet.
        options: options of `reembed`.

    Returns:
        Numbers of the source's photos, compared with the dataset.

    Raises:
        WrongUsageError: there is no dataset at `source`, or `dataset` is something else.
        CorruptFileError: a file of a dataset cannot be read.
    """
    _require_no_listing_options(options)
    require_dataset_path(dataset)
    return plan_run(list_dataset(Dataset.open(absolute(source))), Path(dataset), options)


def reembed(
    source: str | Path,
    dataset: str | Path,
    *,
    models: ModelChoice | None = None,
    options: EmbedOptions = EmbedOptions(),
    workers: int | None = None,
    threads: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Embed the faces of a dataset with another embedder, without detecting them again.

    Faces keep their face_ids, boxes and landmarks. In photos that changed since, faces are detected
    anew. Faces that were deleted from the source are deleted from the dataset too; those deleted
    later are at the next call.

    Args:
        source: folder of the dataset that has the faces.
        dataset: folder of the dataset to write, which is created or continued.
        models: the source's detector and an embedder; None: the models of the dataset, or the
            source's detector and the default embedder.
        options: options of the job; the selection is the source's.
        workers: number of worker processes on this machine; None: one per core.
        threads: number of processor cores that each worker uses; None: an equal share of this
            machine's cores, or 1 on another Beam runner.
        runner_args: command-line flags of Apache Beam, which may name another Beam runner.
        on_progress: called from another thread about twice a second.

    Returns:
        The summary of the run.

    Raises:
        WrongUsageError: there is no dataset at `source`, there is no such model or Beam flag,
            `dataset` is something else, a selection is given that is not the source's, or
            `options.deletions_of` is given.
        ContractMismatchError: the dataset was made by another model, or the source's faces were
            found by another detector.
        ModelUnavailableError: the weights of a model cannot be had.
        CorruptFileError: a file of a dataset cannot be read.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; committed parts are kept.
    """
    _require_no_listing_options(options)
    dataset = absolute(dataset)
    opened = Dataset.open(absolute(source))
    if opened.path.resolve() == dataset.resolve():
        raise WrongUsageError(f"{dataset} cannot be embedded into itself; name a new dataset last")
    if options.deletions_of is not None:
        raise WrongUsageError(
            f"the deletions of {opened.path} are followed without being asked; leave "
            "--deletions-of out, or name the photos instead of the dataset"
        )
    if options.selection is not None:
        opened.require_selection(options.selection)
    job = EmbedJob.prepare(
        dataset,
        models or default_models(dataset, source=opened.path),
        replace(options, selection=opened.selection),
        Workers.chosen(workers, threads, runner_args),
    )
    require_same_detector(opened, job.pipeline.contract)
    return job.run(
        list_dataset(opened),
        source=DatasetFaces(opened),
        deletions_of=opened,
        on_progress=on_progress,
    )


def _require_no_listing_options(options: EmbedOptions) -> None:
    if options.rename:
        raise WrongUsageError(
            "--rename gives other names to columns of photo lists, and a dataset is embedded again "
            "with the columns that it has; leave --rename out"
        )
    if options.exclude:
        raise WrongUsageError(
            "--exclude leaves out files of folders, and a dataset is embedded again as it is; "
            "leave --exclude out"
        )
