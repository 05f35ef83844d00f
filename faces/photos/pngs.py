"""Take out of a PNG what is not needed for its pixels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG."""

_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
"""Chunks that make the pixels, the critical ones and the transparency (PNG, 3rd edition, 11)."""

_ORIENTED_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Beginnings of texts that may tell the orientation."""

_MAX_TEXT_BYTES = 1_000_000
"""Maximum number of bytes of a text, unpacked. Pillow refuses a photo that has a longer one."""


class _Chunk(NamedTuple):
    """A chunk of a PNG: its type, and where it and its data are."""

    kind: bytes
    start: int
    stop: int


def only_pixels(content: bytes) -> tuple[bytes, bool]:
    """Return a PNG without the chunks that do not make its first image.

    A colour profile or an editing history may unpack to any size, and a chunk with a wrong checksum
    does no harm where nobody needs it.

    Args:
        content: content of the photo file.

    Returns:
        The PNG, with its EXIF block and the texts that may tell the orientation; and whether there
        are further frames.
    """
    kept, num_dropped, is_animated = [SIGNATURE], 0, False
    start, position = 0, len(SIGNATURE)
    for chunk in _chunks(content):
        position = chunk.stop
        if chunk.kind == b"acTL":
            frames = int.from_bytes(content[chunk.start + 8 : chunk.start + 12], "big")
            is_animated = frames > 1
        if _is_kept(content, chunk):
            if not start:
                start = chunk.start
            continue
        num_dropped += 1
        if start:
            kept.append(content[start : chunk.start])
            start = 0
    if not num_dropped:
        return content, False
    kept.append(content[start or position :])
    return b"".join(kept), is_animated


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Yield the chunks of a PNG up to its end, or up to one that is not whole."""
    position = len(SIGNATURE)
    while position + 12 <= len(content):
        size = int.from_bytes(content[position : position + 4], "big")
        chunk = _Chunk(content[position + 4 : position + 8], position, position + 12 + size)
        if chunk.stop > len(content):
            return
        yield chunk
        if chunk.kind == b"IEND":
            return
        position = chunk.stop


def _is_kept(content: bytes, chunk: _Chunk) -> bool:
    if chunk.kind in _PIXEL_CHUNKS:
        return True
    if chunk.kind not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
        return False
    data = content[chunk.start + 8 : min(chunk.stop - 4, chunk.start + 8 + _MAX_TEXT_BYTES)]
    if len(data) < chunk.stop - chunk.start - 12:
        return False
    checksum = int.from_bytes(content[chunk.stop - 4 : chunk.stop], "big")
    if checksum != zlib.crc32(chunk.kind + data):
        return False
    return chunk.kind == b"eXIf" or (
        data.startswith(_ORIENTED_TEXTS) and _unpacks_to_little(chunk.kind, data)
    )


def _unpacks_to_little(kind: bytes, data: bytes) -> bool:
    """Return whether a text, unpacked if it is packed, is within `_MAX_TEXT_BYTES`."""
    rest = data.split(b"\0", 1)[1]
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return True
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail
