"""Small files that cost a reader without bounds gigabytes or minutes."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 64, height: int = 64, *, before_pixels: bytes = b"") -> bytes:
    """Return a grey PNG, with further chunks before its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", head),
            before_pixels,
            png_chunk(b"IDAT", pixels),
            png_chunk(b"IEND", b""),
        )
    )


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def tiff(tags: dict[int, tuple[int, int, int]], tail: bytes = b"") -> bytes:
    """Return a TIFF with tags (type, count, value or offset), and bytes after its directory."""
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail


def tiff_of_one_value_many_times(entries: int, value_bytes: int) -> bytes:
    """Return a TIFF whose entries all refer to the same bytes."""
    start = 8 + 2 + (entries + 9) * 12 + 4
    base = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: start, 277: 1, 278: 64, 279: 4096}
    tags = {tag: (4, 1, value) for tag, value in base.items()}
    tags |= dict.fromkeys(range(1000, 1000 + entries), (7, value_bytes, start))
    return tiff(tags, b"\x80" * max(value_bytes, 4096))


def bmp_of_far_jumps(jumps: int) -> bytes:
    """Return a run-length coded BMP of some bytes that jumps far beyond its rows, again and again.

    Pillow 12 fills what is jumped over with zeros: 2.4 GB for each jump.
    """
    width, height = 9_300_000, 16
    body = b"\0\2\0\xff" * jumps + b"\0\1"
    sizes = (40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 54 + 1024
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(body), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", *sizes)
        + bytes(1024)
        + body
    )


def gif_of_comments(count: int) -> bytes:
    """Return a GIF of so many comments of one letter, which Pillow joins one by one."""
    return _gif(b"\x21\xfe\x01A\0" * count)


def slow_gif() -> bytes:
    """Return a GIF that takes Pillow about a minute, by means that no look at the header finds.

    It has millions of empty blocks of an unknown kind, each of which is skipped in Python.
    """
    return _gif(b"\x21\x7f\x01A\0" * 12_000_000)


def _gif(blocks: bytes) -> bytes:
    """Return a GIF with extension blocks before its image."""
    screen = struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 64, 64, 0) + b"\x02\x02\x44\x01\0\x3b"
    return b"GIF89a" + screen + blocks + image
