"""`facetrove evaluate robustness`: 1:N under corruption of the photos."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.evaluation_options import Labels, Run, label_options, run_options, where_option
from facetrove.cli.evaluation_text import Evaluated, show_table, tell
from facetrove.cli.terminal import index_progress
from facetrove.evaluation.robustness import Robustness, evaluate_robustness
from facetrove.evaluation.tables import corruption_table
from indexer.manifest import read_current


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@label_options
@click.option(
    "--corruption",
    "--damage",  # its name in older versions
    "corruptions",
    multiple=True,
    metavar="NAME",
    help="Only this: compression, blur, noise, small, dark, bright, rotation, 'eyes covered', "
    "'mouth covered'.  [default: all]",
)
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="COUNT",
    help="Photos of enrolled people to corrupt, and as many of strangers.",
)
@where_option
@run_options
def robustness(
    index: Path,
    labels: Labels,
    corruptions: tuple[str, ...],
    probes: int,
    where: str | None,
    run: Run,
) -> None:
    """Measure what corruption of the photos searched for does to identification in INDEX.

    Faces are cut out of their photos, which must be where they were, corrupted at stated strengths,
    looked for by the detector again, and searched for among uncorrupted ones. Takes some minutes.

    \b
    Examples:
      facetrove evaluate robustness faces.index --report robustness.html
      facetrove evaluate robustness faces.index --corruption blur --corruption 'eyes covered'
    """
    with index_progress() as on_progress:
        result = evaluate_robustness(
            index,
            people=labels.people,
            face=labels.face,
            where=where,
            corruptions=corruptions,
            probes=probes,
            seed=run.seed,
            on_progress=on_progress,
        )
    evaluated = Evaluated(index, read_current(index).contract)
    tell(result, evaluated, run, show=_show_robustness)


def _show_robustness(result: Robustness) -> None:
    click.echo(
        f"{result.num_mated:,} photos of enrolled people and {result.num_strangers:,} of "
        f"strangers, among {result.gallery[0]:,} people; threshold {result.threshold:.3f}, at an "
        f"FPIR of 0.01 of all {result.num_clean:,} uncorrupted photos of strangers"
    )
    if result.num_unreadable:
        click.echo(f"{result.num_unreadable:,} photos could not be read any more, and are left out")
    show_table(corruption_table(result))
