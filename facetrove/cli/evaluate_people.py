"""`facetrove evaluate people`: group the faces of an index by person, and compare with labels."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.evaluation_options import Labels, label_options
from facetrove.cli.options import json_option
from facetrove.cli.terminal import index_progress, print_json
from facetrove.evaluation.people import Agreement, evaluate_people


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@label_options
@click.option(
    "--precision",
    type=float,
    default=0.99,
    show_default=True,
    help="Share of the pairs of faces in one group that are of one person, which is promised, 0.9 "
    "to 0.999. A higher one makes more and purer groups.",
)
@json_option
def people(index: Path, labels: Labels, precision: float, as_json: bool) -> None:
    """Measure how well the faces of INDEX can be grouped by person without labels.

    All faces are grouped, those of bystanders too. Then the groups are compared with the people
    whom the labels name. Two faces of one photo are never in one group.

    \b
    Examples:
      facetrove evaluate people faces.index
      facetrove evaluate people lfw.index --people folder --face central
    """
    with index_progress() as on_progress:
        result = evaluate_people(
            index,
            people=labels.people,
            face=labels.face,
            precision=precision,
            on_progress=on_progress,
        )
    if as_json:
        print_json(result.to_json())
        return
    click.echo(
        f"{result.num_faces:,} faces grouped by {result.num_edges:,} similar pairs; "
        f"{result.num_labelled:,} labelled faces of {result.num_people:,} people are in "
        f"{result.num_groups:,} groups"
    )
    click.echo(_line("groups", result.agreement))
    if result.single_linkage is not None:
        click.echo(_line(f"all above {result.single_threshold:.3f} linked", result.single_linkage))
    for size in result.by_size:
        span = f"{size.min_faces:,} to {size.max_faces:,}"
        click.echo(
            f"people with {span} faces: BCubed precision {size.precision:.4f}, recall "
            f"{size.recall:.4f} ({size.num_faces:,} faces)"
        )


def _line(name: str, found: Agreement) -> str:
    """Return the figures of groups as a line."""
    return (
        f"{name}: BCubed F {found.bcubed_f:.4f} (precision {found.bcubed_precision:.4f}, recall "
        f"{found.bcubed_recall:.4f}), pairwise F {found.pairwise_f:.4f} (precision "
        f"{found.pairwise_precision:.4f}, recall {found.pairwise_recall:.4f})"
    )
