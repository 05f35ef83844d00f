"""What every training ends with: the card, and the files that are written beside the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.hashing import sha256_of
from faces.core.storage import put_file
from faces.dataset.store import Dataset
from facetrove.training.card import TrainingCard, Value, digests_for_card, write_card
from facetrove.training.card_page import write_card_page
from facetrove.training.labels import LabelledDataset
from facetrove.training.options import TrainingOptions
from facetrove.training.requirements import tensorflow_version


def network_path(model: Path) -> Path:
    """Return where the ONNX file of a TOML file lies."""
    return model.with_suffix(".onnx")


def card_of(
    kind: str,
    model: Path,
    faces: LabelledDataset,
    training: TrainingOptions,
    *,
    learnt: NDArray[np.int64],
    held_out: NDArray[np.int64],
    options: Mapping[str, Value],
    figures: Mapping[str, Value],
    curve: Sequence[Mapping[str, float]],
    by_keras: bool = True,
    **others: Any,
) -> TrainingCard:
    """Return the card of a network, which gets the digest of its file when that is written.

    Args:
        kind: `classifier`, `embedder` or `head`.
        model: the TOML file that describes the network.
        faces: the labelled faces.
        training: the options of all kinds of training.
        learnt, held_out: positions of the faces that it learnt from and was measured on.
        options, figures, curve: see `TrainingCard`.
        by_keras: whether Keras has trained it.
        others: fields of `TrainingCard` that not every network has, or has otherwise.
    """
    contract = faces.dataset.contract
    fields: dict[str, Any] = {
        "kind": kind,
        "name": model.stem,
        "licence": training.licence,
        "facetrove": version("facetrove"),
        "keras": version("keras") if by_keras else "",
        "tensorflow": tensorflow_version() if by_keras else "",
        "network_sha256": "",
        "detector": contract.detector,
        "detector_digest": contract.detector_digest,
        "alignment": contract.alignment,
        "num_faces": len(learnt),
        "num_people": len(np.unique(faces.people[learnt])),
        "num_held_out_faces": len(held_out),
        "num_held_out_people": len(np.unique(faces.people[held_out])),
        "num_unlabelled": faces.num_unlabelled,
        "seed": training.seed,
        "options": dict(options) | {"held_out": training.held_out, "face": training.face},
        "figures": dict(figures),
        "curve": list(map(dict, curve)),
        "face_digests": digests_for_card(faces.table["face_id"]),
    }
    return TrainingCard(**fields | others)


def write_trained(
    model: Path, description: str, card: TrainingCard, dataset: Dataset
) -> TrainingCard:
    """Write the TOML file, the card and its page beside a network's ONNX file.

    Args:
        model: the TOML file to write.
        description: its text.
        card: the card.
        dataset: the dataset that the network was trained on.

    Returns:
        The card with the digest of the ONNX file.
    """
    with put_file(model) as file:
        file.write(description.encode())
    card = replace(card, network_sha256=sha256_of(network_path(model)))
    write_card(model, card)
    write_card_page(model, card, dataset)
    return card
