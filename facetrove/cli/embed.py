"""`facetrove embed`: find and embed the faces of photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

import facetrove as ft
from beam_jobs.options import EmbedOptions, default_models, sole_dataset
from faces.core.settings import FaceSelection, ModelDevice, PhotoLimits, Precision
from faces.models.choice import ModelChoice
from facetrove.cli.embed_text import show_embed_summary, show_photos_found
from facetrove.cli.options import gathered, json_option, model_device_option, workers_option
from facetrove.cli.terminal import embed_progress


@dataclass(frozen=True)
class ModelOptions:
    """The models that the command names; None: as the dataset's, or the built-in ones."""

    detector: str | None
    embedder: str | None
    alignment: str | None
    device: ModelDevice
    precision: Precision

    def applied_to(self, models: ModelChoice) -> ModelChoice:
        """A copy of `models` with every option that is given."""
        changed = models.with_changes(
            detector=self.detector, embedder=self.embedder, alignment=self.alignment
        )
        return replace(changed, device=self.device, precision=self.precision)


model_options = gathered(
    "models",
    ModelOptions,
    click.option(
        "--detector",
        help="Model that finds faces (see `facetrove models`).  [default: the dataset's, or yunet]",
    ),
    click.option(
        "--embedder",
        help="Model that embeds them, by its name, or a file MODEL.toml that describes your own "
        "(see docs/models.md).  [default: the dataset's, or sface-int8]",
    ),
    click.option(
        "--alignment",
        type=click.Choice(["five-point", "deepface", "face_recognition"]),
        help="How faces are cut out: by landmarks on the model's template, or as these programs "
        "do.  [default: as the model was trained]",
    ),
    model_device_option,
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16"]),
        default="fp32",
        show_default=True,
        help="Of the arithmetic on cards and Apple's chips.",
    ),
)


def _selection(
    min_face: int | None,
    max_faces: int | None,
    min_score: float | None,
    min_sharpness: float | None,
) -> FaceSelection | None:
    """The faces to keep; None if no option says so."""
    given = (min_face, max_faces, min_score, min_sharpness)
    if all(value is None for value in given):
        return None
    return FaceSelection(min_face, max_faces, min_score, min_sharpness or 0.0)


selection_options = gathered(
    "selection",
    _selection,
    click.option(
        "--min-face",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        help="Leave out smaller faces, and search large photos finely enough for faces of this "
        "size.  [default: search for 48, keep smaller ones found]",
    ),
    click.option(
        "--max-faces",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Keep the largest faces of a photo only.",
    ),
    click.option(
        "--min-score",
        type=click.FloatRange(0, 1),
        help="Leave out faces that the detector is less sure of.  [default: 0.7]",
    ),
    click.option(
        "--min-sharpness",
        type=click.FloatRange(min=0),
        help="Leave out blurred faces (see docs/embed.md).",
    ),
)


def _limits(max_pixels: int | None, max_bytes: int | None, max_memory: int | None) -> PhotoLimits:
    """The limits of the photos tried."""
    return PhotoLimits(
        max_bytes or PhotoLimits.max_bytes,
        max_pixels or PhotoLimits.max_pixels,
        max_memory or PhotoLimits.max_memory,
    )


limit_options = gathered(
    "limits",
    _limits,
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Reject larger photos.  [default: 150000000]",
    ),
    click.option(
        "--max-bytes",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="Reject larger files.  [default: 500000000]",
    ),
    click.option(
        "--max-memory",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="Reject photos that take more to decode, in a worker.  [default: 750000000]",
    ),
)

run_options = gathered(
    "options",
    EmbedOptions,
    selection_options,
    limit_options,
    click.option("--retry-rejected", is_flag=True, help="Try all rejected photos again."),
    click.option(
        "--drop-vanished",
        is_flag=True,
        help="Drop the faces of photos that are no longer where they were.",
    ),
)


@click.command()
@click.argument("photos_and_dataset", nargs=-1, metavar="PHOTOS... DATASET [-- RUNNER_OPTIONS]")
@model_options
@run_options
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@workers_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Cores that each worker uses.  [default: its share of them]",
)
@json_option
def embed(
    photos_and_dataset: tuple[str, ...],
    models: ModelOptions,
    options: EmbedOptions,
    dry_run: bool,
    workers: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Find and embed every face in PHOTOS; keep them in the folder DATASET.

    PHOTOS are folders, photos, archives (.tar, .zip), photo lists (.txt, .csv, .parquet), patterns
    in quotes ("scans/*/*.tif") or addresses of object stores (s3://bucket/folder). Folders are
    searched recursively; names that start with a dot and links to folders are passed over. A
    list names a photo in each line, or in its column `uri` or `path`; its other columns go with
    the photos into the dataset.

    Run it again at any time: it continues where it was stopped, takes new and changed photos
    and passes over those it has done. Photos that cannot be read are counted with the reason and
    do not stop the job.

    If PHOTOS is a dataset, its faces are embedded again, with another EMBEDDER, without being
    looked for again.

    RUNNER_OPTIONS, after `--` and written --name=value, go to Apache Beam: another runner and its
    settings.

    \b
    Examples:
      facetrove embed ~/Pictures faces.dataset
      facetrove embed scans.tar people.csv faces.dataset --min-face 80
      facetrove embed faces.dataset arcface.dataset --embedder deepface:ArcFace
      facetrove embed /archive faces.dataset -- --runner=FlinkRunner --flink_master=host:8081
    """
    photos, dataset, runner_options = _split(photos_and_dataset)
    source = sole_dataset(photos)
    if source is None:
        plan, start = partial(ft.plan_embedding, photos), partial(ft.embed_photos, photos)
    else:
        plan, start = partial(ft.plan_reembedding, source), partial(ft.reembed, source)
    if dry_run:
        show_photos_found(plan(dataset, options=options), as_json=as_json)
        return
    chosen = default_models(dataset, source=source)
    with embed_progress() as on_progress:
        summary = start(
            dataset,
            models=models.applied_to(chosen),
            options=options,
            workers=workers,
            threads=threads,
            runner_args=runner_options,
            on_progress=on_progress,
        )
    show_embed_summary(summary, dataset, as_json=as_json)


def _split(words: tuple[str, ...]) -> tuple[list[str], Path, list[str]]:
    """The photos, the dataset and the runner's options among the command's words."""
    named = [word for word in words if not word.startswith("--")]
    runner_options = [word for word in words if word.startswith("--")]
    if len(named) < 2:
        raise click.UsageError("name the photos and, last, the dataset")
    *photos, dataset = named
    return photos, Path(dataset), runner_options
