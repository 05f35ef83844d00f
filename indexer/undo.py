"""Take back a deletion, as long as no purge has made it final, or a decision about people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.deleted_pictures import drop_released_pictures
from faces.dataset.deletion_records import Deletion
from faces.dataset.deletion_steps import take_back
from faces.dataset.deletions import read_deletions
from faces.dataset.people_book import PeopleBook
from faces.dataset.people_decisions import DECISION_ID, Decision
from faces.dataset.people_verbs import undo_decision
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.delete import open_all
from indexer.siblings import unnamed_indexes


@dataclass(frozen=True)
class UndoResult:
    """The result of taking a deletion or a decision about people back.

    Attributes:
        deletion_id: id of what was taken back.
        num_faces: number of faces that readers of the dataset see again. Faces that another
            deletion withholds too are not among them.
        indexes: paths of the indexes that were brought up to date.
        unnamed_indexes: paths of further indexes of the dataset, found beside it or beside the
            indexes named, which follow when they are next brought up to date.
        decision: the decision that takes another one back; None: a deletion was taken back.
    """

    deletion_id: str
    num_faces: int
    indexes: tuple[str, ...]
    unnamed_indexes: tuple[str, ...]
    decision: Decision | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def list_deletions(dataset: str | Path) -> tuple[Deletion, ...]:
    """Return the deletions of a dataset that can be taken back, oldest first.

    Args:
        dataset: path of the dataset's folder.

    Raises:
        WrongUsageError: there is no dataset at that path.
        CorruptFileError: the file of deletions is corrupt.
    """
    return read_deletions(Dataset.open(Path(dataset)).path).undoable


def undo(
    dataset: str | Path,
    deletion_id: str,
    indexes: str | Path | Sequence[str | Path] = (),
    *,
    on_progress: OnProgress = ignore_progress,
) -> UndoResult:
    """Take a deletion back, so that its faces are found again, or a decision about people.

    A decision is taken back for all indexes at once. Of a deletion, the indexes named are brought
    up to date with the dataset; an index that is not named follows at its next update. Faces that
    were kept away from edited copies of their photos come with the next `embed_photos` of these. If
    this is interrupted, the same call finishes it.

    Args:
        dataset: path of the dataset's folder.
        deletion_id: id of the deletion, from `list_deletions` or `DeletionResult.deletion_id`; or
            of a decision, from `People.decisions`.
        indexes: paths of indexes built from the dataset.
        on_progress: called with each step and how far it is.

    Returns:
        The number of faces that are seen again.

    Raises:
        WrongUsageError: the dataset or an index does not exist, there is no such deletion or
            decision, a purge has made it final, or other decisions rest on it.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is deleting from the dataset, or is writing an index.
    """
    source, opened = open_all(dataset, indexes)
    if DECISION_ID.fullmatch(deletion_id):
        decision = undo_decision(PeopleBook(source.path), deletion_id)
        return UndoResult(deletion_id, 0, (), (), decision)
    num_faces = take_back(source.path, deletion_id)
    drop_released_pictures(source.path)
    paths = [path for path, _ in opened]
    for path in paths:
        build_index(source.path, path, on_progress=on_progress)
    return UndoResult(
        deletion_id=deletion_id,
        num_faces=num_faces,
        indexes=tuple(map(str, paths)),
        unnamed_indexes=tuple(map(str, unnamed_indexes(source, paths))),
    )
