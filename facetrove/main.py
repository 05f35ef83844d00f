"""`facetrove`: embed photos, build an index, search faces."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from faces.errors import FaceTroveError, WrongUsageError

EXIT_FAILED, EXIT_WRONG_USAGE = 1, 2

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, for machines."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="facetrove", message="%(prog)s %(version)s")
def cli() -> None:
    """Find faces in a photo collection.

    \b
    1. facetrove embed ~/Pictures faces.dataset   read the photos, find and embed the faces
    2. facetrove index faces.dataset faces.index  build the index
    3. facetrove search faces.index me.jpg        find the faces most like those in a photo
    """


@cli.command(short_help="Find and embed the faces of photos.")
@click.argument("photos_and_dataset", nargs=-1, metavar="PHOTOS... DATASET [-- RUNNER_OPTIONS]")
@click.option("--detector", help="Model that finds faces.  [default: the dataset's, or yunet]")
@click.option(
    "--embedder",
    help="Model that embeds them: sface-int8, or sface, in float arithmetic at half the speed.  "
    "[default: the dataset's, or sface-int8]",
)
@click.option(
    "--min-face",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Leave out smaller faces, and search large photos finely enough for faces of this size.  "
    "[default: search for 48, keep smaller ones found]",
)
@click.option(
    "--max-faces",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Keep the largest faces of a photo only.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    help="Leave out faces that the detector is less sure of.  [default: 0.7]",
)
@click.option(
    "--min-sharpness",
    type=click.FloatRange(min=0),
    help="Leave out blurred faces (see docs/embed.md).",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Reject larger photos.  [default: 150000000]",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Reject larger files.  [default: 500000000]",
)
@click.option(
    "--max-memory",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Reject photos that take more to decode, in a worker.  [default: 750000000]",
)
@click.option("--retry-rejected", is_flag=True, help="Try all rejected photos again.")
@click.option(
    "--drop-vanished",
    is_flag=True,
    help="Drop the faces of photos that are no longer where they were.",
)
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes on this machine.  [default: one per core]",
)
@json_option
def embed(
    photos_and_dataset: tuple[str, ...],
    detector: str | None,
    embedder: str | None,
    min_face: int | None,
    max_faces: int | None,
    min_score: float | None,
    min_sharpness: float | None,
    max_pixels: int | None,
    max_bytes: int | None,
    max_memory: int | None,
    retry_rejected: bool,
    drop_vanished: bool,
    dry_run: bool,
    workers: int | None,
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

    RUNNER_OPTIONS, after `--` and written --name=value, go to Apache Beam: another runner and its
    settings.

    \b
    Examples:
      facetrove embed ~/Pictures faces.dataset
      facetrove embed scans.tar people.csv faces.dataset --min-face 80
      facetrove embed /archive faces.dataset -- --runner=FlinkRunner --flink_master=host:8081
    """
    sources = [name for name in photos_and_dataset if not name.startswith("--")]
    runner_options = [name for name in photos_and_dataset if name.startswith("--")]
    if len(sources) < 2:
        raise click.UsageError("name the photos and, last, the dataset")
    *photos, dataset = sources
    from facetrove.report import (
        embed_progress,
        quiet_libraries,
        show_embed_summary,
        show_photos_found,
    )

    quiet_libraries()
    from beam_jobs.embed_photos import EmbedOptions, embed_photos, plan_embedding
    from faces.images import PhotoLimits
    from faces.models import ModelChoice
    from faces.pipeline import FaceSelection

    asked = (min_face, max_faces, min_score, min_sharpness)
    selection = FaceSelection(min_face, max_faces, min_score, min_sharpness or 0.0)
    options = EmbedOptions(
        selection=None if all(value is None for value in asked) else selection,
        limits=PhotoLimits(
            max_bytes or PhotoLimits.max_bytes,
            max_pixels or PhotoLimits.max_pixels,
            max_memory or PhotoLimits.max_memory,
        ),
        retry_rejected=retry_rejected,
        drop_vanished=drop_vanished,
    )
    if dry_run:
        found = plan_embedding(photos, Path(dataset), options=options)
        show_photos_found(found, as_json=as_json)
        return
    models = None
    if detector or embedder:
        models = ModelChoice(detector or ModelChoice.detector, embedder or ModelChoice.embedder)
    with embed_progress() as on_progress:
        summary = embed_photos(
            photos,
            Path(dataset),
            models=models,
            options=options,
            workers=workers,
            runner_args=runner_options,
            on_progress=on_progress,
        )
    show_embed_summary(summary, Path(dataset), as_json=as_json)


@cli.command(short_help="Say what is in a dataset.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--rejected", is_flag=True, help="List the rejected photos with their reasons.")
@json_option
def info(dataset: Path, rejected: bool, as_json: bool) -> None:
    """Say what is in DATASET: photos, faces, rejects, what made it, and its last run.

    \b
    Example:
      facetrove info faces.dataset --rejected
    """
    from faces.dataset import Dataset
    from facetrove.report import show_dataset, show_rejected

    opened = Dataset.open(dataset)
    if rejected:
        show_rejected(opened, as_json=as_json)
    else:
        show_dataset(opened, as_json=as_json)


@cli.command(short_help="Build the index of a dataset.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    default="auto",
    show_default=True,
    help="exact (compares with every face), ivf (looks only where it is promising; for many "
    "faces), or auto.",
)
@json_option
def index(dataset: Path, index: Path, recipe: str, as_json: bool) -> None:
    """Build the index INDEX of the faces in DATASET, or bring it up to date.

    Searches may go on meanwhile: they see the old version until the new one is whole.

    \b
    Example:
      facetrove index faces.dataset faces.index
    """
    from facetrove.report import show_manifest, step_progress
    from indexer.build import build_index

    with step_progress() as on_progress:
        manifest = build_index(dataset, index, recipe=recipe, on_progress=on_progress)
    show_manifest(manifest, index, as_json=as_json)


@cli.command(short_help="Find the faces most like those in a photo.")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path))
@click.option(
    "-k", type=int, help="Matches per face in PHOTO.  [default: 10, or all of a smaller index]"
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Also draw the faces and their matches into this picture (.jpg, .png, .webp).",
)
@json_option
def search(index: Path, photo: Path, k: int | None, sheet: Path | None, as_json: bool) -> None:
    """Find the faces in INDEX most like each face in PHOTO.

    \b
    Example:
      facetrove search faces.index me.jpg -k 5 --sheet matches.jpg
    """
    from faces.photos import open_photo
    from facetrove.report import show_probes
    from search.contact_sheet import require_picture_name, write_contact_sheet
    from search.searcher import FaceSearcher

    if sheet is not None:
        require_picture_name(sheet)
    searcher = FaceSearcher.open(index)
    image = open_photo(photo, searcher.pipeline.detector.reduction_for)
    probes = searcher.search(image, k)
    if not probes:
        raise FaceTroveError(
            f"no face was found in {photo}; try a photo where the face is larger or turned more "
            "towards the camera"
        )
    show_probes(probes, photo, as_json=as_json)
    if sheet is not None:
        write_contact_sheet(sheet, image, probes)
        if not as_json:
            click.echo(f"contact sheet: {sheet}")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage."""
    try:
        cli.main(prog_name="facetrove", standalone_mode=False)
    except click.exceptions.Abort:
        kept = "; finished work is kept, run the same command again to continue"
        _fail("stopped" + (kept if sys.argv[1:2] == ["embed"] else ""), 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except WrongUsageError as error:
        _fail(str(error), EXIT_WRONG_USAGE)
    except FaceTroveError as error:
        _fail(str(error), EXIT_FAILED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except MemoryError:
        _fail(
            "there is not enough memory; close other programs, or use fewer --workers", EXIT_FAILED
        )
    except OSError as error:  # a full disk, no permission: the message names the file
        _fail(str(error), EXIT_FAILED)


def _fail(message: str, exit_code: int) -> None:
    from facetrove.report import printable

    click.echo(f"facetrove: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(exit_code)
