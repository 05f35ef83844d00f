"""The people book of another dataset, as a dataset that is embedded from it takes it over.

Faces keep their ids, so that what was decided about them holds. The book is followed as long as
nobody has decided anything in the new dataset: from then on each has a book of its own.
"""

from __future__ import annotations

from pathlib import Path

from faces.dataset.layout import PEOPLE_DIR, book_folder, dataset_folder
from faces.dataset.people_book import LEASE_SECONDS
from faces.dataset.people_decisions import book_files, read_decision, write_decision
from faces.dataset.people_groups import read_groups, write_groups


def follow_book(source_dir: Path, dataset_dir: Path) -> int:
    """Take over the decisions of another dataset's people book, and its grouping at first.

    If it is stopped at any point, the next call finishes it.

    Args:
        source_dir: folder of the dataset that is followed.
        dataset_dir: folder of the dataset that follows.

    Returns:
        The number of decisions that were taken over.

    Raises:
        BusyError: another process is writing the book.
        CorruptFileError: a file of a book cannot be read.
    """
    source = book_folder(source_dir)
    decisions, groups = book_files(source.names())
    if not decisions and groups is None:
        return 0
    dataset_folder(dataset_dir).make_folder(PEOPLE_DIR)
    book = book_folder(dataset_dir)
    with book.lease(what=f"the people book of {dataset_dir}", wait_seconds=LEASE_SECONDS):
        book.remove_temporary_files()
        own, own_groups = book_files(book.names())
        if not own.keys() <= decisions.keys():
            return 0
        if own_groups is None and groups is not None:
            write_groups(book, read_groups(source, groups), groups)
        new = [file for key, file in decisions.items() if own.get(key) != file]
        for file in new:
            if file.key in own and own[file.key].revision >= file.revision:
                continue
            write_decision(book, read_decision(source, file), revision=file.revision)
            if file.key in own:  # a purge has rewritten it there
                book.remove(own[file.key].name)
        return len(new)
