"""Options that all commands of `train` have in common."""

from __future__ import annotations

from pathlib import Path

import click

from facetrove.cli.evaluation_options import face_option, people_option
from facetrove.cli.options import gathered
from facetrove.training.options import TrainingOptions

training_options = gathered(
    "training",
    TrainingOptions,
    people_option,
    face_option("largest"),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Seed of everything that is drawn at random; the same seed gives the same file on one "
        "machine.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Maximum number of passes over the faces; training stops earlier where the people "
        "held out gain nothing.",
    ),
    click.option(
        "--held-out",
        type=click.FloatRange(0, 0.5, min_open=True),
        default=0.2,
        show_default=True,
        metavar="SHARE",
        help="Share of the faces, by person, that is not learnt from: it stops the training, and "
        "the card's figures are measured on it.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Number of processor cores to use.  [default: all]",
    ),
    click.option(
        "--licence",
        default="",
        metavar="TEXT",
        help="Licence of the network, for its card and for `facetrove models`.",
    ),
)

augment_option = click.option(
    "--augment/--no-augment",
    default=True,
    show_default=True,
    help="Mirror, move and corrupt faces at random, by the corruptions of `evaluate robustness`.",
)

trust_option = click.option(
    "--trust-labels/--distrust-labels",
    default=None,
    help="Learn from doubtful labels like from others, or never.  [default: learn from them only "
    "where few are doubtful]",
)

doubtful_option = click.option(
    "--doubtful",
    type=click.Path(path_type=Path),
    help="Also write a list of the photos whose labels are doubtful to this new file (.csv), most "
    "doubtful first.",
)
