"""`facetrove import`: import embeddings that deepface or face_recognition computed."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from facetrove.cli.embed_text import show_embed_summary
from facetrove.cli.options import json_option, workers_option
from facetrove.cli.prepared_workers import prepared_workers
from facetrove.cli.terminal import embed_progress


@click.command("import")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Folder that relative paths of photos in STORE start from.  [default: the current folder]",
)
@workers_option
@json_option
def import_store(
    store: Path, dataset: Path, base: Path, workers: int | None, as_json: bool
) -> None:
    """Import the faces and embeddings in the file STORE into the dataset folder DATASET.

    STORE is a datastore of deepface (ds_model_....npz, .feather or .parquet), or a list of
    face_recognition encodings (.json, .parquet or .npz with path, encoding and location). The
    photos are read again, and some faces are embedded again to check that the model here gives the
    same embeddings. Pickle files are refused, because reading one runs code; docs/models.md says
    how to convert them.

    \b
    Example:
      facetrove import photos/ds_model_facenet_detector_dlib_...expand_0.npz faces.dataset
    """
    with prepared_workers(), embed_progress() as on_progress:
        summary = ft.import_faces(
            store, dataset, base=base, workers=workers, on_progress=on_progress
        )
    show_embed_summary(summary, dataset, as_json=as_json)
