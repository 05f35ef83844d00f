"""`facetrove compare`: decide whether two photos show the same person."""

from __future__ import annotations

from pathlib import Path

import click

from faces.core.settings import ModelDevice
from faces.models.choice import ModelChoice
from facetrove.cli.options import json_option, model_device_option
from facetrove.cli.terminal import print_json, shown_path
from facetrove.cli.text import printable
from facetrove.comparison import ComparedFace, Comparison
from facetrove.comparison import compare as compare_photos


@click.command()
@click.argument("photo_a", type=click.Path(path_type=Path), metavar="A")
@click.argument("photo_b", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--face-a",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="Face of photo A to compare, counted from the largest.",
)
@click.option(
    "--face-b",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="Face of photo B to compare, counted from the largest.",
)
@click.option(
    "--embedder",
    default="sface-int8",
    show_default=True,
    help="Model that embeds the faces: a name that `facetrove models` lists, or a file MODEL.toml "
    "that describes a custom model (see docs/models.md).",
)
@model_device_option
@json_option
def compare(
    photo_a: Path,
    photo_b: Path,
    face_a: int,
    face_b: int,
    embedder: str,
    device: ModelDevice,
    as_json: bool,
) -> None:
    """Compare a face of photo A with one of photo B, and say whether they show the same person.

    The decision is made at a false accept rate of 0.001, with a note on how its threshold was
    measured; there is none for a model whose threshold is not known. The exit code is 0 whatever
    the decision.

    \b
    Examples:
      facetrove compare a.jpg b.jpg
      facetrove compare me.jpg party.jpg --face-b 3
    """
    comparison = compare_photos(
        photo_a,
        photo_b,
        face=(face_a, face_b),
        models=ModelChoice(embedder=embedder, device=device),
    )
    if as_json:
        print_json({"photos": [str(photo_a), str(photo_b)], **comparison.to_json()})
        return
    first, second = map(_face_in_words, comparison.faces, (photo_a, photo_b))
    click.echo(f"similarity {comparison.similarity:.3f} between {first} and {second}")
    click.echo(f"same person: {_decision_in_words(comparison)}")


def _face_in_words(face: ComparedFace, photo: Path) -> str:
    """Describe a compared face: `the largest face of a.jpg (1 of 3, 200x220 at 14,30)`."""
    x, y, width, height = (round(value) for value in face.box)
    named = "the largest face" if face.number == 1 else f"face {face.number}"
    details = f"{face.number} of {face.num_faces}, {width}x{height} at {x},{y}"
    return f"{named} of {shown_path(photo)} ({details})"


def _decision_in_words(comparison: Comparison) -> str:
    if comparison.decision is None:
        return f"not decided ({printable(comparison.reason)})"
    return (
        f"{'yes' if comparison.decision else 'no'} (threshold {comparison.threshold:.3f} at a "
        f"false accept rate of {comparison.far:g}; {printable(comparison.reason)})"
    )
