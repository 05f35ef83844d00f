"""The faces of an index that match a filter, without a probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.models.face import Box
from indexer.snapshot import Snapshot
from search.one_per import OnePer, first_of_each
from search.results import FACE_COLUMNS, metadata_for_json, stored_fields


@dataclass(frozen=True)
class ListedFace:
    """A face of an index that matches a filter, as `FaceSearcher.list_faces` returns it.

    Attributes:
        uri: uri of the photo that shows the face.
        box: box of the face: x, y, width, height in pixels of the upright photo.
        face_id: id of the face in the dataset and the index.
        photo_id: sha256 of the photo's content, in hexadecimal.
        score: the detector's confidence in the face, [0, 1].
        also_at: uris of the photo's other copies.
        person: name of the person whose face it is, or who the photo shows; see `Match.person`.
        metadata: the photo's other metadata, from photo lists, by column.
        person_id: number of the person by the people book; None: not known, or there is no book.
    """

    uri: str
    box: Box
    face_id: str
    photo_id: str
    score: float
    also_at: tuple[str, ...] = ()
    person: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    person_id: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`; dates are ISO 8601 strings."""
        return {
            **self.__dict__,
            "box": self.box._asdict(),
            "metadata": metadata_for_json(self.metadata),
        }


def list_faces(
    snapshot: Snapshot, where: str, *, k: int | None, one_per: OnePer | None
) -> list[ListedFace]:
    """List the faces that match a filter; see `FaceSearcher.list_faces`.

    Raises:
        WrongUsageError: the filter is not valid.
    """
    positions, start = [np.zeros(0, np.int64)], 0
    for segment, mask in zip(snapshot.segments, snapshot.masks(where), strict=True):
        rows = segment.live() if mask is None else mask.rows
        positions.append(start + np.flatnonzero(rows))
        start += len(segment.vectors)
    found = np.concatenate(positions)
    uris = snapshot.values("uri", found)
    found = found[sorted(range(len(found)), key=uris.__getitem__)]
    numbers = range(len(found)) if one_per is None else first_of_each(snapshot, found, one_per)
    listed = found[[*islice(numbers, k)]]
    return faces_at(snapshot, listed)


def faces_at(snapshot: Snapshot, positions: NDArray[np.int64]) -> list[ListedFace]:
    """Return the faces of an index at (n,) positions."""
    snapshot.look_up_people(positions)
    return [_listed_face(snapshot, position) for position in positions.tolist()]


def find_face(snapshot: Snapshot, face_id: str) -> ListedFace | None:
    """Return the face of an index with a face id; None if there is no such face."""
    position = snapshot.position_of(face_id)
    return None if position is None else _listed_face(snapshot, position)


def _listed_face(snapshot: Snapshot, position: int) -> ListedFace:
    names = snapshot.metadata.names
    face = snapshot.face(position, (*FACE_COLUMNS, *names))
    return ListedFace(**stored_fields(face, names))
