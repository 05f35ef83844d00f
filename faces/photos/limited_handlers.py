"""What limited processes do with photos, archives and lists: the other side of `limited.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from faces.core.channel import Channel, Message
from faces.core.settings import PhotoLimits, SourceLimits
from faces.photos import reading
from faces.photos.access import access_from, connecting_only_to, is_in_store, require_allowed
from faces.photos.decoding import (
    JpegDetail,
    Photo,
    allow_every_photo,
    decode_jpeg_again,
    decode_photo,
)
from faces.photos.uris import unescape_url


def decode(channel: Channel, arguments: Message, content: bytes) -> tuple[Message, Any]:
    """Decode a photo; the other side is asked for the reduction where it matters."""

    def reduction_for(longer_side: int) -> int:
        channel.send({"longer_side": longer_side})
        answer, _ = channel.receive()
        return int(answer["reduction"])

    allow_every_photo()
    limits = PhotoLimits(**arguments["limits"])
    return _described(decode_photo(content, limits=limits, reduction_for=reduction_for))


def decode_again(_: Channel, arguments: Message, content: bytes) -> tuple[Message, Any]:
    """Decode a JPEG again, with more detail."""
    orientation, size, min_reduction = arguments["detail"]
    detail = JpegDetail(orientation, (size[0], size[1]), min_reduction)
    return _described(decode_jpeg_again(content, detail, arguments["reduction"]))


def _described(photo: Photo) -> tuple[Message, Any]:
    message = {
        "shape": photo.image.shape,
        "reduction": photo.reduction,
        "size": (photo.width, photo.height),
        "detail": photo.detail,
        "partly_read": photo.partly_read,
    }
    return message, np.ascontiguousarray(photo.image)


def read(_: Channel, arguments: Message, __: bytes) -> tuple[Message, Any]:
    """Read an object or a member of an archive."""
    limits = SourceLimits(**arguments["source_limits"])
    with _connecting(arguments):
        return {}, reading.read_photo(arguments["uri"], arguments["max_bytes"], limits)


def open_archive(_: Channel, arguments: Message, __: bytes) -> tuple[Message, Any]:
    """Open the archive of a photo, whose table of members this process keeps."""
    with _connecting(arguments):
        reading.open_archive_of(arguments["uri"], SourceLimits(**arguments["source_limits"]))
    return {}, b""


@contextmanager
def _connecting(arguments: Message) -> Iterator[None]:
    """Apply the rules for addresses while a photo is read."""
    access = access_from(arguments["access"])
    require_allowed(unescape_url(arguments["uri"]), access)
    if is_in_store(unescape_url(arguments["uri"])):
        yield
    else:
        with connecting_only_to(access):
            yield
