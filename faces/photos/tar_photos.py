"""Read tar archives with bounds on everything that their headers and compression can ask for.

The standard library's `tarfile` parses; what it would do without a bound is bounded here: sizes of
headers, steps back in the archive, maps of sparse files, and bytes unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, BinaryIO, cast

from faces.core.settings import SourceLimits
from faces.photos.names import has_photo_ending

_STEP_BYTES = 1 << 20
"""Bytes that are unpacked at a time."""

_RATIO_FROM_BYTES = 256_000_000
"""Unpacked bytes from which on the ratio of unpacked to packed bytes is looked at."""

_ENTRIES_PER_REPORT = 1000
"""Number of members between two reports of progress."""


class ArchiveEnd(StrEnum):
    """How an archive ends."""

    WHOLE = "whole"
    MISSING = "end mark missing"  # so the last members may be missing
    FOLLOWED = "followed by bytes that are no member"


class OverArchiveLimitError(Exception):
    """An error raised because an archive is over one of the `SourceLimits`."""


class TarPhotos:
    """A tar archive, compressed or not, whose table of members has been read.

    Reading from a compressed one is fast only in the order of its members.

    Args:
        file: the archive's file, seekable and open for reading.
        limits: limits on the archive.
        on_entries: called now and then with the number of members seen so far.

    Attributes:
        links: names of members with a photo's name that are links to others, and not read.
        end: how the archive ends.

    Raises:
        OverArchiveLimitError: the archive is over a limit.
        Exception: nearly any, if the archive is corrupt.
    """

    def __init__(
        self, file: BinaryIO, limits: SourceLimits, on_entries: Callable[[int], None]
    ) -> None:
        self._lock = threading.Lock()
        self._extents: dict[str, tuple[int, int]] = {}  # name: offset (-1 if sparse), size
        self._content = _Unpacked(file, limits)
        self._num_entries = 0
        self.links: list[str] = []
        self.end = ArchiveEnd.WHOLE
        tar = _LimitedTar.limited(self._content, limits.max_header)
        self._read_table(tar, limits, on_entries)
        # As `cat a.tar b.tar` writes it: another archive lies behind the first one's end.
        while (start := self._start_behind(tar.offset)) >= 0:
            num_before, tar.offset = self._num_entries, start
            self._read_table(tar, limits, on_entries)
            if self._num_entries == num_before:
                self.end = ArchiveEnd.FOLLOWED
                break
        self._content.read_to_end()

    def _read_table(
        self, tar: _LimitedTar, limits: SourceLimits, on_entries: Callable[[int], None]
    ) -> None:
        """Read the headers of members, from the file's position up to an end-of-archive marker."""
        last_offset = tar.offset - 1
        while (member := tar.next()) is not None:
            if tar.offset <= last_offset:  # a negative size: the same headers would come for ever
                raise tarfile.ReadError("a header has a negative size")
            last_offset = tar.offset
            self._num_entries += 1
            if self._num_entries > limits.max_entries:
                raise OverArchiveLimitError(
                    f"has over {limits.max_entries:,} members (--max-entries)"
                )
            if self._num_entries % _ENTRIES_PER_REPORT == 0:
                on_entries(self._num_entries)
            tar.members.clear()  # type: ignore[attr-defined]  # each would take a kilobyte
            tar.header_bytes = 0
            if member.isreg():
                self._extents.pop(member.name, None)
                offset = -1 if member.issparse() else member.offset_data
                self._extents[member.name] = (offset, member.size)
            elif (member.islnk() or member.issym()) and has_photo_ending(member.name):
                self.links.append(member.name)

    def _start_behind(self, offset: int) -> int:
        """Return where something begins behind the end of an archive; -1 if nothing does.

        Args:
            offset: where reading the archive's headers ended.

        Raises:
            tarfile.ReadError: there are bytes but no end-of-archive marker, so the headers ended
                at a corrupt one, which tarfile takes for the end.
        """
        self._content.seek(offset)
        block = self._content.read(tarfile.BLOCKSIZE)
        if not block:  # as some programs write archives, or cut off between two members
            self.end = ArchiveEnd.MISSING
            return -1
        if block != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is truncated or corrupt before its end-of-archive marker")
        while not block.strip(tarfile.NUL):
            offset += len(block)
            block = self._content.read(_STEP_BYTES)
            if not block:
                return -1
        zeros = len(block) - len(block.lstrip(tarfile.NUL))
        return offset + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield the name and size in bytes of each regular file, in the archive's order."""
        return ((name, size) for name, (_, size) in self._extents.items())

    def size(self, member: str) -> int:
        """Return the size of a member in bytes; raise KeyError if no member has that name."""
        return self._extents[member][1]

    def read(self, member: str, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of a member; corrupt data may raise any exception."""
        offset, size = self._extents[member]
        if offset < 0:
            raise tarfile.ReadError("the member is stored as a sparse file, which is not supported")
        with self._lock:
            self._content.seek(offset)
            return self._content.read(min(size, max_bytes))


class _Unpacked:
    """The unpacked content of an archive's file, as a file that is read, with bounds.

    Bytes are unpacked in small steps, so that the bounds are looked at between any two of them.
    """

    def __init__(self, file: BinaryIO, limits: SourceLimits) -> None:
        self._file = file
        self._limits = limits
        start = file.read(6)
        file.seek(0)
        unpackers: dict[bytes, Callable[[BinaryIO], Any]] = {
            b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
            b"BZh": bz2.BZ2File,
            b"\xfd7zXZ\0": lzma.LZMAFile,
            b"\x5d\0\0": lzma.LZMAFile,
        }
        kind = next((magic for magic in unpackers if start.startswith(magic)), None)
        self.is_packed = kind is not None
        self._content = file if kind is None else cast(BinaryIO, unpackers[kind](file))

    def tell(self) -> int:
        return self._content.tell()

    def seek(self, position: int) -> None:
        if not self.is_packed:
            self._content.seek(position)
            return
        if position < self._content.tell():
            self._content.seek(0)
        while (missing := position - self._content.tell()) > 0:
            if not self._step(min(missing, _STEP_BYTES)):
                return

    def read(self, size: int) -> bytes:
        if not self.is_packed:
            return self._content.read(size)
        parts = []
        while size > 0 and (part := self._step(min(size, _STEP_BYTES))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read_to_end(self) -> None:
        """Unpack the rest, so that its checksum is verified; there is nothing to do without one."""
        while self.is_packed and self._step(_STEP_BYTES):
            pass

    def _step(self, size: int) -> bytes:
        """Unpack up to `size` bytes."""
        part = self._content.read(size)
        position = self._content.tell()
        limits = self._limits
        if position > limits.max_unpacked:
            raise OverArchiveLimitError(
                f"unpacks to over {limits.max_unpacked:,} bytes (--max-unpacked)"
            )
        if position > _RATIO_FROM_BYTES and position > limits.max_ratio * self._file.tell():
            raise OverArchiveLimitError(
                f"unpacks to over {limits.max_ratio:g} times its size (--max-ratio)"
            )
        return part


class _LimitedTar(tarfile.TarFile):
    """A tar file that counts the bytes of extension headers.

    Attributes:
        max_header: maximum size in bytes of a member's extension headers, and of all global ones.
        header_bytes: size in bytes of the extension headers of the current member.
        global_bytes: size in bytes of all global extension headers.
    """

    max_header = 0
    header_bytes = 0
    global_bytes = 0

    @classmethod
    def limited(cls, content: _Unpacked, max_header: int) -> _LimitedTar:
        """Open an unpacked archive."""
        limited = type("_LimitedTar", (cls,), {"max_header": max_header})
        tar: _LimitedTar = limited(
            fileobj=content,
            mode="r",
            tarinfo=_Member,
            encoding="utf-8",
            errors="surrogateescape",
        )
        return tar


class _Member(tarfile.TarInfo):
    """A header of a tar archive that is parsed with bounds.

    tarfile reads extension headers, such as long names, into memory whatever their size, in time
    that grows with its square; goes back in the archive where a size is negative; and may read the
    map of a sparse file for ever. The methods are the hooks that tarfile has for subclasses.
    """

    def _proc_member(self, tar: _LimitedTar) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a header has a negative size")
        if self.type in _EXTENDING_TYPES:
            tar.header_bytes += self.size + tarfile.BLOCKSIZE
            if self.type == tarfile.XGLTYPE:
                tar.global_bytes += self.size + tarfile.BLOCKSIZE
            size = max(tar.header_bytes, tar.global_bytes)
            if size > tar.max_header:
                raise OverArchiveLimitError(
                    f"has extension headers of over {tar.max_header:,} bytes (--max-header)"
                )
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]

    def _proc_sparse(self, tar: _LimitedTar) -> tarfile.TarInfo:
        """Skip the map of a sparse file, which is not read."""
        _, is_extended, size = self._sparse_structs  # type: ignore[attr-defined]
        while is_extended:
            block = tar.fileobj.read(tarfile.BLOCKSIZE)
            tar.header_bytes += tarfile.BLOCKSIZE
            if len(block) < tarfile.BLOCKSIZE or tar.header_bytes > tar.max_header:
                raise tarfile.ReadError("the map of a sparse file has no end")
            is_extended = bool(block[504])
        self.sparse = []  # type: ignore[assignment]
        self.offset_data = tar.fileobj.tell()
        tar.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = size
        return self

    def _proc_gnusparse_00(self, next: tarfile.TarInfo, *_: object) -> None:
        next.sparse = []  # type: ignore[assignment]

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


_EXTENDING_TYPES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of the headers that extend the next member's header, for example by a long name."""
