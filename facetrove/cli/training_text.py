"""What the commands of `train` print and write alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from faces.core.storage import put_file
from facetrove.cli.csv_text import as_csv
from facetrove.cli.terminal import print_json, shown_path, shown_uri
from facetrove.training.card import TrainingCard
from facetrove.training.doubtful import Doubtful


def print_card(model: Path, card: TrainingCard) -> None:
    """Print a network's card as JSON, without the digests of its faces."""
    fields = {name: value for name, value in vars(card).items() if name != "face_digests"}
    print_json({"model": str(model), **fields})


def show_epochs(model: Path, card: TrainingCard) -> None:
    """Print on how many faces a network was trained, and which epoch was the best."""
    click.echo(
        f"{shown_path(model)}: trained on {card.num_faces:,} faces of {card.num_people:,} people, "
        f"{len(card.curve)} epochs, the best {card.figures['best_epoch']}"
    )


def write_doubtful(path: Path, doubtful: Sequence[Doubtful]) -> None:
    """Write a list of doubtful labels, as CSV."""
    rows = [vars(one) | {"photo": shown_uri(one.uri)} for one in doubtful]
    text = as_csv(["photo", "label", "suggested", "margin", "face_id"], rows)
    with put_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
