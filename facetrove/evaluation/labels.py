"""Whose faces are in an index or a dataset, as far as labels tell."""

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
from faces.photos.uris import is_url, photo_path, unescape_url
from indexer.changes import indexed_photos
from indexer.faces_file import faces_schema, with_columns
from indexer.snapshot import Snapshot

FaceChoice = Literal["largest", "central", "only"]

FOLDER = "folder"
"""As the place of labels: the name of the folder that a photo is in."""

CENTRE_REACH = 0.16
"""The centre of a face that is called central lies within this share of the photo's width and
height from the photo's centre. In LFW, whose photos are centred on their person, it is within 0.12
in all but two photos, and in these the person was not found."""

MEASURES = ("score", "face_size", "sharpness", "brightness", "embedding_norm")
"""Columns by which error rates are told apart; a higher value is taken for better."""

SAME_MEASURE = 1e-5
"""Values that differ by no larger a share are the same but for rounding."""


@dataclass(frozen=True)
class LabelledFaces:
    """Faces of people whose names are known, one of each photo at most.

    Attributes:
        places: (n,) int64, where they are: places of a `Snapshot`, or rows of `table`.
        people: (n,) int64, whose they are, people numbered from 0.
        names: of the people.
        table: all faces there are, with all columns but the embedding.
        num_unlabelled: photos that had a face, and no label or not one face to choose.
    """

    places: NDArray[np.int64]
    people: NDArray[np.int64]
    names: tuple[str, ...]
    table: pa.Table
    num_unlabelled: int

    def column(self, name: str) -> pa.ChunkedArray:
        """(n,) of a column of the faces."""
        return self.table[name].take(pa.array(self.places))

    @property
    def quality(self) -> dict[str, NDArray[np.float32]]:
        """(n,) of each measure; see `quality_of`."""
        return quality_of(self.table.select([*MEASURES, "yaw"]).take(pa.array(self.places)))


def labelled_faces(
    index: Path,
    version: Snapshot,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    where: str | None = None,
) -> LabelledFaces:
    """The labelled faces of an index.

    Args:
        index: its folder.
        version: the version of it that is open.
        people: `folder`, or the column that says who is in a photo; by default `person`.
        face: which of a photo's faces is the labelled one.
        where: a filter that these must pass, as of a search.

    Raises:
        WrongUsageError: nothing says who is in the photos.
    """
    metadata = version.metadata
    tables = [with_columns(segment.faces.table, metadata) for segment in version.segments]
    table = pa.concat_tables([faces_schema(metadata).empty_table(), *tables])
    mask = [
        segment.live() if where is None else segment.mask(where, metadata)
        for segment in version.segments
    ]
    sizes = _photo_sizes(index, version) if face == "central" else None
    rows = np.flatnonzero(np.concatenate([np.zeros(0, bool), *mask]))
    return _labelled(table, rows, people=people, face=face, photos=sizes, source=f"index {index}")


def _photo_sizes(index: Path, version: Snapshot) -> pa.Table:
    """photo_id, width and height of the photos with faces."""
    photos = indexed_photos(index, [segment.entry for segment in version.segments])
    photos = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
    names = ["photo_id", "width", "height"]
    if not set(names) <= set(photos.column_names) or photos["width"].null_count:
        raise WrongUsageError(
            f"index {index} does not know how large its photos are, as --face central needs; "
            "build it again with --rebuild"
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
    """The labelled ones among some rows of faces; see `labelled_faces`."""
    candidates = table.select(["photo_id", "box"]).take(pa.array(rows))
    chosen = rows[choose_faces(candidates, face, photos)]
    labels = labels_of(table, chosen, people, source=source)
    known = np.flatnonzero(pc.is_valid(labels).to_numpy(zero_copy_only=False))
    # By content, so that what is drawn of them does not depend on the order in an index.
    contents = table["photo_id"].take(pa.array(chosen[known]))
    known = known[pc.sort_indices(contents).to_numpy()]
    labels = labels.take(pa.array(known))
    names = pc.unique(labels).sort()
    return LabelledFaces(
        places=chosen[known],
        people=pc.index_in(labels, value_set=names).to_numpy().astype(np.int64),
        names=tuple(names.to_pylist()),
        table=table,
        num_unlabelled=pc.count_distinct(candidates["photo_id"]).as_py() - len(known),
    )


def choose_faces(
    table: pa.Table, face: FaceChoice, photos: pa.Table | None = None
) -> NDArray[np.int64]:
    """Rows of the one face of each photo that its label is for, where there is such a one.

    Args:
        table: faces.
        face: `largest` by the area of its box, `central`: nearest the photo's centre and within
            `CENTRE_REACH` of it, or `only`: of photos with one face.
        photos: photo_id, width and height of all, for `central`.
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
        place = pc.index_in(photo_ids.dictionary, value_set=photos["photo_id"].combine_chunks())
        sides = [photos[name].take(place).to_numpy()[numbers] for name in ("width", "height")]
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        order_by = np.hypot(centres[:, 0] / sides[0] - 0.5, centres[:, 1] / sides[1] - 0.5)
        possible = order_by <= CENTRE_REACH
    order = np.lexsort((order_by, numbers))
    firsts = order[np.flatnonzero(np.diff(numbers[order], prepend=-1))]
    return np.sort(firsts[possible[firsts]])


def labels_of(
    table: pa.Table, rows: NDArray[np.int64], people: str | None, *, source: str
) -> pa.Array:
    """Who is in the photos of some faces: texts, null where nobody says.

    Raises:
        WrongUsageError: there is no such column.
    """
    if people == FOLDER:
        uris = table["uri"].take(pa.array(rows)).combine_chunks().dictionary_encode()
        folders = pa.array([folder_of(uri) for uri in uris.dictionary.to_pylist()], pa.string())
        return folders.take(uris.indices)
    column = people or "person"
    if column not in table.column_names:
        raise WrongUsageError(
            f"{source} has no column {column!r} that says who is in a photo (there are "
            f"{', '.join(table.column_names)}); embed with a photo list that has one, or give "
            "--people folder where each person's photos lie in a folder of their own"
        )
    try:
        labels = pc.cast(table[column].take(pa.array(rows)).combine_chunks(), pa.string())
        return pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)
    except pa.ArrowException as error:
        raise WrongUsageError(
            f"column {column!r} of {source} does not say who is in a photo: it holds "
            f"{table[column].type}"
        ) from error


def drawn_turns(
    people: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the faces of each person in random order.

    Args:
        people: (n,) whose face each is.
        rng: source of chance.

    Returns:
        (n,) rows, person by person, and the turn of each, a person's first being 0.
    """
    order = rng.permutation(len(people))
    order = order[np.argsort(people[order], kind="stable")]
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    return order, np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))


def in_words(values: pa.ChunkedArray) -> list[str]:
    """The values of a column as names of groups."""
    return ["unknown" if value is None else str(value) for value in values.to_pylist()]


def quality_of(table: pa.Table) -> dict[str, NDArray[np.float32]]:
    """(n,) of each of `MEASURES`, and of how frontal a face is: less the angle of its yaw.

    Measures that are the same of all faces say nothing and are left out.
    """
    measures = {name: table[name].to_numpy() for name in MEASURES}
    measures["frontality"] = -np.abs(table["yaw"].to_numpy())
    return {
        name: values
        for name, values in measures.items()
        if len(values) and np.ptp(values) > SAME_MEASURE * np.abs(values).max()
    }


def folder_of(uri: str) -> str | None:
    """The name of the folder that a photo is in; None where it is in none."""
    return path_of(uri).parent.name or None


def path_of(uri: str) -> PurePosixPath:
    """Where a photo lies in its file system, archive or bucket, in letters that can be printed."""
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        path = member.member
    else:
        path = urlsplit(url).path if is_url(url) else str(photo_path(uri))
    return PurePosixPath(os.fsencode(path).decode(errors="backslashreplace"))
