"""The card of a trained network as a page for people."""

from __future__ import annotations

from pathlib import Path

from faces.dataset.store import Dataset
from facetrove.evaluation.page import Page, figure, paragraph, plots, table, write_page
from facetrove.evaluation.plots import Axis, Line, PlotProcess
from facetrove.evaluation.tables import Table
from facetrove.training.card import TrainingCard

_WORTH = (
    "The figures are those of the people held out, from the same collection. On photos of another "
    "kind they are worse. A label says what people have called such photos; it is no fact about "
    "the person."
)


def page_path(model: Path) -> Path:
    """Return the path of the page of the network that a TOML file describes."""
    return model.with_suffix(".html")


def write_card_page(model: Path, card: TrainingCard, dataset: Dataset) -> None:
    """Write the page of a trained network.

    Args:
        model: path of the TOML file.
        card: the network's card.
        dataset: the dataset that it was trained on.

    Raises:
        WrongUsageError: there is a file by that name that is not a page of facetrove.
        FaceTroveError: the curves cannot be drawn.
    """
    shown = {k: v for k, v in card.figures.items() if isinstance(v, float)}
    page = Page(
        title=f"{card.name}: a {card.kind} trained by facetrove",
        lead=f"Trained on {card.num_faces:,} faces of {card.num_people:,} people, measured on "
        f"{card.num_held_out_faces:,} faces of {card.num_held_out_people:,} others.",
        facts={name.replace("_", " "): f"{value:.4f}" for name, value in shown.items()},
    )
    page.add("What it is worth", paragraph(_WORTH))
    if card.per_class:
        page.add("By class, on the people held out", table(_class_table(card)))
    if card.left_out:
        small = ", ".join(f"{name} ({count})" for name, count in card.left_out.items())
        page.add("Left out as too small", paragraph(small))
    if card.curve:
        page.add("Curves", _curves(card))
    page.add(
        "The network",
        table(
            Table(
                ("", ""),
                [
                    ("sha256", card.network_sha256),
                    ("licence", card.licence or "not given"),
                    ("faces found by", f"{card.detector} ({card.detector_digest[:12]})"),
                    ("crops by", card.alignment),
                    ("Keras, TensorFlow", f"{card.keras}, {card.tensorflow}"),
                ],
            )
        ),
    )
    options = {name: str(value) for name, value in card.options.items()} | {"seed": str(card.seed)}
    write_page(
        page_path(model),
        page,
        source=f"dataset {dataset.path}",
        contract=dataset.contract,
        options=options,
    )


def _class_table(card: TrainingCard) -> Table:
    rows = [
        (
            name,
            f"{card.classes.get(name, 0):,}",
            f"{figures.get('faces', 0):,.0f}",
            *(f"{figures[key]:.4f}" if key in figures else "" for key in ("recall", "precision")),
        )
        for name, figures in card.per_class.items()
    ]
    return Table(("class", "faces", "held out", "recall", "precision"), rows)


def _curves(card: TrainingCard) -> str:
    """Draw every figure of the epochs, as HTML."""
    epochs = [row["epoch"] for row in card.curve]
    with PlotProcess() as process:
        drawn = [
            figure(
                process.line_plot(
                    [Line(name, epochs, [row[name] for row in card.curve])],
                    Axis("epoch"),
                    Axis(name.replace("_", " ")),
                    markers=True,
                ),
                name.replace("_", " "),
            )
            for name in card.curve[0]
            if name not in ("epoch", "stop")
        ]
    return plots(*drawn)
