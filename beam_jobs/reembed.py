"""The re-embed job: the faces of a dataset to another dataset, by other models."""

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
from faces.dataset.header import DatasetSettings
from faces.dataset.reembedding import DatasetFaces, FaceSource, StoredFaces, list_dataset
from faces.dataset.store import Dataset
from faces.dataset.writing import require_dataset_path
from faces.models.choice import ModelChoice
from faces.models.heads import head_of


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


# Over 60 lines, of which two thirds say what it promises.
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
    """Embed the faces of a dataset with other models, into another dataset.

    If detector, preprocessing and selection are the source's, faces keep their face_ids, boxes and
    landmarks, and are not detected again, except in photos that changed since. Otherwise faces are
    detected anew in all photos, and each face that overlaps one of the source's by half keeps its
    face_id; other faces get new ones.

    A head (`faces.models.heads`) whose base made the source's embeddings is computed from these,
    and no photo is read; only photos whose faces the source has lost are.

    The photos keep their columns. Faces that were deleted from the source are deleted from the
    dataset too; those deleted later are at the next call. Faces that were let in again stay in. The
    people book is taken over, and followed until somebody decides something in the dataset itself.

    Args:
        source: folder of the dataset that has the faces.
        dataset: folder of the dataset to write, which is created or continued.
        models: detector and embedder; None: the models of the dataset, or the source's detector
            and the default embedder.
        options: options of the job; a selection of None is that of the dataset, or the source's.
        workers: number of worker processes on this machine; None: one per core.
        threads: number of processor cores that each worker uses; None: an equal share of this
            machine's cores, or 1 on another Beam runner.
        runner_args: command-line flags of Apache Beam, which may name another Beam runner.
        on_progress: called from another thread about twice a second.

    Returns:
        The summary of the run.

    Raises:
        WrongUsageError: there is no dataset at `source`, there is no such model or Beam flag,
            `dataset` is something else or has another selection, or `options.deletions_of` is
            given.
        ContractMismatchError: the dataset was made by another model.
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
    own = Dataset.open(dataset) if is_dataset(dataset) else opened
    selection = options.selection or own.selection
    job = EmbedJob.prepare(
        dataset,
        models or default_models(dataset, source=opened.path),
        replace(options, selection=selection),
        Workers.chosen(workers, threads, runner_args),
    )
    detection = DatasetSettings(job.pipeline.contract, selection).detection
    is_same = detection == opened.settings.detection
    source_faces: FaceSource | None = DatasetFaces(opened) if is_same else None
    head = head_of(job.pipeline)
    if is_same and head is not None and head.takes(opened.contract):
        source_faces = StoredFaces(opened)
    return job.run(
        list_dataset(opened),
        source=source_faces,
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
