"""Datasets with a people book, whose groups a test chooses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from faces.dataset.people_book import PeopleBook
from faces.dataset.people_groups import Groups
from tests.support.small_collections import Collection, many_photos


def groups_of(people: Mapping[str, int], listed: Mapping[str, str] | None = None) -> Groups:
    """Return a grouping by the number of each face's person, with names by lists."""
    columns = {
        "face_id": pa.array(list(people), pa.string()),
        "person": pa.array(list(people.values()), pa.int64()),
        "doubt": pa.array([0.25] * len(people), pa.float32()),
        "listed": pa.array([(listed or {}).get(face) for face in people], pa.string()),
    }
    return Groups.of(pa.table(columns))


def group(
    dataset: Path, people: Mapping[str, int], listed: Mapping[str, str] | None = None
) -> None:
    """Replace the grouping of a dataset."""
    book = PeopleBook(dataset, "machine")
    with book.writing() as view:
        book.replace_groups(groups_of(people, listed), view)


def grouped_collection(folder: Path, *, photos: int = 8, people: int = 4) -> Collection:
    """Embed photos with three faces each, and group the faces by turns into people 1, 2, ..."""
    collection = Collection(folder)
    collection.embed(many_photos(photos))
    faces = sorted(collection.faces())
    group(folder, {face: number % people + 1 for number, face in enumerate(faces)})
    return collection
