"""Purge a people book: take deleted faces and erased names out of its files and read models.

Only a purge rewrites decisions. The new revision of a file is there before the earlier one is
removed, so that a purge that is stopped has lost no decision, and the next one finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.layout import PEOPLE_DIR, BookFile, book_folder, dataset_folder
from faces.dataset.names import PersonName
from faces.dataset.people_book import LEASE_SECONDS
from faces.dataset.people_decisions import Decision, book_files, read_decision, write_decision
from faces.dataset.people_groups import Groups, read_groups, write_groups
from faces.dataset.people_model import remove_models
from faces.dataset.schema import with_column

AreGone = Callable[[pa.Array], pa.Array]
"""Tells of (n,) face_ids which are deleted or superseded: (n,) bool."""


@dataclass(frozen=True)
class BookPurge:
    """What a purge removed from a people book.

    Attributes:
        num_faces: number of faces removed, each counted in every decision and grouping with it.
        num_names: number of decisions, and of rows of the grouping, from which a name was removed.
        num_models: number of read models removed from this machine's cache.
    """

    num_faces: int = 0
    num_names: int = 0
    num_models: int = 0


def purge_book(dataset_dir: Path, are_gone: AreGone, names: Sequence[PersonName]) -> BookPurge:
    """Take faces and names out of a people book and of the read models on this machine.

    Args:
        dataset_dir: the dataset's folder.
        are_gone: which faces are to be removed.
        names: names of people to be removed, of authors too.

    Raises:
        BusyError: another process is writing the book.
        CorruptFileError: a file of the book cannot be read.
    """
    if not dataset_folder(dataset_dir).exists(PEOPLE_DIR):
        return BookPurge(num_models=remove_models())
    folder = book_folder(dataset_dir)
    num_faces = num_names = 0
    with folder.lease(what=f"the people book of {dataset_dir}", wait_seconds=LEASE_SECONDS):
        folder.remove_temporary_files()
        decisions, groups = book_files(folder.names())
        for file in decisions.values():
            decision = read_decision(folder, file)
            cleaned, num_gone = _without_faces(decision, are_gone)
            nameless = _without_names(cleaned, names)
            num_faces += num_gone
            num_names += nameless != cleaned
            if nameless != decision:
                write_decision(folder, nameless, revision=file.revision + 1)
        if groups is not None:
            of_groups = _purge_groups(dataset_dir, groups, are_gone, names)
            num_faces, num_names = num_faces + of_groups[0], num_names + of_groups[1]
        latest, groups = book_files(folder.names())
        kept = {file.name for file in latest.values()} | ({groups.name} if groups else set())
        for name in folder.names():
            if BookFile.of(name) is not None and name not in kept:
                folder.remove(name)
    return BookPurge(num_faces, num_names, remove_models())


def has_book(dataset_dir: Path) -> bool:
    """Return whether a dataset has files of a people book."""
    return any(BookFile.of(name) is not None for name in book_folder(dataset_dir).names())


def _without_faces(decision: Decision, are_gone: AreGone) -> tuple[Decision, int]:
    """Return a decision without the faces that are gone, and how many these are."""
    if not decision.faces:
        return decision, 0
    gone = are_gone(pa.array(decision.faces, pa.string())).to_pylist()
    kept = [number for number, is_gone in enumerate(gone) if not is_gone]
    if len(kept) == len(gone):
        return decision, 0
    faces = tuple(decision.faces[number] for number in kept)
    rows = tuple(decision.rows[number] for number in kept) if decision.rows else ()
    return replace(decision, faces=faces, rows=rows), len(gone) - len(kept)


def _without_names(decision: Decision, names: Sequence[PersonName]) -> Decision:
    """Return a decision without names of people, also as its author's."""
    for name in names:
        author, said = decision.author, decision.name
        decision = replace(
            decision,
            author=name.cut_from(author) or "" if name.is_in(author) else author,
            name=name.cut_from(said) if said is not None and name.is_in(said) else said,
            names=tuple(
                name.cut_from(one) if one is not None and name.is_in(one) else one
                for one in decision.names
            ),
        )
    return decision


def _purge_groups(
    dataset_dir: Path, file: BookFile, are_gone: AreGone, names: Sequence[PersonName]
) -> tuple[int, int]:
    """Take faces and names out of the grouping; return how many rows lost them."""
    folder = book_folder(dataset_dir)
    groups = read_groups(folder, file)
    table = groups.table
    gone = are_gone(table["face_id"].combine_chunks())
    kept = table.filter(pc.invert(gone))
    listed = kept["listed"].to_pylist()
    cleaned = list(listed)
    for name in names:
        texts = {text: name.cut_from(text) for text in set(cleaned) if text and name.is_in(text)}
        cleaned = [texts.get(text, text) if text else text for text in cleaned]
    num_names = sum(one != other for one, other in zip(listed, cleaned, strict=True))
    if len(kept) < len(table) or num_names:
        kept = with_column(kept, "listed", pa.array(cleaned, pa.string()))
        new = BookFile(file.key, file.revision + 1, "groups")
        write_groups(folder, Groups(kept.combine_chunks(), groups.next_person), new)
    return len(table) - len(kept), num_names
