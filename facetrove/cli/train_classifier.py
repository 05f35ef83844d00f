"""`facetrove train classifier`: train a network that says what a face shows."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from facetrove.cli.options import gathered, json_option, workers_option
from facetrove.cli.report_files import require_new_file
from facetrove.cli.terminal import index_progress, print_table, shown_path
from facetrove.cli.text import printable
from facetrove.cli.training_options import augment_option, doubtful_option, training_options
from facetrove.cli.training_text import print_card, show_epochs, write_doubtful
from facetrove.training.classifier import TrainedClassifier, train_classifier
from facetrove.training.classifier_options import ARCHITECTURES, ClassifierOptions
from facetrove.training.imbalance import BALANCES
from facetrove.training.options import TrainingOptions

classifier_options = gathered(
    "options",
    ClassifierOptions,
    click.option(
        "--architecture",
        type=click.Choice(ARCHITECTURES),
        default="small",
        show_default=True,
        help="The network: `article`, one convolution on 28x28 grey pixels; `small`, a residual "
        "network on 56x56; or `fer`, a last layer on the features of a published network for "
        "expressions, which is fetched.",
    ),
    click.option(
        "--balance",
        type=click.Choice(BALANCES),
        default="logits",
        show_default=True,
        help="How rare classes are handled: not at all, by batches with as many faces of each "
        "class, by weights, by the focal loss, or by adjusted logits; see docs/training.md.",
    ),
    click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        default=0.3,
        show_default=True,
        help="With --balance logits, how far rare classes are favoured: 0 is not at all, 1 as if "
        "every class had as many faces, which costs accuracy.",
    ),
    augment_option,
    click.option(
        "--min-class",
        type=click.IntRange(min=2),
        default=30,
        show_default=True,
        metavar="COUNT",
        help="Minimum number of photos of a class; smaller ones are left out, and named.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        metavar="COUNT",
        help="Number of faces that are learnt from at once.",
    ),
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--label", required=True, metavar="COLUMN", help="Column of the labels to learn.")
@classifier_options
@training_options
@doubtful_option
@workers_option
@json_option
def classifier(
    dataset: Path,
    model: Path,
    label: str,
    options: ClassifierOptions,
    training: TrainingOptions,
    doubtful: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Train a network on a column of DATASET that says what a face shows, and write MODEL.

    MODEL is a TOML file; the network (.onnx), its card (.card.toml) and a page about it (.html)
    are written beside it. A training that was stopped goes on by the same command.

    What such a label is worth, and where law forbids reading emotions, is in docs/training.md.

    \b
    Examples:
      facetrove train classifier faces.dataset expressions.toml --label expression
      facetrove measure faces.dataset --with expressions.toml
    """
    if doubtful is not None:
        require_new_file(doubtful)
    with index_progress() as on_progress:
        trained = train_classifier(
            dataset,
            model,
            label=label,
            options=options,
            training=training,
            list_doubtful=doubtful is not None,
            workers=workers,
            on_progress=on_progress,
        )
    if doubtful is not None:
        write_doubtful(doubtful, trained.doubtful)
    if as_json:
        print_card(trained.model, trained.card)
        return
    _show(trained, doubtful)


def _show(trained: TrainedClassifier, doubtful: Path | None) -> None:
    """Print the figures of the people held out, class by class."""
    card = trained.card
    show_epochs(trained.model, card)
    for name, count in card.left_out.items():
        click.echo(f"left out, with {count:,} photos: {printable(name)}")
    if trained.num_lost:
        click.echo(f"left out, because their photo is gone or has changed: {trained.num_lost:,}")
    table = Table(box=None, pad_edge=False)
    for title in ("class", "faces", "held out", "recall", "precision"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for name, figures in card.per_class.items():
        table.add_row(
            printable(name),
            f"{card.classes[name]:,}",
            f"{figures['faces']:,.0f}",
            *(f"{figures[key]:.4f}" if key in figures else "" for key in ("recall", "precision")),
        )
    print_table(table)
    low, high = trained.figures.mean_recall_interval
    click.echo(
        f"on {card.num_held_out_faces:,} faces of {card.num_held_out_people:,} people held out: "
        f"accuracy {trained.figures.accuracy:.4f}, mean recall {trained.figures.mean_recall:.4f} "
        f"({low:.4f} to {high:.4f})"
    )
    if doubtful is not None:
        click.echo(f"{len(trained.doubtful):,} doubtful labels in {shown_path(doubtful)}")
