"""Thumbnails of faces, cut on demand from their photos and kept in memory, never written.

A thumbnail is cut only from a file of this machine whose content is the one that was indexed: a
file that has changed since, or that a foreign index names, is not shown. Photos at addresses are
not fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import PIL.Image

from faces.core.settings import SourceLimits
from faces.models.face import Box
from faces.photos.decoding import Photo
from faces.photos.limited import ReadingRules, read_limited
from faces.photos.mounts import file_of
from faces.photos.rejection import PhotoRejectedError
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.probing import Decoders
from facetrove.service.refusals import RefusedError
from search.listing import ListedFace

MAX_CACHE_BYTES = 64_000_000
"""Size in bytes of all thumbnails in memory: about 10,000 of the default size."""

CONTEXT = 1.6
"""Side of the square that a thumbnail shows, relative to the longer side of the face's box."""

MAX_COPIES = 8
"""Number of places of a photo that are tried until one can be read."""

QUALITY = 85

_FILL = (229, 229, 234)
"""Colour of what lies beyond the photo's edge."""


class Picture(NamedTuple):
    """A thumbnail or a reduced photo.

    Attributes:
        content: a JPEG.
        width, height: size in pixels of the whole upright photo, which boxes refer to.
    """

    content: bytes
    width: int
    height: int


class Thumbnails:
    """Cuts thumbnails, and keeps the recent ones as long as the index has the same version.

    Args:
        decoders: what decodes photos.
        limits: limits on photos.
        metrics: measures.
    """

    def __init__(self, decoders: Decoders, limits: ServiceLimits, metrics: Metrics) -> None:
        self._decoders = decoders
        self._rules = ReadingRules(limits.photo, SourceLimits(list_timeout=10.0))
        self._metrics = metrics
        self._kept: OrderedDict[tuple[str, ...], Picture] = OrderedDict()
        self._version: bytes | None = None
        self._num_bytes = 0

    def clear(self) -> None:
        """Forget all thumbnails."""
        self._kept.clear()
        self._num_bytes = 0
        self._metrics.thumbnails.set(0)

    async def of_face(
        self, version: bytes | None, face_id: str, photo: IndexedPhoto, *, box: Box, side: int
    ) -> Picture:
        """Return the thumbnail of a face.

        Args:
            version: `Snapshot.line` of the version that has the face: in a new one faces may have
                been deleted, so the thumbnails of other versions are forgotten.
            face_id: id of the face.
            photo: where the photo lies.
            box: box of the face in pixels of the photo.
            side: width and height of the thumbnail in pixels.

        Raises:
            RefusedError: the photo cannot be shown.
        """
        key = ("face", face_id, str(side))
        return await self._kept_or_made(version, key, photo, partial(_cut_face, box=box, side=side))

    async def of_photo(self, version: bytes | None, photo: IndexedPhoto, *, side: int) -> Picture:
        """Return a photo, reduced so that its longer side has at most `side` pixels.

        Raises:
            RefusedError: the photo cannot be shown.
        """
        key = ("photo", photo.photo_id, str(side))
        return await self._kept_or_made(version, key, photo, partial(_reduce, side=side))

    async def _kept_or_made(
        self,
        version: bytes | None,
        key: tuple[str, ...],
        photo: IndexedPhoto,
        draw: Callable[[Photo], PIL.Image.Image],
    ) -> Picture:
        if version != self._version:
            self.clear()
            self._version = version
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._decoders.threads, self._make, photo, draw)
        if version == self._version and key not in self._kept:
            self._kept[key] = found
            self._num_bytes += len(found.content)
            while self._num_bytes > MAX_CACHE_BYTES:
                self._num_bytes -= len(self._kept.popitem(last=False)[1].content)
            self._metrics.thumbnails.set(self._num_bytes)
        return found

    def _make(self, photo: IndexedPhoto, draw: Callable[[Photo], PIL.Image.Image]) -> Picture:
        content = photo.read(self._rules)
        try:
            decoded = self._decoders.decode(content)
            drawn = draw(decoded)
        except PhotoRejectedError as error:
            raise _not_shown(error.reason.value) from error
        sink = io.BytesIO()
        drawn.save(sink, "JPEG", quality=QUALITY)
        return Picture(sink.getvalue(), decoded.width, decoded.height)


class IndexedPhoto:
    """A photo of the index, and where it lies.

    Args:
        photo_id: sha256 of its content, in hexadecimal.
        uris: uris of the photo and its copies.
    """

    def __init__(self, photo_id: str, uris: Sequence[str]) -> None:
        self.photo_id = photo_id
        self._uris = uris[:MAX_COPIES]

    @classmethod
    def of(cls, face: ListedFace) -> IndexedPhoto:
        """Return the photo of a face of the index."""
        return cls(face.photo_id, (face.uri, *face.also_at))

    def read(self, rules: ReadingRules) -> bytes:
        """Return the photo's content, as it was when it was indexed.

        Raises:
            RefusedError: there is no such file on this machine any more.
        """
        reason = "it lies at an address, which the server does not ask"
        for uri in self._uris:
            if file_of(uri) is None:
                continue
            try:
                content = bytes(read_limited(uri, rules))
            except PhotoRejectedError as error:
                reason = error.reason.value
                continue
            if hashlib.sha256(content).hexdigest() == self.photo_id:
                return content
            reason = "its file has changed since it was indexed"
        raise _not_shown(reason)


def _not_shown(reason: str) -> RefusedError:
    return RefusedError(
        404, "photo_not_shown", f"the photo cannot be shown ({reason}); the face can be searched"
    )


def _cut_face(photo: Photo, *, box: Box, side: int) -> PIL.Image.Image:
    """Cut out the square around a face, filled with grey where it reaches beyond the photo."""
    x, y, width, height = (value / photo.reduction for value in box)
    square = max(2.0, CONTEXT * max(width, height))
    left, top = x + width / 2 - square / 2, y + height / 2 - square / 2
    high, wide = photo.image.shape[:2]
    rows = slice(max(0, int(top)), min(high, int(top + square) + 1))
    columns = slice(max(0, int(left)), min(wide, int(left + square) + 1))
    inside = photo.image[rows, columns]
    tile = PIL.Image.new("RGB", (side, side), _FILL)
    if inside.size:
        scale = side / square
        size = [max(1, round(scale * length)) for length in (inside.shape[1], inside.shape[0])]
        shrunk = PIL.Image.fromarray(np.ascontiguousarray(inside)).resize(
            (size[0], size[1]), PIL.Image.Resampling.LANCZOS
        )
        tile.paste(shrunk, (round(max(0.0, -left) * scale), round(max(0.0, -top) * scale)))
    return tile


def _reduce(photo: Photo, *, side: int) -> PIL.Image.Image:
    drawn = PIL.Image.fromarray(np.ascontiguousarray(photo.image))
    drawn.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    return drawn
