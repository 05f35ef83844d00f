"""`facetrove evaluate robustness`: measure identification with corrupted probe photos."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.evaluation_options import Labels, Run, label_options, run_options, where_option
from facetrove.cli.evaluation_text import Evaluated, show_result, show_table
from facetrove.cli.terminal import index_progress
from facetrove.evaluation.robustness import Robustness, evaluate_robustness
from facetrove.evaluation.tables import corruption_table
from indexer.manifest import read_current


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@label_options
@click.option(
    "--corruption",
    "--damage",  # the option's name in older versions
    "corruptions",
    multiple=True,
    metavar="NAME",
    help="Only this kind of corruption: compression, blur, noise, small, dark, bright, rotation, "
    "'eyes covered' or 'mouth covered'. May be given several times; --damage is its former name.  "
    "[default: all]",
)
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="COUNT",
    help="Number of photos of enrolled people to corrupt, and of photos of strangers.",
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
    """Measure how much corruption of the probe photos impairs identification in INDEX.

    Faces are cut out of their photos, which must still be at their paths, corrupted at several
    strengths, detected again, and searched for among the uncorrupted faces of half of the people.
    This takes some minutes.

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
    show_result(result, evaluated, run, show=_show_robustness)


def _show_robustness(result: Robustness) -> None:
    """Print the detection and error rates under each corruption."""
    click.echo(
        f"{result.num_mated:,} probe photos of enrolled people and {result.num_strangers:,} of "
        f"strangers, in a gallery of {result.gallery[0]:,} people; threshold "
        f"{result.threshold:.3f}, which has FPIR 0.01 on all {result.num_clean:,} uncorrupted "
        "photos of strangers"
    )
    if result.num_unreadable:
        click.echo(f"{result.num_unreadable:,} photos can no longer be read, and were left out")
    show_table(corruption_table(result))
