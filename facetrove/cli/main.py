"""`facetrove`: embed photos, build an index, search faces."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.kinds import is_index
from facetrove.cli.evaluate import calibrate, evaluate
from facetrove.cli.options import Size, device_option, json_option, workers_option

if TYPE_CHECKING:
    from faces.core.settings import Device, ModelDevice, Precision
    from indexer.options import GivenOptions, RecallOf
    from search.searcher import Asking, OnePer

EXIT_FAILED, EXIT_WRONG_USAGE = 1, 2


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
@click.option(
    "--detector",
    help="Model that finds faces (see `facetrove models`).  [default: the dataset's, or yunet]",
)
@click.option(
    "--embedder",
    help="Model that embeds them, by its name, or a file MODEL.toml that describes your own (see "
    "docs/models.md).  [default: the dataset's, or sface-int8]",
)
@click.option(
    "--alignment",
    type=click.Choice(["five-point", "deepface", "face_recognition"]),
    help="How faces are cut out: by landmarks on the model's template, or as these programs do.  "
    "[default: as the model was trained]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "coreml", "openvino"]),
    default="auto",
    show_default=True,
    help="Where the models run; auto: on an NVIDIA card where ONNX Runtime sees one.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the arithmetic on cards and Apple's chips.",
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
@workers_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Cores that each worker uses.  [default: its share of them]",
)
@json_option
def embed(
    photos_and_dataset: tuple[str, ...],
    detector: str | None,
    embedder: str | None,
    alignment: str | None,
    device: ModelDevice,
    precision: Precision,
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
    sources = [name for name in photos_and_dataset if not name.startswith("--")]
    runner_options = [name for name in photos_and_dataset if name.startswith("--")]
    if len(sources) < 2:
        raise click.UsageError("name the photos and, last, the dataset")
    *photos, dataset = sources
    from facetrove.cli.report import (
        embed_progress,
        quiet_libraries,
        show_embed_summary,
        show_photos_found,
    )

    quiet_libraries()
    from beam_jobs.embed_photos import EmbedOptions, default_models, embed_photos, plan_embedding
    from faces.core.settings import FaceSelection, PhotoLimits

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
    models = default_models(photos, Path(dataset)).with_changes(
        detector=detector, embedder=embedder, alignment=alignment
    )
    models = replace(models, device=device, precision=precision)
    with embed_progress() as on_progress:
        summary = embed_photos(
            photos,
            Path(dataset),
            models=models,
            options=options,
            workers=workers,
            threads=threads,
            runner_args=runner_options,
            on_progress=on_progress,
        )
    show_embed_summary(summary, Path(dataset), as_json=as_json)


@cli.command("import", short_help="Take over embeddings of deepface or face_recognition.")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where relative names of photos start from.  [default: here]",
)
@workers_option
@json_option
def import_store(
    store: Path, dataset: Path, base: Path, workers: int | None, as_json: bool
) -> None:
    """Take over the faces and embeddings in STORE into the folder DATASET.

    STORE is a datastore of deepface (ds_model_....npz, .feather or .parquet), or a list of
    face_recognition encodings (.json, .parquet or .npz with path, encoding and location). Some
    faces are embedded anew to see that the model here is the same. Pickles are not read; see
    docs/models.md.

    \b
    Example:
      facetrove import photos/ds_model_facenet_detector_dlib_...expand_0.npz faces.dataset
    """
    from facetrove.cli.report import embed_progress, quiet_libraries, show_embed_summary

    quiet_libraries()
    from beam_jobs.embed_photos import import_faces

    with embed_progress() as on_progress:
        summary = import_faces(store, dataset, base=base, workers=workers, on_progress=on_progress)
    show_embed_summary(summary, dataset, as_json=as_json)


@cli.command(short_help="List the models: licences, accuracy, speed, and what is here.")
@click.argument("model", required=False)
@json_option
def models(model: str | None, as_json: bool) -> None:
    """List the models that find and embed faces, or fetch and check one of them, MODEL.

    MODEL is a name of the list, or a file ending in .toml that describes your own network (see
    docs/models.md). Licences are those of the weights: see that yours allows what you do.

    \b
    Examples:
      facetrove models
      facetrove models deepface:ArcFace
      facetrove models ./my_model.toml
    """
    from faces.models.catalog import check_model, list_models
    from facetrove.cli.report import show_model, show_models

    if model is None:
        show_models(list_models(), as_json=as_json)
    else:
        show_model(*check_model(model), as_json=as_json)


@cli.command(short_help="Say what is in a dataset or an index.")
@click.argument("dataset", type=click.Path(path_type=Path), metavar="DATASET_OR_INDEX")
@click.option("--rejected", is_flag=True, help="List the rejected photos with their reasons.")
@json_option
def info(dataset: Path, rejected: bool, as_json: bool) -> None:
    """Say what is in a dataset: photos, faces, rejects, what made it, and its last run. Or what
    is in an index, and how exact it is.

    \b
    Examples:
      facetrove info faces.dataset --rejected
      facetrove info faces.index
    """
    from faces.dataset.store import Dataset
    from facetrove.cli.report import show_dataset, show_manifest, show_rejected

    if is_index(dataset) and not rejected:
        from indexer.manifest import read_current

        show_manifest(read_current(dataset), dataset, as_json=as_json)
        return
    opened = Dataset.open(dataset)
    if rejected:
        show_rejected(opened, as_json=as_json)
    else:
        show_dataset(opened, as_json=as_json)


@cli.command(short_help="Build the index of a dataset, or bring it up to date.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("runner_options", nargs=-1, metavar="[-- RUNNER_OPTIONS]")
@click.option(
    "--recipe",
    help="auto, exact (compares with every face), or a FAISS factory string such as "
    "IVF4096,PQ64x4fs or HNSW32,SQ8.  [default: what was asked last, or auto]",
)
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share to be found of what exact search finds.  [default: 0.999]",
)
@click.option(
    "--recall-of",
    type=click.Choice(["matches", "neighbours"]),
    help="What the target counts: those of the ten nearest above the threshold, or all ten, most "
    "of them strangers.  [default: matches]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    help="Least similarity of a match.  [default: the model's, for a gallery of this size]",
)
@click.option(
    "--memory",
    type=Size(),
    help="What searching may hold in memory, as 4GiB; embeddings stay on disk.",
)
@device_option
@click.option("--rebuild", is_flag=True, help="Build all of it anew.")
@click.option(
    "--pieces",
    type=click.IntRange(min=1),
    help="Build it anew in so many pieces, by Apache Beam: on all machines of a cluster.",
)
@json_option
def index(
    dataset: Path,
    index: Path,
    runner_options: tuple[str, ...],
    recipe: str | None,
    target_recall: float | None,
    recall_of: RecallOf | None,
    threshold: float | None,
    memory: int | None,
    device: Device,
    rebuild: bool,
    pieces: int | None,
    as_json: bool,
) -> None:
    """Build the index INDEX of the faces in DATASET, or bring it up to date.

    Only what is new, changed or deleted is read. Searches may go on meanwhile: they see the old
    version until the new one is whole.

    \b
    Examples:
      facetrove index faces.dataset faces.index
      facetrove index faces.dataset faces.index --target-recall 0.99 --memory 4GiB
    """
    from facetrove.cli.report import index_progress, quiet_libraries, show_manifest

    given: GivenOptions = {
        "recipe": recipe,
        "target_recall": target_recall,
        "recall_of": recall_of,
        "threshold": threshold,
        "memory": memory,
    }
    if pieces is not None:
        if device == "cuda":
            raise WrongUsageError("an index is built in pieces on processors; leave --device out")
        quiet_libraries()
        from beam_jobs.index_pieces import build_index_in_pieces

        with index_progress() as on_progress:
            manifest = build_index_in_pieces(
                dataset,
                index,
                num_pieces=pieces,
                runner_args=runner_options,
                on_progress=on_progress,
                **given,
            )
    elif runner_options:
        raise WrongUsageError("options of a runner go with --pieces")
    else:
        from indexer.build import build_index

        with index_progress() as on_progress:
            manifest = build_index(
                dataset, index, rebuild=rebuild, device=device, on_progress=on_progress, **given
            )
    show_manifest(manifest, index, as_json=as_json)


@cli.command(short_help="Make one segment of all of an index.")
@click.argument("index", type=click.Path(path_type=Path))
@device_option
@json_option
def compact(index: Path, device: Device, as_json: bool) -> None:
    """Write INDEX anew as one segment, without the faces that were deleted or are out of date.

    Searches are fastest then. Bringing an index up to date merges small segments by itself.

    \b
    Example:
      facetrove compact faces.index
    """
    from facetrove.cli.report import index_progress, show_manifest
    from indexer.compact import compact_index

    with index_progress() as on_progress:
        manifest = compact_index(index, device=device, on_progress=on_progress)
    show_manifest(manifest, index, as_json=as_json)


@cli.command(short_help="Check every byte of an index.")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path), required=False)
@json_option
def verify(index: Path, dataset: Path | None, as_json: bool) -> None:
    """Check the digest of every file of INDEX, that its rows agree, and with DATASET if named.

    Exit code 1 where something is wrong; it says which file, and what to do.

    \b
    Example:
      facetrove verify faces.index faces.dataset
    """
    from facetrove.cli.report import index_progress, show_verified
    from indexer.verify import verify_index

    with index_progress() as on_progress:
        verified = verify_index(index, dataset, on_progress=on_progress)
    show_verified(verified, as_json=as_json)
    if verified.problems:
        sys.exit(EXIT_FAILED)


@cli.command(short_help="Delete faces; no search finds them any more.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option("--face", "faces", multiple=True, metavar="FACE_ID", help="A face, by its face_id.")
@click.option(
    "--photo",
    "photos",
    multiple=True,
    metavar="PATH",
    help="All faces of a photo, by its path, uri or photo_id, and of its copies.",
)
@click.option("--where", help="All faces that a filter lets pass, as \"person = 'Ann Lee'\".")
@click.option("--dry-run", is_flag=True, help="Only say how many faces it would delete.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(
    dataset: Path,
    indexes: tuple[Path, ...],
    faces: tuple[str, ...],
    photos: tuple[str, ...],
    where: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete faces from DATASET and every INDEX named: the next search does not find them.

    Should their photos be embedded again, they stay away. `facetrove purge` then removes them
    from every byte of the files.

    \b
    Examples:
      facetrove delete faces.dataset faces.index --where "person = 'Ann Lee'"
      facetrove delete faces.dataset faces.index --photo ~/Pictures/party.jpg
    """
    from facetrove.cli.report import index_progress, show_deleted, show_to_delete
    from indexer.delete import matching, plan_deletion

    matching(faces, photos, where)  # refuses where nothing is named
    if not (dry_run or yes or sys.stdin.isatty()):
        raise WrongUsageError("delete asks before it deletes; where nobody can answer, give --yes")
    with index_progress() as on_progress:
        plan = plan_deletion(
            dataset, indexes, faces=faces, photos=photos, where=where, on_progress=on_progress
        )
    if dry_run:
        show_to_delete(plan.num_faces, dataset, as_json=as_json)
        return
    if plan.num_faces and not yes:
        faces_named = "1 face" if plan.num_faces == 1 else f"{plan.num_faces:,} faces"
        click.confirm(f"delete {faces_named} for good?", abort=True, err=True)
    with index_progress() as on_progress:
        deleted = plan.carry_out(on_progress=on_progress)
    show_deleted(deleted, dataset, as_json=as_json)


@cli.command(short_help="Remove deleted faces from every byte, with a report.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("indexes", type=click.Path(path_type=Path), nargs=-1, metavar="[INDEX]...")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Keep the report in this new file, as JSON.",
)
@json_option
def purge(dataset: Path, indexes: tuple[Path, ...], report: Path | None, as_json: bool) -> None:
    """Remove what was deleted from every file of DATASET and every INDEX named.

    Also goes what was superseded: earlier faces of photos that changed, photos that vanished and
    were dropped. Afterwards every file is read again, and a report says what was removed, when,
    and what was looked for; it names nobody.

    \b
    Example:
      facetrove purge faces.dataset faces.index --report purge.json
    """
    from facetrove.cli.report import index_progress, require_new_file, show_purge, write_report
    from indexer.purge import purge as purge_all

    if report is not None:
        require_new_file(report)  # before: what is gone cannot be reported a second time
    with index_progress() as on_progress:
        done = purge_all(dataset, indexes, on_progress=on_progress)
    if report is not None:
        write_report(report, done)
    show_purge(done, as_json=as_json)


@cli.command(short_help="Find the faces most like those in a photo.")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path), required=False)
@click.option("--face", metavar="FACE_ID", help="More like this face of the index.")
@click.option(
    "-k",
    type=int,
    help="Matches per face.  [default: 10, or all of a smaller index; all with --min-similarity or "
    "--fpir]",
)
@click.option(
    "--where",
    help="Only faces that pass a filter, as \"album = '2019'\"; see docs/search.md.",
)
@click.option("--min-similarity", type=click.FloatRange(-1, 1), help="Only matches above.")
@click.option(
    "--fpir",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Only matches as similar as a stranger finds in this share of searches, as 0.01; see "
    "`facetrove calibrate`.",
)
@click.option(
    "--one-per",
    type=click.Choice(["photo", "person"]),
    help="The best match of each photo, or person, only.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Also draw the faces and their matches into this picture (.jpg, .png, .webp).",
)
@device_option
@json_option
def search(
    index: Path,
    photo: Path | None,
    face: str | None,
    k: int | None,
    where: str | None,
    min_similarity: float | None,
    fpir: float | None,
    one_per: OnePer | None,
    sheet: Path | None,
    device: Device,
    as_json: bool,
) -> None:
    """Find the faces in INDEX most like each face in PHOTO.

    \b
    Examples:
      facetrove search faces.index me.jpg -k 5 --sheet matches.jpg
      facetrove search faces.index me.jpg --where "taken < DATE '1990-01-01'" --one-per photo
      facetrove search faces.index me.jpg --fpir 0.01
    """
    from faces.photos.reading import open_photo
    from facetrove.cli.report import show_matches, show_probes
    from search.contact_sheet import require_picture_name, write_contact_sheet
    from search.searcher import FaceSearcher

    if (photo is None) == (face is None):
        raise WrongUsageError("name a photo, or a face with --face")
    if sheet is not None:
        require_picture_name(sheet)
        if photo is None:
            raise WrongUsageError("a contact sheet shows the faces of a photo; name one")
    searcher = FaceSearcher.open(index, device=device)
    line = None if fpir is None else (fpir, searcher.threshold(fpir))
    asked: Asking = {
        "where": where,
        "min_similarity": min_similarity,
        "one_per": one_per,
        "fpir": fpir,
    }
    if photo is None:
        assert face is not None
        matches = searcher.search_face(face, k, **asked)
        show_matches(
            matches,
            face,
            line=line,
            least_fpir=searcher.least_fpir,
            device=searcher.device,
            as_json=as_json,
        )
        return
    image = open_photo(photo, searcher.pipeline.detector.reduction_for)
    probes = searcher.search(image, k, **asked)
    if not probes:
        raise FaceTroveError(
            f"no face was found in {photo}; try a photo where the face is larger or turned more "
            "towards the camera"
        )
    show_probes(
        probes,
        photo,
        line=line,
        least_fpir=searcher.least_fpir,
        device=searcher.device,
        as_json=as_json,
    )
    if sheet is not None:
        write_contact_sheet(sheet, image, probes)
        if not as_json:
            click.echo(f"contact sheet: {sheet}")


cli.add_command(calibrate)
cli.add_command(evaluate)


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
    from facetrove.cli.report import printable

    click.echo(f"facetrove: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(exit_code)
