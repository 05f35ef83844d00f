"""The card of a trained network: what it was trained on, how, and what it was measured to do.

It lies beside the network's TOML file `my_model.toml` as `my_model.card.toml`, and as the page
`my_model.html` for people. It names nobody: of the faces that were trained on it has digests, by
which `facetrove models my_model.toml --dataset DATASET` counts those that were deleted since.
"""

from __future__ import annotations

import base64
import binascii
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import ValidationError, convert
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.storage import put_file
from faces.dataset.deletions import face_digests

DIGEST_BYTES = 8
"""Bytes of a face's digest that a card keeps: of a million faces, two others share one with a
probability of one in 37 million."""

MAX_CARD_BYTES = 64_000_000
"""Largest size in bytes of a card that is read: that of four million faces."""

Value = str | int | float | bool
"""A value of an option or a figure on a card."""


@dataclass(frozen=True)
class TrainingCard:
    """The card of a trained network.

    Attributes:
        kind: `classifier`, `embedder` or `head`.
        name: the network's name.
        licence: the licence that the user gave it; "" where none was given.
        facetrove, keras, tensorflow: versions of the libraries that trained it.
        network_sha256: digest of the ONNX file.
        detector, detector_digest, alignment: how its faces were found and cropped, from the
            dataset's contract.
        num_faces, num_people: numbers of faces and people that it learnt from.
        num_held_out_faces, num_held_out_people: those that it was measured on.
        num_unlabelled: number of photos with faces that had no label.
        classes: number of faces of each class, held-out ones included; empty where the classes are
            people.
        left_out: number of faces of each class that was too small.
        seed: seed of the training.
        options: the other options, by name.
        figures: what was measured on the people held out, by name.
        per_class: the figures of each class, by the class and the figure's name.
        curve: for each epoch its figures by name, such as `loss`.
        face_digests: the first 8 bytes of the `face_digest` of each face, sorted, as base64.
    """

    kind: str
    name: str
    licence: str
    facetrove: str
    keras: str
    tensorflow: str
    network_sha256: str
    detector: str
    detector_digest: str
    alignment: str
    num_faces: int
    num_people: int
    num_held_out_faces: int
    num_held_out_people: int
    num_unlabelled: int
    seed: int
    classes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    options: dict[str, Value] = field(default_factory=dict)
    figures: dict[str, Value] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    face_digests: str = ""

    def num_deleted(self, deleted: pa.Array) -> int:
        """Count the faces of this card that are among deleted faces.

        Args:
            deleted: `face_digest` of each deleted face, as text.

        Raises:
            WrongUsageError: the card's digests are not what a card has.
        """
        try:
            content = base64.b64decode(self.face_digests, validate=True)
            own = np.frombuffer(content, f"S{DIGEST_BYTES}")
        except (binascii.Error, ValueError) as error:
            raise WrongUsageError(
                f"the card of {self.name} has damaged digests of faces ({first_line(error)}); "
                "train the network again"
            ) from error
        return int(np.isin(own, _short_digests(deleted)).sum())

    @property
    def num_digests(self) -> int:
        """The number of faces, held-out ones included, whose digests the card keeps."""
        return len(self.face_digests) * 3 // 4 // DIGEST_BYTES


def _short_digests(digests: pa.Array) -> NDArray[np.bytes_]:
    """Return the first bytes of digests, which are hexadecimal text: (n,) `S8`."""
    text = "".join(digest[: 2 * DIGEST_BYTES] for digest in digests.to_pylist())
    return np.frombuffer(bytes.fromhex(text), f"S{DIGEST_BYTES}")


def digests_for_card(face_ids: pa.Array | pa.ChunkedArray) -> str:
    """Return what a card keeps of the faces with these ids; see `TrainingCard.face_digests`."""
    digests = np.sort(_short_digests(face_digests(face_ids)))
    return base64.b64encode(digests.tobytes()).decode()


def card_path(model: Path) -> Path:
    """Return the path of the card of the network that a TOML file describes."""
    return model.with_suffix(".card.toml")


def write_card(model: Path, card: TrainingCard) -> None:
    """Write the card of the network that a TOML file describes.

    Args:
        model: path of the TOML file.
        card: what to write.
    """
    with put_file(card_path(model)) as file:
        file.write(toml_text(vars(card)).encode())


def read_card(model: Path) -> TrainingCard:
    """Read the card of the network that a TOML file describes.

    Args:
        model: path of the TOML file.

    Raises:
        WrongUsageError: there is no card, or it is no card.
    """
    path = card_path(model)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
        if len(content) > MAX_CARD_BYTES:
            raise ValueError(f"it has more than {MAX_CARD_BYTES:,} bytes")
        return convert(tomllib.loads(content.decode()), TrainingCard, strict=False)
    except FileNotFoundError as error:
        raise WrongUsageError(
            f"there is no card {path}; only networks that `facetrove train` made have one"
        ) from error
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise WrongUsageError(
            f"{path} is not a card of a trained network ({first_line(error)}); train it again"
        ) from error


def given_options(options: Any) -> dict[str, Value]:
    """Return the fields of a dataclass that are not None: a card is TOML, which has no null."""
    return {name: value for name, value in asdict(options).items() if value is not None}


def toml_text(values: Mapping[str, Any]) -> str:
    """Return values as a TOML document: plain ones first, then tables, then lists of tables.

    Args:
        values: text, numbers, true and false, lists of such, dictionaries (one level of them in
            another), and lists of dictionaries.
    """
    return "\n".join([*_toml_lines(values, ())]) + "\n"


def _toml_lines(values: Mapping[str, Any], name: tuple[str, ...]) -> Sequence[str]:
    lines = [f"{_toml_key(key)} = {_toml_value(v)}" for key, v in values.items() if _is_plain(v)]
    for key, value in values.items():
        path = (*name, key)
        header = ".".join(map(_toml_key, path))
        if isinstance(value, Mapping):
            lines += ["", f"[{header}]", *_toml_lines(value, path)]
        elif not _is_plain(value):
            for row in value:
                lines += ["", f"[[{header}]]", *_toml_lines(row, path)]
    return lines


def _is_plain(value: Any) -> bool:
    tables = isinstance(value, list) and value and isinstance(value[0], Mapping)
    return not isinstance(value, Mapping) and not tables


def _toml_key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if is_bare else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for one character that JSON allows
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(float(value))
    return json.dumps(value)
