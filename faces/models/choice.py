"""The names of models and of alignments, and a user's choice among them.

This module is light: it loads no network and no library that runs one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from faces.core.contract import ModelContract
from faces.core.settings import ModelDevice, Precision
from faces.models.placement import Placement

BUILT_IN_DETECTORS = ("yunet",)
BUILT_IN_EMBEDDERS = ("sface-int8", "sface")

DEEPFACE = "deepface:"
"""Names of deepface's models begin so."""

FIVE_POINT_ALIGNMENT = "five-point"
DEEPFACE_ALIGNMENT = "deepface"
FACE_RECOGNITION_ALIGNMENT = "face_recognition"
ALIGNMENTS = (FIVE_POINT_ALIGNMENT, DEEPFACE_ALIGNMENT, FACE_RECOGNITION_ALIGNMENT)
"""Ways to cut crops that can be chosen: landmarks on the network's template, or as these programs
do."""


@dataclass(frozen=True)
class ModelChoice:
    """Which detector and embedder to use, and where.

    Attributes:
        detector: yunet, or one of deepface's: deepface:retinaface.
        embedder: sface-int8, sface, one of deepface's (deepface:ArcFace), or the path of a file
            ending in .toml that describes another: see `faces.models.custom_models`. Once used,
            that has a name of its own.
        embedder_digest: of several models of one's own by one name, this one.
        alignment: one of `ALIGNMENTS`; None: as the embedder was trained.
        device, precision: see `faces.models.placement`.
    """

    detector: str = "yunet"
    embedder: str = "sface-int8"
    embedder_digest: str | None = None
    alignment: str | None = None
    device: ModelDevice = "auto"
    precision: Precision = "fp32"

    @classmethod
    def of_contract(cls, contract: ModelContract) -> ModelChoice:
        """The models that made existing embeddings."""
        named = contract.alignment in ALIGNMENTS
        return cls(
            contract.detector,
            contract.embedder,
            contract.embedder_digest,
            contract.alignment if named else FIVE_POINT_ALIGNMENT,
        )

    def with_changes(
        self, *, detector: str | None, embedder: str | None, alignment: str | None
    ) -> ModelChoice:
        """The same choice but for what is given; another embedder brings its own alignment."""
        changed = replace(self, detector=detector or self.detector)
        if embedder is not None:
            changed = replace(changed, embedder=embedder, embedder_digest=None, alignment=None)
        return replace(changed, alignment=alignment or changed.alignment)

    def absolute(self) -> ModelChoice:
        """The same choice for a process with another current folder."""
        if not is_model_file(self.embedder):
            return self
        return replace(self, embedder=os.path.abspath(self.embedder))

    @property
    def placement(self) -> Placement:
        """Where the networks are to run."""
        return Placement(self.device, self.precision)


def is_model_file(name: str) -> bool:
    """Whether an embedder is named by its TOML file."""
    return name.endswith(".toml")
