"""`facetrove train head`: train a small network on the embeddings of a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.options import gathered, json_option
from facetrove.cli.report_files import require_new_file
from facetrove.cli.terminal import index_progress, shown_path
from facetrove.cli.training_options import doubtful_option, training_options, trust_option
from facetrove.cli.training_text import print_card, write_doubtful
from facetrove.training.head_options import METHODS, HeadOptions
from facetrove.training.heads import FPIR, TrainedHead, train_head
from facetrove.training.options import TrainingOptions

head_options = gathered(
    "options",
    HeadOptions,
    click.option(
        "--method",
        type=click.Choice(METHODS),
        default="whitening",
        show_default=True,
        help="How the head is learnt: in closed form, or by Keras with a margin loss.",
    ),
    click.option(
        "--layers",
        type=click.IntRange(1, 2),
        default=1,
        show_default=True,
        help="Number of layers of a head that is learnt with the margin loss.",
    ),
    trust_option,
)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@head_options
@training_options
@doubtful_option
@json_option
def head(
    dataset: Path,
    model: Path,
    options: HeadOptions,
    training: TrainingOptions,
    doubtful: Path | None,
    as_json: bool,
) -> None:
    """Train a head for the people of DATASET, and write MODEL.

    A head is a small network on top of the embeddings that DATASET has, for people in numbers too
    small for a network of their own. Neither training nor applying it reads a photo. MODEL is a
    TOML file; the network (.onnx), its card (.card.toml) and a page about it (.html) are written
    beside it.

    \b
    Examples:
      facetrove train head faces.dataset my_head.toml --people person
      facetrove embed faces.dataset better.dataset --embedder ./my_head.toml
    """
    if doubtful is not None:
        require_new_file(doubtful)
    with index_progress() as on_progress:
        trained = train_head(
            dataset, model, options=options, training=training, on_progress=on_progress
        )
    if doubtful is not None:
        write_doubtful(doubtful, trained.doubtful)
    if as_json:
        print_card(trained.model, trained.card)
        return
    _show(trained, doubtful)


def _show(trained: TrainedHead, doubtful: Path | None) -> None:
    """Print the chosen strength and the figures of the people held out."""
    card, figures = trained.card, trained.card.figures
    click.echo(
        f"{shown_path(trained.model)}: learnt from {card.num_faces:,} faces of {card.num_people:,} "
        f"people, strength {trained.choice.strength:g}"
    )
    if not trained.choice.strength:
        click.echo(
            "every head was worse than none, so this one changes nothing; a head needs more people "
            "with several photos"
        )
    click.echo(
        f"on {card.num_held_out_faces:,} faces of {card.num_held_out_people:,} people held out, "
        f"with and without it: rank-1 {figures['rank_one']:.4f} and "
        f"{figures['rank_one_without_head']:.4f}, FNIR at FPIR {FPIR:g} "
        f"{figures[f'fnir_at_fpir_{FPIR}']:.4f} and "
        f"{figures[f'fnir_at_fpir_{FPIR}_without_head']:.4f}"
    )
    low, high = (figures[f"mean_fnir_difference_{end}"] for end in ("low", "high"))
    click.echo(
        f"the mean FNIR at FPIRs from 0.01 to 0.1 changes by {low:+.4f} to {high:+.4f} with it "
        "(95% interval)"
    )
    if doubtful is not None:
        click.echo(f"{len(trained.doubtful):,} doubtful labels in {shown_path(doubtful)}")
    elif trained.doubtful:
        click.echo(f"{len(trained.doubtful):,} labels are doubtful; list them with --doubtful FILE")
