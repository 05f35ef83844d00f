"""The import job: faces and embeddings that another program computed, to a dataset."""

from __future__ import annotations

from pathlib import Path

from beam_jobs.job import EmbedJob
from beam_jobs.options import EmbedOptions
from beam_jobs.runners.select import Workers
from beam_jobs.summary import EmbedSummary
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.agreement import require_agreement
from faces.dataset.importers import read_embeddings_file
from faces.dataset.writing import require_dataset_path
from faces.models.registry import load_pipeline


def import_faces(
    store: str | Path,
    dataset: str | Path,
    *,
    base: str | Path = Path(),
    workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> EmbedSummary:
    """Import the faces and embeddings that deepface or face_recognition computed into a dataset.

    The photos are read to measure the quality of the faces, but not embedded. Some are embedded to
    check that the model makes the same embeddings as the file has.

    Args:
        store: path of the file that the other program wrote: a datastore of deepface, or a list of
            face_recognition's encodings; see `faces.dataset.importers`.
        dataset: folder of the dataset, which is created or continued.
        base: folder that relative paths of photos in the file start from.
        workers: number of worker processes on this machine; None: one per core.
        on_progress: called from another thread about twice a second.

    Returns:
        The summary of the run.

    Raises:
        WrongUsageError: `store` is no such file, its photos are missing, or `dataset` is something
            else.
        ContractMismatchError: the model makes other embeddings of the same faces, or the dataset
            was made by another model.
        ModelUnavailableError: the weights of a model cannot be had.
        BusyError: another process is writing the dataset.
        FaceTroveError: the job failed; committed parts are kept.
    """
    require_dataset_path(dataset)
    imported = read_embeddings_file(store, base)
    listing = imported.listing()
    pipeline = load_pipeline(imported.models, threads=1)
    require_agreement(imported, listing, pipeline)
    job = EmbedJob(
        absolute(dataset),
        imported.models,
        pipeline,
        EmbedOptions(),
        Workers.chosen(workers),
    )
    return job.run(listing, source=imported, on_progress=on_progress)
