"""`facetrove index`: build the index of a dataset, or bring it up to date."""

from __future__ import annotations

from pathlib import Path

import click

from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from facetrove.cli.index_text import show_manifest
from facetrove.cli.lazy_group import quiet_libraries
from facetrove.cli.options import Size, device_option, gathered, json_option
from facetrove.cli.terminal import index_progress
from indexer.build import build_index
from indexer.manifest import Manifest
from indexer.options import GivenOptions, RecallOf


def _given_options(
    recipe: str | None,
    target_recall: float | None,
    recall_of: RecallOf | None,
    threshold: float | None,
    memory: int | None,
) -> GivenOptions:
    """What is asked of the index; what is None stays as it was asked last."""
    return {
        "recipe": recipe,
        "target_recall": target_recall,
        "recall_of": recall_of,
        "threshold": threshold,
        "memory": memory,
    }


recipe_options = gathered(
    "given",
    _given_options,
    click.option(
        "--recipe",
        help="auto, exact (compares with every face), or a FAISS factory string such as "
        "IVF4096,PQ64x4fs or HNSW32,SQ8.  [default: what was asked last, or auto]",
    ),
    click.option(
        "--target-recall",
        type=click.FloatRange(0, 1, min_open=True),
        help="Share to be found of what exact search finds.  [default: 0.999]",
    ),
    click.option(
        "--recall-of",
        type=click.Choice(["matches", "neighbours"]),
        help="What the target counts: those of the ten nearest above the threshold, or all ten, "
        "most of them strangers.  [default: matches]",
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(-1, 1),
        help="Least similarity of a match.  [default: the model's, for a gallery of this size]",
    ),
    click.option(
        "--memory",
        type=Size(),
        help="What searching may hold in memory, as 4GiB; embeddings stay on disk.",
    ),
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("runner_options", nargs=-1, metavar="[-- RUNNER_OPTIONS]")
@recipe_options
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
    given: GivenOptions,
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
    if pieces is not None:
        if device == "cuda":
            raise WrongUsageError("an index is built in pieces on processors; leave --device out")
        manifest = _build_in_pieces(dataset, index, pieces, runner_options, given)
    elif runner_options:
        raise WrongUsageError("options of a runner go with --pieces")
    else:
        with index_progress() as on_progress:
            manifest = build_index(
                dataset, index, rebuild=rebuild, device=device, on_progress=on_progress, **given
            )
    show_manifest(manifest, index, as_json=as_json)


def _build_in_pieces(
    dataset: Path,
    index: Path,
    num_pieces: int,
    runner_options: tuple[str, ...],
    given: GivenOptions,
) -> Manifest:
    """Build an index by Beam, which is imported for this alone: it takes a second."""
    quiet_libraries()
    from beam_jobs.index_pieces import build_index_in_pieces

    with index_progress() as on_progress:
        return build_index_in_pieces(
            dataset,
            index,
            num_pieces=num_pieces,
            runner_args=runner_options,
            on_progress=on_progress,
            **given,
        )
