"""Read zip archives, whose members are unpacked no further than they are asked for."""

from __future__ import annotations

import bz2
import copy
import lzma
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from faces.core.settings import SourceLimits
from faces.photos.names import has_photo_ending
from faces.photos.tar_photos import ArchiveEnd, OverArchiveLimitError

_PACKED_BYTES = 1 << 16
"""Packed bytes that are read at a time."""


class ZipPhotos:
    """A zip archive whose table of members has been read.

    Args:
        file: the archive's file, seekable and open for reading.
        limits: limits on the archive.

    Raises:
        OverArchiveLimitError: the archive is over a limit.
        Exception: nearly any, if the archive is corrupt.
    """

    def __init__(self, file: BinaryIO, limits: SourceLimits) -> None:
        self._lock = threading.Lock()
        self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.links: list[str] = []
        self.end = ArchiveEnd.WHOLE
        infos = self._zip.infolist()
        if len(infos) > limits.max_entries:
            raise OverArchiveLimitError(f"has over {limits.max_entries:,} members (--max-entries)")
        for member in infos:
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0: no Unix mode stored
            if not member.is_dir() and kind in (0, stat.S_IFREG):
                self._members.pop(member.filename, None)
                self._members[member.filename] = member
            elif kind == stat.S_IFLNK and has_photo_ending(member.filename):
                self.links.append(member.filename)

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield the name and size in bytes of each regular file, in the archive's order."""
        return ((name, member.file_size) for name, member in self._members.items())

    def size(self, member: str) -> int:
        """Return the size of a member in bytes; raise KeyError if no member has that name."""
        return self._members[member].file_size

    def read(self, member: str, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of a member; corrupt data may raise any exception."""
        info = self._members[member]
        with self._lock:
            if info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                return self._read_bounded(info, max_bytes)
            with self._zip.open(info) as content:
                return content.read(max_bytes)

    def _read_bounded(self, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
        """Unpack BZIP2 or LZMA: zipfile would unpack all that 4 KB hold, which may be gigabytes."""
        packed_info = copy.copy(info)
        packed_info.compress_type = zipfile.ZIP_STORED
        packed_info.file_size = info.compress_size
        del packed_info.CRC  # it is that of the unpacked content
        content = bytearray()
        with self._zip.open(packed_info) as packed:
            unpacker: _Unpacker = (
                bz2.BZ2Decompressor()
                if info.compress_type == zipfile.ZIP_BZIP2
                else _lzma_unpacker(packed.read(4), packed)
            )
            while len(content) < max_bytes and not unpacker.eof:
                block = packed.read(_PACKED_BYTES) if unpacker.needs_input else b""
                if unpacker.needs_input and not block:
                    break
                content += unpacker.decompress(block, max_bytes - len(content))
        if len(content) == info.file_size and zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
        return bytes(content)


class _Unpacker(Protocol):
    """A decompressor that returns no more bytes than it is asked for."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _lzma_unpacker(head: bytes, packed: Any) -> lzma.LZMADecompressor:
    """Return the decompressor that the head of an LZMA member describes (APPNOTE.TXT, 5.8.8)."""
    properties = packed.read(int.from_bytes(head[2:4], "little"))
    if len(properties) != 5 or properties[0] >= 9 * 5 * 5:
        raise zipfile.BadZipFile("a member's LZMA properties are corrupt")
    coder, literal_context = divmod(properties[0], 9)
    position, literal_position = divmod(coder, 5)
    return lzma.LZMADecompressor(
        lzma.FORMAT_RAW,
        filters=[
            {
                "id": lzma.FILTER_LZMA1,
                "dict_size": int.from_bytes(properties[1:], "little"),
                "lc": literal_context,
                "lp": literal_position,
                "pb": position,
            }
        ],
    )
