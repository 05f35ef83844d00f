"""`facetrove evaluate identify`: 1:N, who somebody is, and whether it is anybody."""

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
from facetrove.cli.evaluation_text import Evaluated, show_table, show_wrong, tell
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
    help="Photos enrolled of each person who has more.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="COUNT",
    help="Random splits, taken together.",
)
@click.option(
    "--strangers",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of the people who are not enrolled in the open set.",
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
    """Measure how well INDEX finds the people in it, and nobody for people who are not.

    Some photos of each person are enrolled and the others searched for, through the index itself
    and comparing with every face, so that what the index misses is seen beside what the model
    does.

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
    tell(result, evaluated, run, show=_show_identification, examples=breakdown.examples > 0)


def _show_identification(result: Identification) -> None:
    protocol = result.protocol
    click.echo(
        f"{result.num_faces:,} labelled photos of {result.num_people:,} people; "
        f"{result.num_unlabelled:,} photos with faces left out for want of a label or of its face"
    )
    click.echo(
        f"closed set: {result.num_closed:,} searches in {protocol.splits} splits, among "
        f"{result.closed_gallery[0]:,.0f} people with {result.closed_gallery[1]:,.0f} photos"
    )
    show_table(closed_set_table(result))
    click.echo(
        f"open set: {result.num_mated:,} searches for enrolled people and "
        f"{result.num_non_mated:,} for strangers, among {result.open_gallery[0]:,.0f} people with "
        f"{result.open_gallery[1]:,.0f} photos"
    )
    show_table(open_set_table(result))
    if result.grouped_at is not None:
        click.echo(f"at an FPIR of {result.grouped_at:g}:")
        for column, errors in result.groups.items():
            show_table(group_table(column, errors, "FNIR", "FPIR"))
        show_table(reject_table(result.qualities, "FNIR"))
    for answer in result.worst:
        show_wrong(answer, "missed" if answer.mated else "a stranger")
