"""The options of an embed job, and what holds where none are given. This module is light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faces.core.kinds import is_dataset
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice


@dataclass(frozen=True)
class EmbedOptions:
    """What a run takes and leaves.

    Attributes:
        selection: which faces are kept. None: as the dataset was begun, or all.
        limits: of the photos tried.
        retry_rejected: try all rejected photos again, not only those that could not be read.
        drop_vanished: drop the faces of photos that are no longer where they were.
    """

    selection: FaceSelection | None = None
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    retry_rejected: bool = False
    drop_vanished: bool = False


def default_models(dataset: str | Path, *, source: str | Path | None = None) -> ModelChoice:
    """The models of a dataset; for a new one the built-in ones, or the detector of the source.

    Args:
        dataset: folder that is written, and may not exist yet.
        source: the dataset whose faces are embedded again, if it is one.

    Raises:
        WrongUsageError: there is no dataset `source`.
    """
    if is_dataset(dataset):
        return ModelChoice.of_contract(Dataset.open(dataset).contract)
    if source is None:
        return ModelChoice()
    return ModelChoice(detector=Dataset.open(source).contract.detector)


def sole_dataset(named: Sequence[str | Path]) -> str | Path | None:
    """The dataset that is named where photos may be, if nothing else is named beside it."""
    return named[0] if len(named) == 1 and is_dataset(named[0]) else None
