"""The record of a deletion that can still be taken back: what was asked for, and when.

A record may hold a person's name, in its condition or in a path. It is kept only until the purge
that makes the deletion final.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from faces.core.documents import parse


@dataclass(frozen=True)
class DeletionRequest:
    """The faces that somebody asked to delete.

    Attributes:
        faces: face ids, sorted.
        photos: paths, uris or photo ids of photos, as they were given.
        where: a condition as in SQL's WHERE; None: there was none.
    """

    faces: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    where: str | None = None

    @classmethod
    def of(
        cls, faces: Sequence[object], photos: Sequence[object], where: str | None
    ) -> DeletionRequest:
        """Make a request that equals any other request for the same faces in another order.

        Args:
            faces: face ids.
            photos: paths, uris or photo ids of photos.
            where: a condition as in SQL's WHERE; None: there was none.
        """
        return cls(tuple(sorted(map(str, faces))), tuple(sorted(map(str, photos))), where)


@dataclass(frozen=True)
class Deletion:
    """A deletion that can be taken back, because no purge has made it final.

    Attributes:
        deletion_id: id by which `undo` takes the deletion back, 8 hexadecimal characters.
        deleted_at: time of the deletion in UTC, ISO 8601.
        num_faces: number of faces that the deletion withholds.
        request: the faces that were asked for; it may hold a person's name.
    """

    deletion_id: str
    deleted_at: str
    num_faces: int
    request: DeletionRequest

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


@dataclass(frozen=True)
class _Record:
    """The content of a record."""

    deleted_at: str
    faces: tuple[str, ...]
    photos: tuple[str, ...]
    where: str | None


def new_deletion_id() -> str:
    """Return an id that no deletion had before: ids of purged deletions are not used again."""
    return uuid4().hex[:8]


def record_of(request: DeletionRequest, deleted_at: str | None = None) -> str:
    """Return the record of a deletion as JSON.

    Args:
        request: the faces that were asked for.
        deleted_at: time of the deletion in UTC, ISO 8601; None: now.
    """
    deleted_at = deleted_at or datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"deleted_at": deleted_at, **asdict(request)}, allow_nan=False)


def read_record(deletion_id: str, record: str, num_faces: int) -> Deletion:
    """Parse a record that `record_of` made.

    Args:
        deletion_id: id of the deletion.
        record: the record, as JSON.
        num_faces: number of faces that the deletion withholds.

    Raises:
        ValueError: the record is not one that `record_of` made.
    """
    found = parse(record, _Record)
    request = DeletionRequest.of(found.faces, found.photos, found.where)
    return Deletion(deletion_id, found.deleted_at, num_faces, request)
