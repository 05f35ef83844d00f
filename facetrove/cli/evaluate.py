"""`facetrove evaluate`: the group of commands that measure error rates."""

from __future__ import annotations

import click

from facetrove.cli.lazy_group import LazyCommand, LazyGroup

EVALUATIONS = {
    "identify": LazyCommand(
        "evaluate_identify:identify", "Measure 1:N identification in an index."
    ),
    "pairs": LazyCommand("evaluate_pairs:pairs", "Measure 1:1 verification on pairs of photos."),
    "people": LazyCommand(
        "evaluate_people:people", "Measure how well faces can be grouped by person."
    ),
    "robustness": LazyCommand(
        "evaluate_robustness:robustness",
        "Measure identification with corrupted probe photos.",
        quiet=True,
    ),
}
"""The commands of the group by name."""


@click.group(cls=LazyGroup, lazy_commands=EVALUATIONS)
def evaluate() -> None:
    """Measure the error rates of a model and an index on your own photos.

    \b
    pairs        Do two photos show the same person? (LFW's protocol, or your own pairs)
    identify     Who is in the photo, if it is anybody in the index?
    people       How well can the faces of the index be grouped by person, without labels?
    robustness   The same, with blurred, dark, rotated or otherwise corrupted photos.

    docs/evaluation.md explains the measures and how the people in the photos are named.
    """
