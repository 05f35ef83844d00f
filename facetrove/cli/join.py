"""`facetrove join`: find for every face of a collection its nearest faces in an index."""

from __future__ import annotations

from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from facetrove.cli.options import json_option, workers_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.cli.text import printable


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("runner_options", nargs=-1, metavar="[-- RUNNER_OPTIONS]")
@click.option(
    "-k",
    "k",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="Number of neighbours of each face.",
)
@click.option(
    "--min-similarity",
    type=click.FloatRange(-1, 1),
    help="Leave out neighbours that are less similar than this.",
)
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Share of the exact neighbours to find, of those with at least --min-similarity or, "
    "without it, the similarity that one search for a stranger in a hundred reaches. A lower share "
    "is faster.",
)
@workers_option
@json_option
def join(
    a: Path,
    b: Path,
    out: Path,
    runner_options: tuple[str, ...],
    k: int,
    min_similarity: float | None,
    target_recall: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Find for every face of A its nearest faces in the index B, and write them to OUT.

    A is a dataset or an index, and may be B itself. OUT is a Parquet file with a row for each
    neighbour: face_id, rank, neighbour (the face_id in B) and similarity. A face is not its own
    neighbour, and deleted faces are left out. A join that was stopped goes on where it was when
    the same command is run again.

    RUNNER_OPTIONS, written --name=value after `--`, are passed to Apache Beam.

    \b
    Examples:
      facetrove join faces.index faces.index neighbours.parquet
      facetrove join theirs.dataset faces.index shared.parquet -k 5 --min-similarity 0.5
    """
    with index_progress() as on_progress:
        result = ft.join_nearest(
            a,
            b,
            out,
            k=k,
            min_similarity=min_similarity,
            target_recall=target_recall,
            workers=workers,
            runner_args=runner_options,
            on_progress=on_progress,
        )
    if as_json:
        print_json(result.to_json())
        return
    counts = result.counts
    click.echo(
        f"{printable(str(out))}: {counted(counts.num_neighbours, 'neighbour')} of "
        f"{counted(counts.num_faces, 'face')}, of which {counts.num_alone:,} have none"
    )
    click.echo(_recall_in_words(result))


def _recall_in_words(result: ft.JoinResult) -> str:
    """Return a line that says what share of the exact neighbours was found."""
    if result.is_exact:
        return "every face was compared with every face of the index"
    if result.recall is None:
        return "no face of the sample has a neighbour in exact search"
    text = f"recall {result.recall:.4f} of the exact {result.request.options.k} nearest"
    if result.threshold is not None and result.recall_of_matches is not None:
        text += f", {result.recall_of_matches:.4f} of those from {result.threshold:.3f} on"
    return f"{text} ({counted(result.counts.num_sampled, 'face')} sampled)"
