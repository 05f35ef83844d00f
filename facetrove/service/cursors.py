"""Cursors: what a client sends back to get the next page. They name no person."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from facetrove.service.refusals import RefusedError

MAX_CURSOR = 4_000
"""Maximum number of characters of a cursor."""

CURSOR = r"^[A-Za-z0-9_-]+$"

After = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MAX_CURSOR,
        pattern=CURSOR,
        description="`next` of the page before; none: the first page.",
    ),
]

T = TypeVar("T")


def cursor_of(place: object) -> str | None:
    """Return the cursor of a place in an order; None for None, as there is no further page."""
    if place is None:
        return None
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str | None, kind: type[T]) -> T | None:
    """Return the place of a cursor.

    Args:
        cursor: the cursor; None: there is none.
        kind: type of the place.

    Raises:
        RefusedError: it is no cursor of such an order.
    """
    if cursor is None:
        return None
    try:
        content = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(content, type=kind)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise RefusedError(
            422, "bad_cursor", "`after` is no `next` of a page in this order; leave it out"
        ) from error
