"""`facetrove train embedder`: train a network that tells people apart, from nothing."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.options import gathered, json_option, workers_option
from facetrove.cli.terminal import index_progress
from facetrove.cli.training_options import augment_option, training_options, trust_option
from facetrove.cli.training_text import print_card, show_epochs
from facetrove.evaluation.tables import said
from facetrove.training.embedder import train_embedder
from facetrove.training.embedder_options import MARGIN_KINDS, EmbedderOptions
from facetrove.training.options import TrainingOptions

embedder_options = gathered(
    "options",
    EmbedderOptions,
    click.option(
        "--dimension",
        type=click.IntRange(2, 4096),
        default=128,
        show_default=True,
        metavar="COUNT",
        help="Number of dimensions of an embedding.",
    ),
    click.option(
        "--loss",
        type=click.Choice(MARGIN_KINDS),
        default="arcface",
        show_default=True,
        help="Whether the margin between people is an angle (ArcFace), a cosine (CosFace), or goes "
        "by the quality of a face (AdaFace).",
    ),
    click.option(
        "--margin",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="The margin.  [default: 0.3, for cosface 0.2]",
    ),
    click.option(
        "--scale",
        type=click.FloatRange(0, min_open=True),
        default=16.0,
        show_default=True,
        help="The largest logit of the loss; more people need a larger one, up to 64.",
    ),
    click.option(
        "--sub-centres",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="COUNT",
        help="Number of centres of a person; with 2 or 3, wrong labels harm less.",
    ),
    augment_option,
    click.option(
        "--min-photos",
        type=click.IntRange(min=2),
        default=2,
        show_default=True,
        metavar="COUNT",
        help="Minimum number of photos of a person; people with fewer are left out.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=2),
        default=64,
        show_default=True,
        metavar="COUNT",
        help="Number of faces that are learnt from at once.",
    ),
    click.option(
        "--per-person",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Number of faces of a person in a batch; people then come equally often.  [default: "
        "every face once an epoch]",
    ),
    trust_option,
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@embedder_options
@training_options
@workers_option
@json_option
def embedder(
    dataset: Path,
    model: Path,
    options: EmbedderOptions,
    training: TrainingOptions,
    workers: int | None,
    as_json: bool,
) -> None:
    """Train a network on the people in DATASET that tells people apart, and write MODEL.

    MODEL is a TOML file, which `facetrove embed --embedder` takes; the network (.onnx), its card
    (.card.toml) and a page about it (.html) are written beside it. A training that was stopped goes
    on by the same command.

    It begins from nothing, and needs very many people to come near the built-in network; see
    docs/training.md.

    \b
    Examples:
      facetrove train embedder faces.dataset my_model.toml --people person
      facetrove embed faces.dataset mine.dataset --embedder ./my_model.toml
    """
    with index_progress() as on_progress:
        trained = train_embedder(
            dataset,
            model,
            options=options,
            training=training,
            workers=workers,
            on_progress=on_progress,
        )
    card = trained.card
    if as_json:
        print_card(trained.model, card)
        return
    show_epochs(trained.model, card)
    if trained.num_lost:
        click.echo(f"left out, because their photo is gone or has changed: {trained.num_lost:,}")
    if trained.num_doubted:
        click.echo(
            f"not learnt from, because their labels are doubtful: {trained.num_doubted:,}; "
            "--trust-labels learns from them too"
        )
    click.echo(
        f"on {card.num_held_out_faces:,} faces of {card.num_held_out_people:,} people held out, "
        f"one photo enrolled: rank-1 {said(trained.rank_one)}, FNIR at FPIR 0.01 "
        f"{said(trained.false_negative)}"
    )
