"""`facetrove evaluate`: how well a model and an index do; a group of commands."""

from __future__ import annotations

import click

from facetrove.cli.lazy_group import LazyCommand, LazyGroup

EVALUATIONS = {
    "identify": LazyCommand("evaluate_identify:identify", "1:N: who is it, and is it anybody?"),
    "pairs": LazyCommand("evaluate_pairs:pairs", "1:1: are two photos of one person?"),
    "robustness": LazyCommand(
        "evaluate_robustness:robustness", "1:N under corruption of the photos.", quiet=True
    ),
}


@click.group(cls=LazyGroup, lazy_commands=EVALUATIONS)
def evaluate() -> None:
    """Measure how well a model and an index do on your photos.

    \b
    pairs        are these two photos of one person? (LFW's protocol, or your own pairs)
    identify     who is it? Among enrolled people, and among people who are not enrolled
    robustness   the same under corruption: compression, blur, noise, rotation, covered eyes...

    See docs/evaluation.md.
    """
