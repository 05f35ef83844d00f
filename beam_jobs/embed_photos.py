"""The embed job: photos to a dataset, on any Beam runner.

python -m beam_jobs.embed_photos --photos ~/Pictures --dataset faces.dataset
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from beam_jobs.job import EmbedJob, plan_run
from beam_jobs.options import EmbedOptions, default_models, sole_dataset
from beam_jobs.reembed import reembed
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary, PhotosFound
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.kinds import is_dataset, is_index
from faces.core.named import absolute, each_named
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.writing import require_place
from faces.models.choice import ModelChoice
from faces.photos.listing import list_photos

Photos = str | Path | Sequence[str | Path]
"""Folders, photos, archives, photo lists, patterns or URLs; one of them, or several."""


def plan_embedding(
    photos: Photos, dataset: str | Path, *, options: EmbedOptions = EmbedOptions()
) -> PhotosFound:
    """Say what `embed_photos` would do, and touch nothing.

    Args:
        photos: as of `embed_photos`.
        dataset: as of `embed_photos`.
        options: as of `embed_photos`.

    Returns:
        The photos named, compared with the dataset.

    Raises:
        WrongUsageError: as `embed_photos` does.
    """
    require_place(dataset)
    return plan_run(list_photos(_named(photos)), Path(dataset), options)


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
    """Embed every photo that the dataset does not hold yet.

    Args:
        photos: folders, photos, archives, photo lists, patterns or URLs: see
            `faces.photos.listing.list_photos`.
        dataset: folder made or continued.
        models: detector and embedder; by default those of the dataset, or the built-in ones.
        options: what to take and what to leave.
        workers: processes on this machine; one per core by default.
        threads: processor cores that each worker uses; all of this machine's are shared out by
            default.
        runner_args: Beam's own flags, for another runner than the local one.
        on_progress: called now and then from another thread.

    Returns:
        What the run found and did.

    Raises:
        WrongUsageError: there are no such photos, or `dataset` is something else.
        ContractMismatchError: the dataset was made by another model.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; what was committed stays.
    """
    dataset = absolute(dataset)
    named = _named(photos)
    job = EmbedJob.prepare(
        dataset,
        models or default_models(dataset),
        options,
        Workers.chosen(workers, threads, runner_args),
    )
    return job.run(list_photos(named), on_progress=on_progress)


def _named(photos: Photos) -> Sequence[str | Path]:
    """Everything that was named as photos.

    Raises:
        WrongUsageError: it is, or has among it, a dataset or an index.
    """
    named = each_named(photos)
    for place in named:
        if is_index(place):
            raise WrongUsageError(f"{place} is an index; name the dataset it was built from")
    for place in named:
        if is_dataset(place):
            alone = "call facetrove.reembed"
            beside = "name it alone and the new dataset last"
            raise WrongUsageError(
                f"{place} is a dataset; to embed its faces again, "
                f"{alone if len(named) == 1 else beside}"
            )
    return named


def run(argv: Sequence[str] | None = None) -> EmbedSummary:
    """Run the job as a Beam program: its own flags below, all others go on to the runner."""
    parser = argparse.ArgumentParser(description="Embed the faces of photos.")
    parser.add_argument("--photos", nargs="+", required=True, help="folders, photos, lists...")
    parser.add_argument("--dataset", type=Path, required=True, help="folder made or continued")
    parser.add_argument("--workers", type=int, help="processes here; one per core by default")
    known, runner_args = parser.parse_known_args(argv)
    source = sole_dataset(known.photos)
    if source is not None:
        return reembed(source, known.dataset, workers=known.workers, runner_args=runner_args)
    return embed_photos(known.photos, known.dataset, workers=known.workers, runner_args=runner_args)


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(run()), indent=2))
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
