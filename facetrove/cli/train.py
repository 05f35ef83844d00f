"""`facetrove train`: the group of commands that train networks."""

from __future__ import annotations

import click

from facetrove.cli.lazy_group import LazyCommand, LazyGroup

NETWORKS = {
    "classifier": LazyCommand(
        "train_classifier:classifier", "Train a network that says what a face shows.", quiet=True
    ),
    "embedder": LazyCommand(
        "train_embedder:embedder", "Train a network that tells people apart.", quiet=True
    ),
    "head": LazyCommand(
        "train_head:head", "Train a small network on the embeddings of a dataset.", quiet=True
    ),
}
"""The commands of the group by name."""


@click.group(cls=LazyGroup, lazy_commands=NETWORKS)
def train() -> None:
    """Train a network of your own on the faces of a dataset.

    docs/training.md explains what is trained, and what a trained network is worth.
    """
