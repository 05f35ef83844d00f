"""The embed job: photos to a dataset of face embeddings, on any Beam runner.

python -m beam_jobs.embed_photos --photos ~/Pictures --dataset faces.dataset
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from beam_jobs.job import EmbedJob, plan_run
from beam_jobs.options import EmbedOptions, default_models, sole_dataset
from beam_jobs.reembed import reembed
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary, PhotosFound
from faces.core.documents import json_text
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.kinds import is_dataset, is_index
from faces.core.named import absolute, as_list
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.store import Dataset
from faces.dataset.writing import require_dataset_path
from faces.models.choice import ModelChoice
from faces.photos.access import allowing_sources
from faces.photos.listed import PhotoListing
from faces.photos.listing import list_photos

Photos = str | Path | Sequence[str | Path]
"""One or several folders, photos, archives, photo lists, patterns or URLs."""


def plan_embedding(
    photos: Photos, dataset: str | Path, *, options: EmbedOptions = EmbedOptions()
) -> PhotosFound:
    """Count what `embed_photos` would do, without writing anything.

    Args:
        photos: photos of `embed_photos`.
        dataset: folder of the dataset, which may not exist yet.
        options: options of `embed_photos`.

    Returns:
        Numbers of the listed photos, compared with the dataset.

    Raises:
        WrongUsageError: there are no such photos, `dataset` is something else, or it has another
            selection.
        CorruptFileError: a file of the dataset cannot be read.
    """
    require_dataset_path(dataset)
    named = _named(photos)
    return plan_run(_listing(named, options, ignore_progress), Path(dataset), options)


def embed_photos(
    photos: Photos,
    dataset: str | Path,
    *,
    models: ModelChoice | None = None,
    options: EmbedOptions = EmbedOptions(),
    workers: int | None = None,
    threads: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Detect and embed the faces of all photos that are new or changed since the last run.

    Finished shards are committed, so a run that was stopped is continued by the same call.

    Args:
        photos: folders, photos, archives, photo lists, patterns or URLs: see
            `faces.photos.listing.list_photos`.
        dataset: folder of the dataset, which is created or continued.
        models: detector and embedder; None: those of the dataset, or the default models.
        options: options of the job.
        workers: number of worker processes on this machine; None: one per core.
        threads: number of processor cores that each worker uses; None: an equal share of this
            machine's cores, or 1 on another Beam runner.
        runner_args: command-line flags of Apache Beam, which may name another Beam runner.
        on_progress: called from another thread about twice a second.

    Returns:
        The summary of the run.

    Raises:
        WrongUsageError: there are no such photos, there is no such model or Beam flag, `dataset` is
            something else, or it has another selection, or there is no dataset at
            `options.deletions_of`.
        ContractMismatchError: the dataset was made by another model.
        ModelUnavailableError: the weights of a model cannot be had.
        CorruptFileError: a file of the dataset cannot be read.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; committed parts are kept.
    """
    dataset = absolute(dataset)
    named = _named(photos)
    options = replace(options, access=allowing_sources(options.access, named))
    job = EmbedJob.prepare(
        dataset,
        models or default_models(dataset),
        options,
        Workers.chosen(workers, threads, runner_args),
    )
    named_dataset = options.deletions_of
    deletions_of = None if named_dataset is None else Dataset.open(absolute(named_dataset))
    listing = _listing(named, options, on_progress)
    return job.run(listing, deletions_of=deletions_of, on_progress=on_progress)


def _listing(
    named: Sequence[str | Path], options: EmbedOptions, on_progress: OnProgress
) -> PhotoListing:
    listing = list_photos(
        named,
        options.rename,
        exclude=options.exclude,
        limits=options.source_limits,
        access=options.access,
        date_order=options.date_order,
        on_progress=on_progress,
    )
    return replace(listing, given=None) if options.complete_lists else listing


def _named(photos: Photos) -> Sequence[str | Path]:
    """Return all sources of photos that were named.

    Raises:
        WrongUsageError: one of them is a dataset or an index.
    """
    named = as_list(photos)
    for source in named:
        if is_index(source):
            raise WrongUsageError(f"{source} is an index; name the dataset it was built from")
    for source in named:
        if is_dataset(source):
            alone = "call facetrove.reembed"
            beside = "name it alone and the new dataset last"
            raise WrongUsageError(
                f"{source} is a dataset; to embed its faces again, "
                f"{alone if len(named) == 1 else beside}"
            )
    return named


def run(argv: Sequence[str] | None = None) -> EmbedSummary:
    """Run the job as a Beam program: flags that it does not have are passed to the Beam runner."""
    parser = argparse.ArgumentParser(description="Embed the faces of photos.")
    parser.add_argument("--photos", nargs="+", required=True, help="folders, photos, lists...")
    parser.add_argument("--dataset", type=Path, required=True, help="folder, created or continued")
    parser.add_argument(
        "--workers", type=int, help="worker processes on this machine; one per core by default"
    )
    args, runner_args = parser.parse_known_args(argv)
    source = sole_dataset(args.photos)
    if source is not None:
        return reembed(source, args.dataset, workers=args.workers, runner_args=runner_args)
    return embed_photos(args.photos, args.dataset, workers=args.workers, runner_args=runner_args)


if __name__ == "__main__":
    try:
        print(json_text(asdict(run())))
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
