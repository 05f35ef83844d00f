"""The names of models and alignments, and the options that choose among them.

Importing this module is cheap: it loads no network and no library that runs one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.settings import ModelDevice, Precision
from faces.models.placement import Placement

BUILT_IN_DETECTORS = ("yunet", "yunet-refined")
BUILT_IN_EMBEDDERS = ("sface-int8", "sface", "sface-int8-mirrored")

Quality = Literal["standard", "best"]

MODELS_OF_QUALITY: dict[Quality, tuple[str, str]] = {
    "standard": ("yunet", "sface-int8"),
    "best": ("yunet-refined", "sface-int8-mirrored"),
}
"""By quality, the names of the detector and the embedder. The best ones look at every face twice,
and embed its mirror image too; benchmarks/README.md has what that gains and costs."""

DEEPFACE = "deepface:"
"""Prefix of the names of deepface's models."""

FIVE_POINT_ALIGNMENT = "five-point"
DEEPFACE_ALIGNMENT = "deepface"
FACE_RECOGNITION_ALIGNMENT = "face_recognition"
FACENET_ALIGNMENT = "facenet"
OPENFACE_ALIGNMENT = "openface"
ALIGNMENTS = (
    FIVE_POINT_ALIGNMENT,
    DEEPFACE_ALIGNMENT,
    FACE_RECOGNITION_ALIGNMENT,
    FACENET_ALIGNMENT,
    OPENFACE_ALIGNMENT,
)
"""Names of the alignments that can be chosen: five landmarks on a template, or the alignments of
deepface, face_recognition, FaceNet and OpenFace."""


@dataclass(frozen=True)
class ModelChoice:
    """Options that choose the models, and where they run.

    Attributes:
        detector: name of the detector: "yunet", "yunet-refined", or one of deepface's, such as
            "deepface:retinaface".
        embedder: name of the embedder: one of `BUILT_IN_EMBEDDERS`, one of deepface's, such as
            "deepface:ArcFace", or a custom model's. A custom model is first named by the path of
            its TOML file, see `faces.models.custom_models`; later its own name suffices.
        embedder_digest: hexadecimal digest that tells custom models of one name apart; None: the
            one that was registered last. With a digest, no TOML file is read.
        alignment: one of `ALIGNMENTS`; None: the embedder's default alignment.
        device: where the networks run: "auto", "cpu", "cuda", "tensorrt", "coreml" or "openvino".
        precision: floating-point precision, "fp32" or "fp16"; "fp16" needs cuda, tensorrt or
            coreml.
        asked_by_file: names of those models that a dataset or an index asks for, and not the user.
            Nothing is downloaded for them.
    """

    detector: str = "yunet"
    embedder: str = "sface-int8"
    embedder_digest: str | None = None
    alignment: str | None = None
    device: ModelDevice = "auto"
    precision: Precision = "fp32"
    asked_by_file: frozenset[str] = frozenset()

    @classmethod
    def of_quality(cls, quality: Quality) -> ModelChoice:
        """Return the choice of the built-in models of a quality.

        Args:
            quality: "standard": the default models; "best": a fifth fewer people are missed, for
                about twice the time.

        Raises:
            WrongUsageError: there is no such quality.
        """
        if quality not in MODELS_OF_QUALITY:
            raise WrongUsageError(
                f"quality is {quality!r}; give {' or '.join(map(repr, MODELS_OF_QUALITY))}"
            )
        detector, embedder = MODELS_OF_QUALITY[quality]
        return cls(detector, embedder)

    @classmethod
    def of_contract(cls, contract: ModelContract) -> ModelChoice:
        """Return the choice of the models that made existing embeddings.

        Args:
            contract: the contract of these embeddings.
        """
        # A template's name, such as arcface-112, stands for five-point alignment.
        named = contract.alignment in ALIGNMENTS
        return cls(
            contract.detector,
            contract.embedder,
            contract.embedder_digest,
            contract.alignment if named else FIVE_POINT_ALIGNMENT,
            asked_by_file=frozenset({contract.detector, contract.embedder}),
        )

    def with_changes(
        self, *, detector: str | None, embedder: str | None, alignment: str | None
    ) -> ModelChoice:
        """Return a copy with every option applied that is not None.

        Another embedder resets the alignment to the embedder's own, unless `alignment` is given
        too.

        Args:
            detector, embedder, alignment: the new value of the attribute of that name; None: the
                attribute stays as it is, except for the alignment of another embedder.
        """
        by_file = self.asked_by_file - {detector, embedder}
        changed = replace(self, detector=detector or self.detector, asked_by_file=by_file)
        if embedder is not None and embedder != self.embedder:
            changed = replace(changed, embedder=embedder, embedder_digest=None, alignment=None)
        return replace(changed, alignment=alignment or changed.alignment)

    def continuing(self, contract: ModelContract) -> ModelChoice:
        """Return a copy that goes on with the alignment of existing embeddings.

        The default alignment of an embedder may be another one than when they were made.

        Args:
            contract: the contract of these embeddings. Where it has another embedder, or an
                alignment is chosen, the choice stays as it is.
        """
        if self.alignment is not None or self.embedder != contract.embedder:
            return self
        return replace(self, alignment=ModelChoice.of_contract(contract).alignment)

    def absolute(self) -> ModelChoice:
        """Return a copy that holds in other working directories: a TOML file's path is absolute."""
        if not is_model_file(self.embedder):
            return self
        return replace(self, embedder=os.path.abspath(self.embedder))

    @property
    def placement(self) -> Placement:
        """The device and precision that the networks run with."""
        return Placement(self.device, self.precision)


def is_model_file(name: str) -> bool:
    """Tell whether an embedder's name is the path of a TOML file."""
    return name.endswith(".toml")
