"""Embed the faces of a dataset again, by another embedder: they are not looked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from beam_jobs.job import EmbedJob, plan_run
from beam_jobs.options import EmbedOptions, default_models
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary, PhotosFound
from faces.core.errors import WrongUsageError
from faces.core.kinds import is_dataset
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.reembedding import DatasetFaces, list_dataset, require_same_detector
from faces.dataset.rewrite import follow_deletions
from faces.dataset.store import Dataset
from faces.dataset.writing import require_place
from faces.models.choice import ModelChoice


def plan_reembedding(
    source: str | Path, dataset: str | Path, *, options: EmbedOptions = EmbedOptions()
) -> PhotosFound:
    """Say what `reembed` would do, and touch nothing.

    Args:
        source: as of `reembed`.
        dataset: as of `reembed`.
        options: as of `reembed`.

    Returns:
        The photos of the source, compared with the dataset.

    Raises:
        WrongUsageError: there is no dataset `source`, or `dataset` is something else.
    """
    require_place(dataset)
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
    """Embed every face of a dataset that another dataset does not hold yet.

    Faces keep their ids, boxes and landmarks. Photos that changed since are searched anew. What was
    deleted from the source is, or will be, deleted from the dataset too.

    Args:
        source: folder of the dataset that has the faces.
        dataset: folder made or continued.
        models: the source's detector and an embedder; by default those of the dataset, or the
            built-in embedder.
        options: what to take and what to leave; the selection is the source's.
        workers: processes on this machine; one per core by default.
        threads: processor cores that each worker uses; all of this machine's are shared out by
            default.
        runner_args: Beam's own flags, for another runner than the local one.
        on_progress: called now and then from another thread.

    Returns:
        What the run found and did.

    Raises:
        WrongUsageError: there is no dataset `source`, or `dataset` is something else.
        ContractMismatchError: the dataset was made by another model, or the source's faces by
            another detector.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; what was committed stays.
    """
    dataset = absolute(dataset)
    opened = Dataset.open(absolute(source))
    if opened.path.resolve() == dataset.resolve():
        raise WrongUsageError(f"{dataset} cannot be embedded into itself; name a new dataset last")
    if options.selection is not None:
        opened.require_selection(options.selection)
    job = EmbedJob.prepare(
        dataset,
        models or default_models(dataset, source=opened.path),
        replace(options, selection=opened.selection),
        Workers.chosen(workers, threads, runner_args),
    )
    require_same_detector(opened, job.pipeline.contract)
    if is_dataset(dataset):
        follow_deletions(Dataset.open(dataset), opened.path)
    return job.run(
        list_dataset(opened),
        source=DatasetFaces(opened),
        withheld_of=opened,
        on_progress=on_progress,
    )
