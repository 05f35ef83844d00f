"""The TOML files that describe classifiers of faces, which `facetrove train classifier` writes.

    kind = "classifier"
    name = "expressions"
    network = "expressions.onnx"            # beside this file
    network_sha256 = "..."
    label = "expression"                    # what the classes are of: the name of the column
    classes = ["happiness", "neutral"]      # in the order of the network's output
    alignment = "arcface-112"               # how the crops that it takes are made
    detector = "yunet"                      # how the faces were found that it was trained on
    detector_digest = "..."
    licence = ""

The network takes crops (n, 112, 112, 3), RGB from 0 to 255 as float32, and gives the probability
of each class (n, classes).
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, ValidationError, convert

from faces.core.contract import ModelContract
from faces.core.errors import ContractMismatchError, WrongUsageError, first_line
from faces.core.hashing import sha256_of
from faces.models.alignment import ARCFACE_112

MAX_FILE_BYTES = 1_000_000
"""Largest size in bytes of a TOML file that is read."""

MAX_CLASSES = 10_000

ANY_DETECTOR = ""
"""Detector of a classifier that was trained on faces of no detector of ours, and takes all."""

COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")
"""Pattern of a label that can be the name of a measured column, without quotes in filters."""

Text = Annotated[str, Meta(max_length=200)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True)
class ClassifierFile:
    """The description of a classifier.

    Attributes:
        name: the classifier's name.
        network: name of the ONNX file, in the same folder.
        network_sha256: its digest, hexadecimal.
        label: what the classes are of.
        classes: the classes, in the order of the network's output.
        detector, detector_digest: the detector whose faces it was trained on, or `ANY_DETECTOR`.
        alignment: name of the alignment of the crops that it takes.
        licence: a note for the user.
        kind: always "classifier".
    """

    name: Text
    network: Text
    network_sha256: Digest
    label: Text
    classes: Annotated[tuple[Text, ...], Meta(min_length=2, max_length=MAX_CLASSES)]
    detector: Text
    detector_digest: Text
    alignment: Text = ARCFACE_112.name
    licence: str = ""
    kind: str = "classifier"

    @classmethod
    def of(
        cls,
        contract: ModelContract,
        *,
        path: Path,
        label: str,
        classes: tuple[str, ...],
        licence: str,
    ) -> ClassifierFile:
        """Describe a classifier whose ONNX file has been written beside its TOML file.

        Args:
            contract: the contract of the dataset that it was trained on.
            path: path of the TOML file.
            label, classes, licence: see the attributes.
        """
        network = path.with_suffix(".onnx")
        return cls(
            name=path.stem,
            network=network.name,
            network_sha256=sha256_of(network),
            label=label,
            classes=classes,
            detector=contract.detector,
            detector_digest=contract.detector_digest,
            licence=licence,
        )

    @staticmethod
    def is_at(path: Path) -> bool:
        """Tell whether a TOML file says that it describes a classifier."""
        try:
            with path.open("rb") as file:
                found = tomllib.loads(file.read(MAX_FILE_BYTES).decode())
        except (OSError, ValueError, RecursionError):
            return False
        return found.get("kind") == "classifier"

    @classmethod
    def read(cls, path: Path) -> ClassifierFile:
        """Read the TOML file of a classifier.

        Raises:
            WrongUsageError: there is no such file, or it describes no classifier.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
            found = convert(tomllib.loads(content.decode()), cls)
        except FileNotFoundError as error:
            raise WrongUsageError(f"there is no file {path}") from error
        except (OSError, ValueError, ValidationError, RecursionError) as error:
            raise WrongUsageError(
                f"{path} does not describe a classifier ({first_line(error)}); make one with "
                "`facetrove train classifier`"
            ) from error
        if found.kind != "classifier" or found.alignment != ARCFACE_112.name:
            raise WrongUsageError(
                f"{path} describes a {found.kind} of crops by {found.alignment}, expected a "
                f"classifier of crops by {ARCFACE_112.name}"
            )
        if Path(found.network).name != found.network:
            raise WrongUsageError(
                f"{path}, network: {found.network!r} is not the name of a file beside it"
            )
        return found

    def network_path(self, path: Path) -> Path:
        """Return the path of the ONNX file, after checking its digest.

        Args:
            path: path of the TOML file.

        Raises:
            WrongUsageError: there is no such file, or it is another.
        """
        network = path.parent / self.network
        if not network.is_file() or sha256_of(network) != self.network_sha256:
            raise WrongUsageError(
                f"{network} is missing, or not the network that {path.name} describes; put it "
                "back, or train it again"
            )
        return network

    def require_same_faces(self, contract: ModelContract, owner: str) -> None:
        """Check that a dataset's faces were found as those that the classifier was trained on.

        Args:
            contract: the dataset's contract.
            owner: the dataset, for the message.

        Raises:
            ContractMismatchError: they were found by another detector, whose landmarks differ.
        """
        if self.detector == ANY_DETECTOR:
            return
        if (contract.detector, contract.detector_digest) != (self.detector, self.detector_digest):
            raise ContractMismatchError(
                f"{self.name} was trained on faces that {self.detector} "
                f"({self.detector_digest[:12]}) found, and those of {owner} were found by "
                f"{contract.detector} ({contract.detector_digest[:12]}); train it on this dataset"
            )


def classifier_toml(described: ClassifierFile) -> str:
    """Return the TOML file of a classifier."""
    fields = asdict(described)
    names = ("kind", *(name for name in fields if name != "kind"))
    return "".join(f"{name} = {_toml(fields[name])}\n" for name in names)


def _toml(value: str | tuple[str, ...]) -> str:
    """Return a text or texts in TOML, whose escapes JSON's are, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
