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
    """Return the options of the index; one that is None keeps its value of the last build."""
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
        help="How the index is searched: auto, exact (compare with every face), or a FAISS factory "
        "string such as IVF4096,PQ64x4fs or HNSW32,SQ8.  [default: that of the last build, or "
        "auto]",
    ),
    click.option(
        "--target-recall",
        type=click.FloatRange(0, 1, min_open=True),
        help="Recall to reach: share of the results of exact search that must be found.  [default: "
        "that of the last build, or 0.999]",
    ),
    click.option(
        "--recall-of",
        type=click.Choice(["matches", "neighbours"]),
        help="Which of the ten nearest faces the recall of a recipe counts: `matches`, those at or "
        "above --threshold, or `neighbours`, all ten, most of which are strangers.  [default: that "
        "of the index's last build, or matches]",
    ),
    click.option(
        "--threshold",
        type=click.FloatRange(-1, 1),
        help="Minimum similarity of a match when recall is measured.  [default: that of the last "
        "build; else by calibration, or the model's for this number of faces]",
    ),
    click.option(
        "--memory",
        type=Size(),
        help="Memory that a process may need for searching the index, such as 4GiB; the recipe is "
        "chosen accordingly. The embeddings, which stay on disk, do not count.  [default: that of "
        "the index's last build, or no limit]",
    ),
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("runner_options", nargs=-1, metavar="[-- RUNNER_OPTIONS]")
@recipe_options
@device_option
@click.option(
    "--rebuild",
    is_flag=True,
    help="Build the whole index from nothing, even if an update would do.",
)
@click.option(
    "--pieces",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Build the whole index from nothing as this many partial indexes, with Apache Beam, which "
    "can use all machines of a cluster.",
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

    An update reads only photos that are new, changed or deleted. Searches can go on meanwhile: they
    use the old version until the new one is complete. Options are stored in the index and hold for
    later updates; changing one builds the whole index from nothing.

    RUNNER_OPTIONS, written --name=value after `--`, are passed to Apache Beam with --pieces.

    \b
    Examples:
      facetrove index faces.dataset faces.index
      facetrove index faces.dataset faces.index --target-recall 0.99 --memory 4GiB
    """
    if pieces is not None:
        if device == "cuda":
            raise WrongUsageError("--pieces builds on CPUs only; leave out --device cuda")
        manifest = _build_in_pieces(dataset, index, pieces, runner_options, given)
    elif runner_options:
        raise WrongUsageError("runner options are for --pieces; add it, or leave them out")
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
    """Build an index from nothing as partial indexes, and return its manifest.

    Beam takes a second to import, so this function imports it.
    """
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
