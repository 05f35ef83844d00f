"""The options of an embed job and their defaults. This module does not load Apache Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faces.core.kinds import is_dataset
from faces.core.named import as_list
from faces.core.settings import Access, FaceSelection, PhotoLimits, SourceLimits
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from faces.photos.list_values import DateOrder


@dataclass(frozen=True)
class EmbedOptions:
    """The options of an embed job.

    Attributes:
        selection: which of the detected faces are kept; None: the dataset's selection, or all
            faces in a new dataset.
        limits: limits on photos; a photo beyond one is rejected.
        source_limits: limits on archives and photo lists; one beyond a limit is refused.
        access: the addresses that photo lists may name.
        retry_rejected: whether to try all rejected photos again. By default only those with a
            transient reason are, such as a read error, and those over a limit if the limits
            changed.
        drop_vanished: whether to drop the faces of photos that no longer exist at their uri, or are
            excluded now.
        drop_below: folders, archives or addresses: the photos that the dataset has of them and that
            are not there are dropped, as by `drop_photos`.
        exclude: patterns of files and folders that are excluded from folders, archives and
            patterns; see `faces.photos.passed_over`. A single one need not be in a list.
        rename: names that columns of photo lists get instead of those in the files, by these.
        date_order: what dates in photo lists, such as 03/04/1996, begin with where no date of the
            column says it: `day` or `month`; None: such a column stays text.
        complete_lists: whether the photo lists name all photos that have values in their columns:
            the other photos of the run lose theirs, as where a row was removed from a list.
        deletions_of: path of another dataset, of any models; the faces that were deleted from it
            are kept away from this dataset, too, and the faces that it has keep their face_ids.
            None: only this dataset's own.
    """

    selection: FaceSelection | None = None
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    source_limits: SourceLimits = field(default_factory=SourceLimits)
    access: Access = field(default_factory=Access)
    retry_rejected: bool = False
    drop_vanished: bool = False
    drop_below: Sequence[str | Path] = ()
    exclude: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    date_order: DateOrder | None = None
    complete_lists: bool = False
    deletions_of: str | Path | None = None

    def __post_init__(self) -> None:
        for name in ("drop_below", "exclude"):  # a single text would be taken letter by letter
            object.__setattr__(self, name, tuple(as_list(getattr(self, name))))


def default_models(dataset: str | Path, *, source: str | Path | None = None) -> ModelChoice:
    """Return the models of a dataset; for a new dataset, the default models.

    Args:
        dataset: folder of the dataset that is written; it may not exist yet.
        source: folder of the dataset whose faces are re-embedded, if any; a new dataset then takes
            its detector.

    Raises:
        WrongUsageError: there is no dataset at `source`.
    """
    if is_dataset(dataset):
        return ModelChoice.of_contract(Dataset.open(dataset).contract)
    if source is None:
        return ModelChoice()
    detector = Dataset.open(source).contract.detector
    return ModelChoice(detector=detector, asked_by_file=frozenset({detector}))


def sole_dataset(named: Sequence[str | Path]) -> str | Path | None:
    """Return the dataset that is named where photos are expected, if nothing else is named."""
    return named[0] if len(named) == 1 and is_dataset(named[0]) else None
