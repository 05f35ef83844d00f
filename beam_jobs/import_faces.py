"""Take over faces and embeddings that another program computed, into a dataset."""

from __future__ import annotations

from pathlib import Path

from beam_jobs.job import EmbedJob
from beam_jobs.options import EmbedOptions
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.importers import read_store, require_agreement
from faces.dataset.writing import require_place
from faces.models.registry import load_pipeline


def import_faces(
    store: str | Path,
    dataset: str | Path,
    *,
    base: str | Path = Path(),
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Take over the faces and embeddings that deepface or face_recognition computed.

    The photos are read, for what else a dataset says of faces, and not embedded.

    Args:
        store: file that the other program wrote: see `faces.dataset.importers`.
        dataset: folder made or continued.
        base: folder that relative names of photos start from.
        workers: processes on this machine; one per core by default.
        on_progress: called now and then from another thread.

    Returns:
        What the run found and did.

    Raises:
        WrongUsageError: `store` is no such file, or `dataset` is something else.
        ContractMismatchError: the model here makes other embeddings of the same photos.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; what was committed stays.
    """
    require_place(dataset)
    stored = read_store(store, base)
    listing = stored.listing()
    pipeline = load_pipeline(stored.models, threads=1)
    require_agreement(stored, listing, pipeline)
    job = EmbedJob(
        absolute(dataset),
        stored.models,
        pipeline,
        EmbedOptions(),
        Workers.chosen(workers),
    )
    return job.run(listing, source=stored, on_progress=on_progress)
