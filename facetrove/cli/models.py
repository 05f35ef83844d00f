"""`facetrove models`: list the models, or check one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

import facetrove as ft
from faces.core.errors import WrongUsageError
from faces.dataset.deletions import read_deletions
from faces.dataset.store import Dataset
from faces.models.catalog import ModelCard, check_model, list_models
from faces.models.classifier import FaceClassifier
from faces.models.classifier_file import ClassifierFile
from faces.models.published_classifiers import PUBLISHED_CLASSIFIERS
from facetrove.cli.options import json_option
from facetrove.cli.terminal import print_json, print_table
from facetrove.cli.text import printable
from facetrove.training.card import read_card


@click.command()
@click.argument("model", required=False)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Also say how many of the faces that MODEL, trained by `facetrove train`, has learnt from "
    "were deleted from this dataset since.",
)
@json_option
def models(model: str | None, dataset: Path | None, as_json: bool) -> None:
    """List the models that detect, embed and classify faces, or fetch MODEL and check that it runs.

    MODEL is a name from the list, or a file ending in .toml that describes a custom model (see
    docs/models.md). The licences are those of the weights: check that a model's licence allows your
    use of it.

    \b
    Examples:
      facetrove models
      facetrove models deepface:ArcFace
      facetrove models ./my_model.toml
      facetrove models expressions.toml --dataset faces.dataset
    """
    if model is None:
        if dataset is not None:
            raise WrongUsageError("--dataset is about a trained network; name its file (.toml) too")
        _show_models(list_models(), as_json=as_json)
        return
    if model in PUBLISHED_CLASSIFIERS and dataset is None:
        _show_classifier(ft.published_classifier(model), {}, as_json=as_json)
        return
    deleted = {} if dataset is None else _deleted_since(Path(model), dataset)
    if ClassifierFile.is_at(Path(model)):
        _show_classifier(Path(model), deleted, as_json=as_json)
    else:
        card, found = check_model(model)
        _show_model(card, found | deleted, as_json=as_json)


def _deleted_since(model: Path, dataset: Path) -> dict[str, str]:
    """Say how many of the faces that a trained network has learnt from were deleted since."""
    card = read_card(model)
    opened = Dataset.open(dataset)
    count = card.num_deleted(read_deletions(opened.path).digests)
    advice = "; train it again without them" if count else ""
    return {"trained on": f"{card.num_digests:,} faces, {count:,} of them deleted since{advice}"}


def _show_classifier(path: Path, deleted: dict[str, str], *, as_json: bool) -> None:
    """Print what a classifier is, after checking that it runs."""
    described = FaceClassifier(path, threads=1).described
    if as_json:
        print_json({**asdict(described), **deleted})
        return
    lines = {
        "model": f"{described.name} (classifier), ready",
        "label": described.label,
        "classes": ", ".join(described.classes),
        "faces": f"as {described.detector or 'any detector'} finds them, crops by "
        f"{described.alignment}",
        "licence": described.licence or "not given",
        **deleted,
    }
    for name, text in lines.items():
        click.echo(f"{name:<11} {printable(text)}")


def _show_models(cards: Sequence[ModelCard], *, as_json: bool) -> None:
    """Print a table of the embedders, one of the detectors and one of the classifiers."""
    if as_json:
        print_json({"models": [asdict(card) for card in cards]})
        return
    for kind in ("embedder", "detector", "classifier"):
        table = Table(box=None, pad_edge=False, header_style="none")
        of_embedders = {
            "dimensions": lambda card: str(card.dimension),
            "input": lambda card: card.input,
            "faces/s": lambda card: _or_nothing(card.faces_per_second, ",.0f"),
            "LFW": lambda card: _or_nothing(card.lfw, ".4f"),
            "LFW source": lambda card: card.lfw_source,
        }
        columns: dict[str, Callable[[ModelCard], str]] = {
            kind: lambda card: card.name,
            "fetched": lambda card: "yes" if card.here else "",
            "MB": lambda card: _or_nothing(card.num_bytes and card.num_bytes / 1e6, ",.1f"),
            **(of_embedders if kind == "embedder" else {}),
            "commercial": lambda card: card.commercial,
            "licence": lambda card: card.licence,
            "weights": lambda card: card.origin,
        }
        for title in columns:
            right = title in ("MB", "dimensions", "input", "faces/s", "LFW")
            folded = title in ("LFW source", "licence", "weights")
            table.add_column(
                title,
                justify="right" if right else "left",
                no_wrap=not folded,
                overflow="fold",
            )
        for card in cards:
            if card.kind == kind:
                table.add_row(*(printable(text(card)) for text in columns.values()))
        print_table(table)
        click.echo()
    click.echo(
        "LFW: accuracy on the pairs of Labeled Faces in the Wild, as the LFW source states it; "
        "small differences mean nothing.\nfaces/s: measured on one core of this machine.\n"
        "docs/models.md says which model to choose."
    )


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _show_model(card: ModelCard, found: dict[str, str], *, as_json: bool) -> None:
    """Print the card of a model, and what `check_model` found by running it."""
    if as_json:
        print_json({**asdict(card), **found})
        return
    size = "" if card.num_bytes is None else f", {card.num_bytes / 1e6:,.1f} MB"
    lines = {
        "model": f"{card.name} ({card.kind}), ready",
        "embeddings": "" if card.dimension is None else f"{card.dimension} dimensions",
        "input": card.input,
        **found,
        "weights": f"{card.origin}{size}",
        "licence": f"{card.licence} (commercial use: {card.commercial})",
        "LFW": "" if card.lfw is None else f"{card.lfw:.4f} ({card.lfw_source})",
        "speed": ""
        if card.faces_per_second is None
        else f"{card.faces_per_second:,.0f} faces/s on one core of this machine",
    }
    for name, text in lines.items():
        if text:
            click.echo(f"{name:<11} {printable(text)}")
