"""`facetrove embed`: find and embed the faces of photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

import facetrove as ft
from beam_jobs.options import EmbedOptions, default_models, sole_dataset
from faces.core.errors import WrongUsageError
from faces.core.settings import FaceSelection, ModelDevice, Precision
from faces.models.choice import ALIGNMENTS, MODELS_OF_QUALITY, ModelChoice, Quality
from facetrove.cli.embed_text import show_embed_summary, show_photos_found
from facetrove.cli.limit_options import access_options, limit_options, source_limit_options
from facetrove.cli.options import (
    gathered,
    json_option,
    model_device_option,
    renamed_columns,
    workers_option,
)
from facetrove.cli.prepared_workers import prepared_workers
from facetrove.cli.terminal import embed_progress


@dataclass(frozen=True)
class ModelOptions:
    """The models that the command's options name.

    Attributes:
        quality: which of the built-in models; None: `detector` and `embedder` say it.
        detector: name of the detector; None: the dataset's, or the built-in one.
        embedder: name or TOML file of the embedder; None: the dataset's, or the built-in one.
        alignment: name of the alignment; None: the dataset's, or the embedder's default.
        device: device that runs the models.
        precision: floating-point precision of the models.
    """

    quality: Quality | None
    detector: str | None
    embedder: str | None
    alignment: str | None
    device: ModelDevice
    precision: Precision

    def applied_to(self, models: ModelChoice) -> ModelChoice:
        """Return a copy of `models` with every option applied that is not None.

        Raises:
            WrongUsageError: a quality is given beside a detector or an embedder.
        """
        detector, embedder = self.detector, self.embedder
        if self.quality is not None:
            if detector is not None or embedder is not None:
                raise WrongUsageError(
                    "--quality chooses the detector and the embedder; leave it out, or leave out "
                    "--detector and --embedder"
                )
            detector, embedder = MODELS_OF_QUALITY[self.quality]
        changed = models.with_changes(
            detector=detector, embedder=embedder, alignment=self.alignment
        )
        return replace(changed, device=self.device, precision=self.precision)


model_options = gathered(
    "models",
    ModelOptions,
    click.option(
        "--quality",
        type=click.Choice(list(MODELS_OF_QUALITY)),
        help="Which built-in models find and embed faces: `best` misses a fifth fewer people, and "
        "takes about twice the time.  [default: the dataset's, or standard]",
    ),
    click.option(
        "--detector",
        help="Model that detects faces: a name that `facetrove models` lists.  [default: the "
        "dataset's, or yunet]",
    ),
    click.option(
        "--embedder",
        help="Model that embeds faces: a name that `facetrove models` lists, or a file MODEL.toml "
        "that describes a custom model (see docs/models.md).  [default: the dataset's, or "
        "sface-int8]",
    ),
    click.option(
        "--alignment",
        type=click.Choice(ALIGNMENTS),
        help="How a face is warped to the embedder's input: by five landmarks, or as deepface, "
        "face_recognition, FaceNet or OpenFace does it.  [default: the dataset's, or the one with "
        "which the embedder's accuracy was published]",
    ),
    model_device_option,
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16"]),
        default="fp32",
        show_default=True,
        help="Floating-point precision on GPUs and Apple silicon.",
    ),
)


def _selection(
    min_face: int | None,
    max_faces: int | None,
    min_score: float | None,
    min_sharpness: float | None,
) -> FaceSelection | None:
    """Return the limits on the faces to keep; None if no option gives one."""
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
        help="Leave out faces whose box has a shorter side, and search large photos finely enough "
        "for faces of this size.  [default: search for 48, and keep smaller faces that are found]",
    ),
    click.option(
        "--max-faces",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Keep at most this many faces of a photo, the largest.  [default: all]",
    ),
    click.option(
        "--min-score",
        type=click.FloatRange(0, 1),
        help="Leave out faces with a lower detection score.  [default: the detector's, 0.7 for "
        "yunet]",
    ),
    click.option(
        "--min-sharpness",
        type=click.FloatRange(min=0),
        help="Leave out faces with a lower sharpness, from 0 to 1 (see docs/embed.md).  "
        "[default: 0]",
    ),
)


run_options = gathered(
    "options",
    EmbedOptions,
    selection_options,
    limit_options,
    source_limit_options,
    access_options,
    click.option(
        "--retry-rejected",
        is_flag=True,
        help="Try every rejected photo again, not only those that could not be read.",
    ),
    click.option(
        "--drop-vanished",
        is_flag=True,
        help="Remove photos from the dataset that no longer exist or are excluded, with their "
        "faces.",
    ),
    click.option(
        "--drop-below",
        multiple=True,
        metavar="FOLDER",
        hidden=True,  # an earlier name of `facetrove drop --below`, which goes on working
        help="Also do what `facetrove drop DATASET --below FOLDER` does in FOLDER, without asking.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out files and folders by name, such as '*_small.jpg', or by path, such as "
        "'2019/raw'; * stands for any characters. Thumbnails and bins of NAS systems and photo "
        "programs are left out anyway (see docs/embed.md). May be given several times.",
    ),
    click.option(
        "--rename",
        multiple=True,
        metavar="OLD=NEW",
        callback=renamed_columns,
        help="Store column OLD of the photo lists as column NEW. May be given several times.",
    ),
    click.option(
        "--complete-lists",
        is_flag=True,
        help="Take the photo lists for complete: photos that a folder has and no list names lose "
        "their values in the columns of the lists, as where a row was removed.",
    ),
    click.option(
        "--date-order",
        type=click.Choice(["day", "month"]),
        help="What dates in photo lists such as 03/04/1996 begin with. It counts for columns in "
        "which no day is above 12; without it, these stay text.",
    ),
    click.option(
        "--deletions-of",
        type=click.Path(path_type=Path),
        metavar="DATASET",
        help="Keep away the faces that were deleted from this other dataset, too, which may be of "
        "other models. Faces that it has keep their face_ids.",
    ),
)


@click.command()
@click.argument("photos_and_dataset", nargs=-1, metavar="PHOTOS... DATASET [-- RUNNER_OPTIONS]")
@model_options
@run_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only print how many photos are new, changed or vanished; embed nothing.",
)
@workers_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads per worker process.  [default: an equal share of the cores]",
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
    """Find and embed every face in PHOTOS, and write them to the dataset folder DATASET.

    PHOTOS are folders, photos, archives (.tar, .zip), photo lists (.txt, .csv, .parquet), patterns
    in quotes ("scans/*/*.tif") or URLs of object stores (s3://bucket/folder). Folders are searched
    recursively, except for names that start with a dot and links to folders. A photo list has a
    photo in each line, or in its column `uri` or `path`; its other columns are stored in the
    dataset as metadata of the photos.

    Run the command again at any time: it continues where it was stopped, embeds new and changed
    photos, and skips those already in the dataset. A photo that cannot be read does not stop the
    job; it is recorded as rejected, with the reason. Options that limit the faces to keep, such as
    --min-face, belong to the dataset: later runs use the same limits.

    If PHOTOS is another dataset, its faces are embedded again with the model of --embedder. They
    are not detected again, unless --detector, or an option that limits the faces to keep, differs
    from the dataset's: then its photos are searched anew, and faces that are found again keep their
    face_ids. Columns and deletions are kept in both cases.

    RUNNER_OPTIONS, written --name=value after `--`, go to Apache Beam, to choose its runner.

    \b
    Examples:
      facetrove embed ~/Pictures faces.dataset
      facetrove embed scans.tar people.csv faces.dataset --min-face 80
      facetrove embed faces.dataset arcface.dataset --embedder deepface:ArcFace
      facetrove embed faces.dataset more.dataset --min-score 0.5
      facetrove embed /archive faces.dataset -- --runner=FlinkRunner --flink_master=host:8081
    """
    photos, dataset, runner_options = _split(photos_and_dataset)
    source = sole_dataset(photos)
    if dry_run:
        found = (
            ft.plan_embedding(photos, dataset, options=options)
            if source is None
            else ft.plan_reembedding(source, dataset, options=options)
        )
        show_photos_found(found, dataset, as_json=as_json)
        return
    chosen = default_models(dataset, source=source)
    with prepared_workers(runner_options), embed_progress() as on_progress:
        start = partial(ft.embed_photos, photos) if source is None else partial(ft.reembed, source)
        summary = start(
            dataset,
            models=models.applied_to(chosen),
            options=options,
            workers=workers,
            threads=threads,
            runner_args=runner_options,
            on_progress=on_progress,
        )
    show_embed_summary(summary, dataset, source=source, as_json=as_json)


def _split(words: tuple[str, ...]) -> tuple[list[str], Path, list[str]]:
    """Split the command's arguments into photos, dataset and runner options.

    Raises:
        click.UsageError: there are fewer than two names.
    """
    named = [word for word in words if not word.startswith("--")]
    runner_options = [word for word in words if word.startswith("--")]
    if len(named) < 2:
        raise click.UsageError("give the photos first and the dataset last")
    *photos, dataset = named
    return photos, Path(dataset), runner_options
