"""What made an embedding, written down: embeddings of different contracts never meet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from faces.core.errors import ContractMismatchError, CorruptFileError

PREPROCESSING_VERSION = 3
"""Raised whenever decoding, detection scale, alignment or normalisation change embeddings."""

MAX_DIMENSION = 65_536
"""More than any face network has; a file that says more is corrupt."""


@dataclass(frozen=True)
class ModelContract:
    """Exactly what turned photos into vectors. Two contracts are compatible when equal.

    Attributes:
        detector: name of the face detector, as in `faces.models.registry`.
        detector_digest: sha256 of the detector's weights file, hexadecimal.
        alignment: name of the crop template, as in `faces.models.alignment`.
        embedder: name of the face embedder, as in `faces.models.registry`.
        embedder_digest: sha256 of the embedder's weights file, hexadecimal.
        dimension: numbers in an embedding.
        preprocessing_version: see `PREPROCESSING_VERSION`.
    """

    detector: str
    detector_digest: str
    alignment: str
    embedder: str
    embedder_digest: str
    dimension: int
    preprocessing_version: int = PREPROCESSING_VERSION

    def to_json(self) -> dict[str, str | int]:
        """The fields as they are stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any, *, source: str) -> ModelContract:
        """Read a contract from parsed JSON; `source` names the file in the error."""
        expected = {field.name: int if field.type == "int" else str for field in fields(cls)}
        if (
            not isinstance(document, dict)
            or document.keys() != expected.keys()
            or any(type(document[name]) is not kind for name, kind in expected.items())
            or not 1 <= document["dimension"] <= MAX_DIMENSION
        ):
            raise CorruptFileError(
                f"{source} holds no valid model contract (expected the fields "
                f"{', '.join(expected)}); it is corrupt or of another version of facetrove"
            )
        return cls(**document)

    def __str__(self) -> str:
        digest = f"{self.detector_digest[:6]}/{self.embedder_digest[:6]}"
        return (
            f"{self.detector}+{self.embedder} ({self.dimension} numbers, {self.alignment} crops, "
            f"weights {digest}, preprocessing {self.preprocessing_version})"
        )


def require_same_contract(
    ours: ModelContract, theirs: ModelContract, *, ours_name: str, theirs_name: str, remedy: str
) -> None:
    """Raise ContractMismatchError naming both contracts and the `remedy` unless they are equal."""
    if ours != theirs:
        raise ContractMismatchError(
            f"{ours_name} was made by {ours} but {theirs_name} by {theirs}: "
            f"their embeddings cannot be compared; {remedy}"
        )
