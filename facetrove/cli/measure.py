"""`facetrove measure`: have a classifier say what the faces of a dataset show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import facetrove as ft
from faces.core.words import counted
from faces.models.published_classifiers import PUBLISHED_CLASSIFIERS
from facetrove.cli.options import json_option, workers_option
from facetrove.cli.prepared_workers import prepared_workers
from facetrove.cli.terminal import index_progress, print_json, shown_path
from facetrove.cli.text import printable


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--with",
    "classifier",
    required=True,
    metavar="FILE|NAME",
    help="File of the classifier (.toml), as `facetrove train classifier` writes it, or a "
    f"published one for expressions: {' or '.join(PUBLISHED_CLASSIFIERS)}.",
)
@workers_option
@json_option
def measure(dataset: Path, classifier: str, workers: int | None, as_json: bool) -> None:
    """Have a classifier say what every face of DATASET shows.

    The faces get two columns: one by the name of the classifier's label, and one with the
    probability that it gave, such as expression and expression_score. Once `facetrove index` has
    brought an index up to date, its filters know them. The photos must be where they were embedded;
    after new photos, the same command measures the rest.

    What such a label is worth, and where law forbids reading emotions, is in docs/training.md.

    \b
    Examples:
      facetrove measure faces.dataset --with expressions.toml
      facetrove measure faces.dataset --with fer
      facetrove index faces.dataset faces.index
      facetrove search faces.index me.jpg --where "expression = 'happiness'"
    """
    with prepared_workers(), index_progress() as on_progress:
        file = Path(classifier)
        if classifier in PUBLISHED_CLASSIFIERS:
            file = ft.published_classifier(classifier)
        done = ft.measure_faces(dataset, file, workers=workers, on_progress=on_progress)
    if as_json:
        print_json({"dataset": str(dataset), **asdict(done)})
        return
    click.echo(
        f"{shown_path(dataset)}: measured {done.label} of {counted(done.num_measured, 'face')} of "
        f"{done.num_faces:,}"
    )
    for name, count in sorted(done.counts.items(), key=lambda item: -item[1]):
        click.echo(f"  {printable(name)}: {count:,}")
    if done.num_lost:
        click.echo(
            f"{counted(done.num_lost, 'face')} not measured, because their photo is gone or has "
            "changed"
        )
    if done.num_measured:
        click.echo("indexes have it when `facetrove index` has brought them up to date")
