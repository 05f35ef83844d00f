"""The interface of a family of models, by which `faces.models.registry` finds and loads them.

A family is a group of models that are loaded in one way: the built-in models, deepface's, or custom
models. Each family has a module that ends in its `ModelFamily`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from faces.core.settings import FaceSelection
from faces.models.alignment import Alignment
from faces.models.pipeline import FaceDetector, FaceEmbedder
from faces.models.placement import Placement


class DetectorLoader(Protocol):
    """A function that loads one detector of a family."""

    def __call__(
        self, selection: FaceSelection, *, threads: int, placement: Placement
    ) -> FaceDetector:
        """Load the detector.

        Args:
            selection: which faces the detector has to find, such as their minimum score and size.
            threads: number of CPU cores to use.
            placement: device and precision that the detector runs with.

        Raises:
            WrongUsageError: the detector does not run on that device.
            ModelUnavailableError: the detector's weights or package are missing and cannot be
                fetched.
        """
        ...


class EmbedderModel(Protocol):
    """An embedder that was found by its name but is not loaded yet.

    Attributes:
        alignment: the alignment that crops are made with unless another is chosen. Its crops have
            the size of the embedder's input.
    """

    @property
    def alignment(self) -> Alignment: ...  # noqa: D102

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> FaceEmbedder:
        """Load the embedder.

        Args:
            threads: number of CPU cores to use.
            placement: device and precision that the embedder runs with.
            alignment: the alignment that crops are made with.

        Raises:
            WrongUsageError: the embedder does not run on that device.
            ModelUnavailableError: the embedder's weights or package are missing and cannot be
                fetched.
        """
        ...


@dataclass(frozen=True)
class ModelFamily:
    """The embedders and detectors of one family.

    Attributes:
        embedders: names of the family's embedders as in `ModelChoice.embedder`, or a description of
            such a name. An error message lists them to a user who misspells a name.
        find_embedder: function from an embedder's name and digest to the embedder. The digest is
            None, or tells embedders of one name apart. The function returns None for a name that is
            not of this family.
        detectors: loaders of the family's detectors by their names in `ModelChoice.detector`.
    """

    embedders: tuple[str, ...]
    find_embedder: Callable[[str, str | None], EmbedderModel | None]
    detectors: Mapping[str, DetectorLoader] = field(default_factory=dict)
