"""The model contract: a record of all models and preprocessing that determine an embedding.

Only embeddings of equal contracts are compared or stored together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from msgspec import Meta

from faces.core.documents import VersionNumber
from faces.core.errors import ContractMismatchError

PREPROCESSING_VERSION = 3
"""Version of the preprocessing; raise it whenever a change of decoding, detection scale, alignment
or normalisation changes embeddings."""

MAX_DIMENSION = 65_536
"""Maximum number of dimensions of an embedding. No face network has as many, so a file that states
more is corrupt."""


Name = Annotated[str, Meta(max_length=4096, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
"""A name or digest: one line of text."""


@dataclass(frozen=True)
class ModelContract:
    """The models and the preprocessing that turned photos into embeddings.

    Embeddings can be compared only if their contracts are equal.

    Attributes:
        detector: name of the face detector, as in `faces.models.registry`.
        detector_digest: sha256 of the detector's weights file, hexadecimal.
        alignment: name of the crop template, as in `faces.models.alignment`.
        embedder: name of the face embedder, as in `faces.models.registry`.
        embedder_digest: sha256 of the embedder's weights file, hexadecimal.
        dimension: number of dimensions of an embedding, from 1 to `MAX_DIMENSION`.
        preprocessing_version: version of the preprocessing, see `PREPROCESSING_VERSION`.
    """

    detector: Name
    detector_digest: Name
    alignment: Name
    embedder: Name
    embedder_digest: Name
    dimension: Annotated[int, Meta(ge=1, le=MAX_DIMENSION)]
    preprocessing_version: VersionNumber = PREPROCESSING_VERSION

    def to_json(self) -> dict[str, str | int]:
        """Return the contract's fields as a JSON object, the form in which files store them."""
        return asdict(self)

    def __str__(self) -> str:
        digest = f"{self.detector_digest[:6]}/{self.embedder_digest[:6]}"
        return (
            f"{self.detector}+{self.embedder} ({self.dimension} dimensions, "
            f"{self.alignment} crops, weights {digest}, preprocessing {self.preprocessing_version})"
        )


def require_same_contract(
    ours: ModelContract, theirs: ModelContract, *, ours_name: str, theirs_name: str, remedy: str
) -> None:
    """Raise ContractMismatchError unless two contracts are equal; the message names both.

    Args:
        ours: the contract in use.
        theirs: the contract to check against `ours`.
        ours_name: what has the contract `ours`, such as "this run", for the message.
        theirs_name: what has the contract `theirs`, such as "dataset d", for the message.
        remedy: what the user should do next; ends the message.

    Raises:
        ContractMismatchError: the contracts differ.
    """
    if ours != theirs:
        raise ContractMismatchError(
            f"{ours_name} was made by {ours} but {theirs_name} by {theirs}: "
            f"their embeddings cannot be compared; {remedy}"
        )
