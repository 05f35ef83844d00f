"""Labels: which person each face of an index or a dataset is of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.dataset.schema import PhotoStatus
from faces.photos.archives import split_member_url
from faces.photos.metadata import is_places_column
from faces.photos.uris import is_url, photo_path, unescape_url
from indexer.changes import indexed_photos
from indexer.faces_file import faces_schema, with_columns
from indexer.segment import masks_of
from indexer.snapshot import Snapshot

FaceChoice = Literal["largest", "central", "only"]
"""Which face of a photo its label names; see `choose_faces`."""

FOLDER = "folder"
"""Value of the option `people` that takes the name of a photo's folder as its label."""

CENTRE_REACH = 0.16
"""Maximum distance of a central face's centre from the photo's centre, with x as a share of the
photo's width and y of its height. In LFW, whose photos are centred on the person, it is at most
0.12 in all but two photos, and in those two the person's face was not detected."""

MEASURES = ("score", "face_size", "sharpness", "brightness", "embedding_norm")
"""Columns of the faces that are quality measures; a higher value is taken for better quality."""

SAME_MEASURE = 1e-5
"""Maximum range of a measure, relative to its largest absolute value, that counts as rounding."""


@dataclass(frozen=True)
class LabelledFaces:
    """The labelled faces of an index, at most one per photo.

    Attributes:
        index_rows: (n,) int64 row of each face in `table`, and so in the index, counted through all
            its segments.
        people: (n,) int64 number of each face's person, from 0.
        names: (num_people,) name of each person, by that number.
        table: all faces of the index, deleted ones included, with all columns but the embedding.
        num_unlabelled: number of photos with faces of which none is labelled: the photo has no
            label, or no face that `FaceChoice` selects.
    """

    index_rows: NDArray[np.int64]
    people: NDArray[np.int64]
    names: tuple[str, ...]
    table: pa.Table
    num_unlabelled: int

    def column(self, name: str) -> pa.ChunkedArray:
        """Return the (n,) values of a column for the labelled faces."""
        return self.table[name].take(pa.array(self.index_rows))

    @property
    def quality(self) -> dict[str, NDArray[np.float32]]:
        """The (n,) values of each quality measure, by its name; see `quality_of`."""
        return quality_of(self.table.select([*MEASURES, "yaw"]).take(pa.array(self.index_rows)))


def labelled_faces(
    index: Path,
    version: Snapshot,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    where: str | None = None,
) -> LabelledFaces:
    """Read the labelled faces of an index.

    Args:
        index: the index's folder.
        version: the version of the index that is open.
        people: `folder`, or the column with the name of the person in a photo; by default `person`.
        face: which of a photo's faces is the labelled one.
        where: a filter, as in a search; only faces that match it are read.

    Raises:
        WrongUsageError: there is no such column, or it cannot hold names.
    """
    metadata = version.metadata
    columns = faces_schema(metadata)
    tables = [
        with_columns(segment.faces.table, columns).select(columns.names)
        for segment in version.segments
    ]
    table = pa.concat_tables([columns.empty_table(), *tables])
    mask = (
        [segment.live() for segment in version.segments]
        if where is None
        else masks_of(version.segments, where, metadata)
    )
    sizes = _photo_sizes(index, version) if face == "central" else None
    rows = np.flatnonzero(np.concatenate([np.zeros(0, bool), *mask]))
    return _labelled(table, rows, people=people, face=face, photos=sizes, source=f"index {index}")


def _photo_sizes(index: Path, version: Snapshot) -> pa.Table:
    """Return photo_id, width and height of the index's photos with faces."""
    photos = indexed_photos(index, [segment.entry for segment in version.segments])
    photos = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
    names = ["photo_id", "width", "height"]
    if not set(names) <= set(photos.column_names) or photos["width"].null_count:
        raise WrongUsageError(
            f"index {index} does not hold the width and height of its photos, which --face central "
            "needs; build it again with --rebuild"
        )
    return photos.select(names)


def _labelled(
    table: pa.Table,
    rows: NDArray[np.int64],
    *,
    people: str | None,
    face: FaceChoice,
    photos: pa.Table | None,
    source: str,
) -> LabelledFaces:
    """Select the labelled faces among the faces at some rows of a table; see `labelled_faces`."""
    candidates = table.select(["photo_id", "box"]).take(pa.array(rows))
    chosen = rows[choose_faces(candidates, face, photos)]
    labels = labels_of(table, chosen, people, source=source)
    labelled = np.flatnonzero(pc.is_valid(labels).to_numpy(zero_copy_only=False))
    # Sorted by content, so that random splits do not depend on the order of faces in an index.
    contents = table["photo_id"].take(pa.array(chosen[labelled]))
    labelled = labelled[pc.sort_indices(contents).to_numpy()]
    labels = labels.take(pa.array(labelled))
    names = pc.unique(labels).sort()
    return LabelledFaces(
        index_rows=chosen[labelled],
        people=pc.index_in(labels, value_set=names).to_numpy().astype(np.int64),
        names=tuple(names.to_pylist()),
        table=table,
        num_unlabelled=pc.count_distinct(candidates["photo_id"]).as_py() - len(labelled),
    )


def choose_faces(
    table: pa.Table, face: FaceChoice, photos: pa.Table | None = None
) -> NDArray[np.int64]:
    """Select the one face of each photo that the photo's label names.

    Args:
        table: faces, with the columns photo_id and box.
        face: `largest` selects the face with the largest box area; `central` the face nearest the
            photo's centre, if it is within `CENTRE_REACH` of it; `only` the face of a photo that
            has no other.
        photos: photo_id, width and height of all photos; needed for `central`.

    Returns:
        Rows of the selected faces in `table`, ascending; a photo without such a face has none.
    """
    if len(table) == 0:
        return np.zeros(0, np.int64)
    photo_ids = table["photo_id"].combine_chunks().dictionary_encode()
    numbers = photo_ids.indices.to_numpy()
    boxes = table["box"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    possible = np.ones(len(table), dtype=bool)
    if face == "only":
        possible = np.bincount(numbers)[numbers] == 1
        order_by = np.zeros(len(table))
    elif face == "largest":
        order_by = -boxes[:, 2] * boxes[:, 3]
    else:
        assert photos is not None
        photo_row = pc.index_in(photo_ids.dictionary, value_set=photos["photo_id"].combine_chunks())
        sides = [photos[name].take(photo_row).to_numpy()[numbers] for name in ("width", "height")]
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        order_by = np.hypot(centres[:, 0] / sides[0] - 0.5, centres[:, 1] / sides[1] - 0.5)
        possible = order_by <= CENTRE_REACH
    order = np.lexsort((order_by, numbers))
    firsts = order[np.flatnonzero(np.diff(numbers[order], prepend=-1))]
    return np.sort(firsts[possible[firsts]])


def labels_of(
    table: pa.Table, rows: NDArray[np.int64], people: str | None, *, source: str
) -> pa.Array:
    """Read the label of each face at some rows, as text; null where its photo has none.

    Args:
        table: faces, with the column uri and the column of labels.
        rows: rows of faces in `table`.
        people: `folder`, the column of labels, or None for the column `person`.
        source: the index or dataset that the faces are from, for messages.

    Raises:
        WrongUsageError: there is no such column, or its values cannot be names.
    """
    if people == FOLDER:
        uris = table["uri"].take(pa.array(rows)).combine_chunks().dictionary_encode()
        folders = pa.array([folder_of(uri) for uri in uris.dictionary.to_pylist()], pa.string())
        return folders.take(uris.indices)
    column = people or "person"
    if column not in table.column_names:
        known = [name for name in table.column_names if not is_places_column(name)]
        raise WrongUsageError(
            f"{source} has no column {column!r} with the names of people (its columns are "
            f"{', '.join(known)}); embed a photo list that has one, or give --people "
            "folder if each person's photos lie in a folder of their own"
        )
    try:
        labels = pc.cast(table[column].take(pa.array(rows)).combine_chunks(), pa.string())
        return pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)
    except pa.ArrowException as error:
        raise WrongUsageError(
            f"column {column!r} of {source} holds values of type {table[column].type}; expected "
            "names as text; give --people another column"
        ) from error


def shuffled_by_person(
    people: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group faces by person, each person's faces in random order.

    Args:
        people: (n,) number of each face's person.
        rng: random generator.

    Returns:
        (n,) positions of the faces, person by person, and (n,) rank of each among the faces of its
        person, from 0.
    """
    order = rng.permutation(len(people))
    order = order[np.argsort(people[order], kind="stable")]
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    return order, np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))


def group_names(values: pa.ChunkedArray) -> list[str]:
    """Return the values of a column as names of groups; null becomes `unknown`."""
    return ["unknown" if value is None else str(value) for value in values.to_pylist()]


def quality_of(table: pa.Table) -> dict[str, NDArray[np.float32]]:
    """Return the (n,) values of each quality measure that varies among n faces, by its name.

    The measures are `MEASURES` and `frontality`, which is minus the absolute yaw in degrees.
    Measures with one value for all faces are left out, as nothing can be compared by them.
    """
    measures = {name: table[name].to_numpy() for name in MEASURES}
    measures["frontality"] = -np.abs(table["yaw"].to_numpy())
    return {
        name: values
        for name, values in measures.items()
        if len(values) and np.ptp(values) > SAME_MEASURE * np.abs(values).max()
    }


def folder_of(uri: str) -> str | None:
    """Return the name of the folder that a photo is in, or None where it is in none."""
    return path_of(uri).parent.name or None


def path_of(uri: str) -> PurePosixPath:
    """Return a photo's path in its file system, archive or bucket.

    Bytes that are no valid UTF-8 appear as backslash escapes, so that the path can be printed.
    """
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        path = member.member
    else:
        path = urlsplit(url).path if is_url(url) else str(photo_path(uri))
    return PurePosixPath(os.fsencode(path).decode(errors="backslashreplace"))
