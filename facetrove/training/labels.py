"""The labelled faces of a dataset, of which some are to learn from and some to be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from facetrove.evaluation.labels import FOLDER, FaceChoice, choose_faces, labels_of

MAX_CLASS_SHARE = 0.5
"""Maximum number of different values of a column of labels, as a share of the labelled faces. With
more, most values occur once: the column holds something like names of files."""


@dataclass(frozen=True, eq=False)
class LabelledDataset:
    """The labelled faces of a dataset, at most one per photo content, sorted by content.

    Attributes:
        dataset: the dataset.
        table: (n rows) face_id, photo_id, uri, also_at, box and landmarks of the labelled faces.
        rows: (n,) int64 positions of these faces in `Dataset.faces()`, and so in
            `Dataset.embeddings()`.
        classes: (n,) int64 number of each face's class, from 0.
        names: (num_classes,) the classes' labels, by that number, sorted.
        people: (n,) int64 number of each face's person, from 0.
        left_out: the labels of classes that were left out as too small, with their numbers of
            faces.
        num_unlabelled: number of photos with faces of which none is labelled.
    """

    dataset: Dataset
    table: pa.Table
    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    people: NDArray[np.int64]
    left_out: dict[str, int]
    num_unlabelled: int

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, positions: NDArray[np.int64]) -> LabelledDataset:
        """Return only the faces at some positions, with classes and people numbered as before."""
        return replace(
            self,
            table=self.table.take(pa.array(positions)),
            rows=self.rows[positions],
            classes=self.classes[positions],
            people=self.people[positions],
        )


def read_labelled(
    dataset: Dataset,
    *,
    label: str | None,
    people: str | None,
    face: FaceChoice = "largest",
    min_class: int = 1,
) -> LabelledDataset:
    """Read the labelled faces of a dataset.

    Args:
        dataset: the dataset.
        label: the column of labels; None: the classes are the people themselves.
        people: `folder`, or the column that names the person in a photo; None: `person`.
        face: which of a photo's faces its label is for.
        min_class: minimum number of labelled faces of a class; smaller ones are left out.

    Raises:
        WrongUsageError: there is no such column or label, fewer than two classes or people are
            left, or the labels are as many as the faces.
    """
    columns = ["face_id", "photo_id", "uri", "also_at", "box", "landmarks"]
    asked = [name for name in (label, people or "person") if name not in (None, FOLDER)]
    named = {dataset.face_name(name): name for name in asked if name in dataset.metadata.names}
    table = dataset.faces([*columns, *named]).to_arrow()
    table = table.rename_columns([named.get(name, name) for name in table.column_names])
    sizes = _photo_sizes(dataset) if face == "central" else None
    rows = choose_faces(table, face, sizes)
    source = f"dataset {dataset.path}"
    persons = labels_of(table, rows, people, source=source)
    labels = persons if label is None else _column_of_labels(table, rows, label, source)
    labelled = pc.and_(pc.is_valid(labels), pc.is_valid(persons))
    labelled = np.flatnonzero(labelled.to_numpy(zero_copy_only=False))
    _require_labelled(len(labelled), asked, source)
    num_photos = pc.count_distinct(table["photo_id"]).as_py()
    contents = table["photo_id"].take(pa.array(rows[labelled]))
    labelled = labelled[pc.sort_indices(contents).to_numpy()]
    classes, names = _numbered(labels.take(pa.array(labelled)))
    number = np.bincount(classes)
    if label is not None:
        _require_few_values(len(names), len(classes), label, source)
    _require_classes(names, number, label or people or "person", min_class, source)
    kept = number[classes] >= min_class
    left_out = {names[n]: int(number[n]) for n in np.flatnonzero(number < min_class)}
    persons = persons.take(pa.array(labelled[kept]))
    rows = rows[labelled[kept]]
    classes, names = _numbered(pa.array([names[n] for n in classes[kept]]))
    found = LabelledDataset(
        dataset=dataset,
        table=table.select(columns).take(pa.array(rows)),
        rows=rows,
        classes=classes,
        names=names,
        people=_numbered(persons)[0],
        left_out=left_out,
        num_unlabelled=num_photos - len(labelled),
    )
    _require_two_people(found)
    return found


def _require_labelled(num_labelled: int, asked: Sequence[str | None], source: str) -> None:
    if not num_labelled:
        raise WrongUsageError(
            f"{source} has no photo with both a label and a person; embed a photo list that gives "
            f"the columns {' and '.join(map(str, asked)) or 'of labels'}"
        )


def _require_few_values(num_values: int, num_labelled: int, label: str, source: str) -> None:
    if num_values > max(2, MAX_CLASS_SHARE * num_labelled):
        raise WrongUsageError(
            f"column {label!r} of {source} has {num_values:,} values for {num_labelled:,} labelled "
            "photos, so most values occur once; name a column with few values"
        )


def _require_two_people(found: LabelledDataset) -> None:
    if len(np.unique(found.people)) < 2:
        raise WrongUsageError(
            f"all {len(found):,} labelled photos of dataset {found.dataset.path} show one person, "
            "and a network is measured on other people than it learns from; label photos of more "
            "people, or give --people the column that names them"
        )


def _require_classes(
    names: Sequence[str], number: NDArray[np.int64], column: str, min_class: int, source: str
) -> None:
    """Raise WrongUsageError unless two classes are large enough.

    Args:
        names: the classes' labels.
        number: (num_classes,) number of faces of each class.
        column: the column of labels, for messages.
        min_class: minimum number of faces of a class.
        source: the dataset, for messages.
    """
    large = int((number >= min_class).sum())
    if large < 2:
        shown = ", ".join(
            f"{names[n]} {number[n]:,}" for n in np.argsort(-number, kind="stable")[:5]
        )
        raise WrongUsageError(
            f"column {column!r} of {source} has {large} values with {min_class:,} labelled photos "
            f"or more, expected at least 2 (the most frequent: {shown}); label more photos"
        )


def _column_of_labels(
    table: pa.Table, rows: NDArray[np.int64], label: str, source: str
) -> pa.Array:
    """Read the values of a column of labels at some rows, as text; null where there is none.

    Raises:
        WrongUsageError: there is no such column, or its values are no text.
    """
    if label not in table.column_names:
        raise WrongUsageError(
            f"{source} has no column {label!r} of labels; embed a photo list that has one, or "
            f"give one of the columns that `facetrove columns` lists"
        )
    if pa.types.is_floating(table[label].type) or pa.types.is_temporal(table[label].type):
        raise WrongUsageError(
            f"column {label!r} of {source} holds values of type {table[label].type}, expected "
            "labels as text, whole numbers or true and false"
        )
    labels = pc.cast(table[label].take(pa.array(rows)).combine_chunks(), pa.string())
    return pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)


def _numbered(values: pa.Array) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number the values of a column: (n,) number of each, and the sorted values by that number."""
    names = pc.unique(values).sort()
    numbers = pc.index_in(values, value_set=names).to_numpy(zero_copy_only=False)
    return numbers.astype(np.int64), tuple(names.to_pylist())


def _photo_sizes(dataset: Dataset) -> pa.Table:
    """Return photo_id, width and height of the dataset's photos with faces, once per content."""
    photos = dataset.photos(["width", "height"])
    photos = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
    sizes = photos.group_by("photo_id", use_threads=False)
    return sizes.aggregate([("width", "min"), ("height", "min")]).rename_columns(
        ["photo_id", "width", "height"]
    )
