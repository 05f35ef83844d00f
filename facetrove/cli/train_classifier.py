"""`facetrove train classifier`: train a network that says what a face shows."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from faces.core.storage import put_file
from facetrove.cli.csv_text import as_csv
from facetrove.cli.options import gathered, json_option, workers_option
from facetrove.cli.report_files import require_new_file
from facetrove.cli.terminal import index_progress, print_json, print_table, shown_path, shown_uri
from facetrove.cli.text import printable
from facetrove.cli.training_options import training_options
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
        help="The network: `article`, one convolution on 28x28 grey pixels, or `small`, a residual "
        "network on 56x56.",
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
        "--augment/--no-augment",
        default=True,
        show_default=True,
        help="Mirror, move and corrupt faces at random, by the corruptions of `evaluate "
        "robustness`.",
    ),
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
@click.option(
    "--doubtful",
    type=click.Path(path_type=Path),
    help="Also write a list of the photos whose labels are doubtful to this new file (.csv), most "
    "doubtful first.",
)
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
        _write_doubtful(doubtful, trained)
    if as_json:
        card = {name: value for name, value in vars(trained.card).items() if name != "face_digests"}
        print_json({"model": str(trained.model), **card})
        return
    _show(trained, doubtful)


def _show(trained: TrainedClassifier, doubtful: Path | None) -> None:
    """Print the figures of the people held out, class by class."""
    card = trained.card
    click.echo(
        f"{shown_path(trained.model)}: trained on {card.num_faces:,} faces of {card.num_people:,} "
        f"people, {len(card.curve)} epochs, the best {card.figures['best_epoch']}"
    )
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


def _write_doubtful(path: Path, trained: TrainedClassifier) -> None:
    """Write the list of doubtful labels, as CSV."""
    rows = [vars(one) | {"photo": shown_uri(one.uri)} for one in trained.doubtful]
    text = as_csv(["photo", "label", "suggested", "margin", "face_id"], rows)
    with put_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
