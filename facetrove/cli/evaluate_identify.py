"""`facetrove evaluate identify`: measure 1:N identification in an index."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.evaluation_options import (
    Breakdown,
    Labels,
    Run,
    breakdown_options,
    label_options,
    run_options,
    where_option,
)
from facetrove.cli.evaluation_text import Evaluated, show_result, show_table, show_wrong
from facetrove.cli.terminal import index_progress
from facetrove.evaluation.identify import Identification, evaluate_identification
from facetrove.evaluation.protocol import Protocol
from facetrove.evaluation.tables import (
    closed_set_table,
    group_table,
    open_set_table,
    reject_table,
)
from indexer.manifest import read_current


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@label_options
@click.option(
    "--enrol",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="COUNT",
    help="Number of photos to enrol of each person who has more.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="COUNT",
    help="Number of random splits into enrolled and probe photos, whose results are pooled.",
)
@click.option(
    "--strangers",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the people who are left unenrolled in the open-set test.",
)
@where_option
@breakdown_options
@run_options
def identify(
    index: Path,
    labels: Labels,
    enrol: int,
    splits: int,
    strangers: float,
    where: str | None,
    breakdown: Breakdown,
    run: Run,
) -> None:
    """Measure how often INDEX finds the right person, and how often it finds one for a stranger.

    Some photos of each person are enrolled, and the others are searched for through the index.
    Where INDEX is approximate, the same searches are also answered by comparing with every enrolled
    face, to tell errors of the index from errors of the model.

    \b
    Examples:
      facetrove evaluate identify faces.index --report identify.html
      facetrove evaluate identify lfw.index --people folder --face central
    """
    protocol = Protocol(enrol, splits, strangers, run.seed)
    with index_progress() as on_progress:
        result = evaluate_identification(
            index,
            people=labels.people,
            face=labels.face,
            where=where,
            protocol=protocol,
            by=breakdown.by,
            examples=breakdown.examples,
            on_progress=on_progress,
        )
    evaluated = Evaluated(index, read_current(index).contract)
    show_result(result, evaluated, run, show=_show_identification, examples=breakdown.examples > 0)


def _show_identification(result: Identification) -> None:
    """Print the error rates in the closed and the open set, and where the errors are."""
    protocol = result.protocol
    click.echo(
        f"{result.num_faces:,} labelled photos of {result.num_people:,} people; "
        f"{result.num_unlabelled:,} other photos with faces left out (no label, or no face that "
        "it is for)"
    )
    click.echo(
        f"closed set: {result.num_closed:,} searches in {protocol.splits} splits, in a gallery of "
        f"{result.closed_gallery[0]:,.0f} people with {result.closed_gallery[1]:,.0f} photos"
    )
    show_table(closed_set_table(result))
    click.echo(
        f"open set: {result.num_mated:,} searches for enrolled people and "
        f"{result.num_non_mated:,} for strangers, in a gallery of "
        f"{result.open_gallery[0]:,.0f} people with {result.open_gallery[1]:,.0f} photos"
    )
    show_table(open_set_table(result))
    if result.grouped_at is not None:
        click.echo(f"at the threshold of FPIR {result.grouped_at:g}:")
        for column, errors in result.groups.items():
            show_table(group_table(column, errors, "FNIR", "FPIR"))
        show_table(reject_table(result.qualities, "FNIR"))
    for answer in result.worst:
        show_wrong(answer, "false negative" if answer.mated else "false positive")
