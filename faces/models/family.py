"""What a family of models has to offer, so that `faces.models.registry` can find and load them.

A family is a group of models that are loaded in one way: the built-in ones, deepface's, the
user's own. Each has a module that ends in its `ModelFamily`.
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
    """A function that loads one detector."""

    def __call__(
        self, selection: FaceSelection, *, threads: int, placement: Placement
    ) -> FaceDetector:
        """Load the detector, to find the faces of a selection.

        Raises:
            WrongUsageError: the detector does not run on the device of the placement.
            ModelUnavailableError: its weights or its package cannot be had.
        """
        ...


class EmbedderModel(Protocol):
    """An embedder that has been found by its name, and is not loaded yet.

    Attributes:
        alignment: how its crops are made, unless another way is chosen. The size of the crops is
            the embedder's in any case.
    """

    @property
    def alignment(self) -> Alignment: ...  # noqa: D102

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> FaceEmbedder:
        """Load the embedder, to embed crops of an alignment.

        Raises:
            WrongUsageError: the embedder does not run on the device of the placement.
            ModelUnavailableError: its weights or its package cannot be had.
        """
        ...


@dataclass(frozen=True)
class ModelFamily:
    """The models of one family.

    Attributes:
        embedders: the names of its embedders as `ModelChoice.embedder` has them, or words that
            say what is named there. They are listed to a user who names an unknown embedder.
        find_embedder: takes a name and, where several embedders may bear it, the digest of the
            one that is wanted, or None; gives None where the name is none of this family's.
        detectors: loaders of its detectors, by their names in `ModelChoice.detector`.
    """

    embedders: tuple[str, ...]
    find_embedder: Callable[[str, str | None], EmbedderModel | None]
    detectors: Mapping[str, DetectorLoader] = field(default_factory=dict)
