"""The people of an index that is being searched: its dataset's people book, as it is now."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

from faces.dataset.people_book import PeopleBook
from indexer.origin import find_dataset
from indexer.people_columns import GroupedRows, PeopleColumns
from indexer.snapshot import Snapshot

NamesFrom = Literal["book", "lists", "build"]
"""Where the names of people come from, see `FaceSearcher.names_from`."""


class IndexPeople:
    """The people book of the dataset of an index, found when it is first needed.

    Args:
        index_dir: path of the index's folder.
        dataset: folder of the dataset whose book is taken; None: that of the index's own dataset.
    """

    def __init__(self, index_dir: Path, dataset: Path | None) -> None:
        self._index_dir = index_dir
        self._given = dataset
        self._lock = threading.Lock()
        self._book: PeopleBook | None = None
        self._found_for: bytes | None = b""
        self._grouped = GroupedRows()
        self._last: tuple[Snapshot, Snapshot] | None = None

    def of(self, snapshot: Snapshot) -> Snapshot:
        """Return a version of the index with the people of its faces as the book has them now.

        Args:
            snapshot: the version, without people.

        Raises:
            CorruptFileError: a file of the book is corrupt.
            FaceTroveError: a newer facetrove has written the book.
        """
        book = self.book_of(snapshot)
        view = None if book is None else book.view()
        if view is None or view.is_empty:
            return snapshot
        last = self._last
        if last is not None and last[0] is snapshot:
            people = last[1].people
            if people is not None and people.view is view:
                return last[1]
        found = snapshot.with_people(PeopleColumns(view, self._grouped))
        self._last = snapshot, found
        return found

    def names_from(self, snapshot: Snapshot) -> NamesFrom:
        """Return where the names of people come from."""
        if self.book_of(snapshot) is None:
            return "build"
        return "lists" if self.of(snapshot).people is None else "book"

    def book_of(self, snapshot: Snapshot) -> PeopleBook | None:
        """Return the people book of the dataset; None: the dataset is not there."""
        with self._lock:
            if self._found_for != snapshot.line:
                dataset = self._given or find_dataset(self._index_dir, snapshot.manifest)
                if self._book is None or dataset != self._book.dataset_dir:
                    self._book = None if dataset is None else PeopleBook(dataset)
                self._found_for = snapshot.line
            return self._book
