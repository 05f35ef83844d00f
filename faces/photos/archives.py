"""Tar and zip archives: their members' names and sizes, and any member's content.

A member's URL is written as fsspec writes it: `tar://sub/name.jpg::/absolute/archive.tar`,
`zip://name.jpg::s3://bucket/archive.zip`. Names are names here: nothing is unpacked to disk.

The standard library does the reading. fsspec's own archive filesystems are made anew, and the
archive's table read again, for every member that is opened by URL.
"""

from __future__ import annotations

import stat
import tarfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

from faces.core.errors import CorruptFileError, first_line

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""File names with these endings, in any case, are taken for archives."""

ARCHIVE_SCHEMES = ("tar", "zip")
"""How members' URLs begin."""

_DRAIN_BYTES = 1 << 20


class MemberUrl(NamedTuple):
    """The parts of `SCHEME://MEMBER::TARGET`.

    Attributes:
        scheme: "tar" (compressed or not) or "zip".
        member: the name as the archive has it; empty for the archive as a whole.
        target: path or URL of the archive itself.
    """

    scheme: str
    member: str
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.member}::{self.target}"


def split_member_url(url: str) -> MemberUrl | None:
    """Take a member's URL apart; None if it is not one.

    Members may have "::" in their names, so archives may not: the last one parts the two.
    """
    scheme, found, rest = url.partition("://")
    member, parted, target = rest.rpartition("::")
    if scheme not in ARCHIVE_SCHEMES or not found or not parted or not target:
        return None
    return MemberUrl(scheme, member, target)


def archive_scheme(name: str) -> str | None:
    """The scheme for an archive of this file name; None if its ending is no archive's."""
    lowered = name.lower()
    if not lowered.endswith(ARCHIVE_SUFFIXES):
        return None
    return "zip" if lowered.endswith(".zip") else "tar"


class Archive(Protocol):
    """An open archive, its table read. May be shared by threads."""

    def members(self) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of the regular files, in the order they lie in."""

    def size(self, member: str) -> int:
        """A member's size in bytes; raises KeyError if there is none of that name."""

    def read(self, member: str, max_bytes: int) -> bytes:
        """The first `max_bytes` bytes of a member; raises nearly anything if it is corrupt."""


def open_archive(file: BinaryIO, scheme: str, *, name: str) -> Archive:
    """Read an archive's table of members, and keep the file until nobody uses the archive.

    Of several members of one name the last counts, as when one unpacks.

    Args:
        file: seekable.
        scheme: "tar" or "zip".
        name: what errors call the archive.

    Raises:
        CorruptFileError: it is cut off, corrupt or something else.
    """
    try:
        archive = _ZipArchive(file) if scheme == "zip" else _TarArchive(file)
    except MemoryError:
        raise
    except Exception as error:  # corrupt input: the decompressors raise nearly anything
        file.close()
        raise CorruptFileError(
            f"{name} is corrupt or no {scheme} archive ({first_line(error).rstrip(':')}); "
            "copy or make it again"
        ) from error
    weakref.finalize(archive, file.close)
    return archive


class _Member(tarfile.TarInfo):
    """Refuses long names and the like of absurd length, which would be read into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDING_TYPES and self.size > _MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes is no honest one")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


_EXTENDING_TYPES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_EXTENSION_BYTES = 1 << 20


class _TarArchive:
    """Reads a compressed archive fast only in the order in which its members lie."""

    def __init__(self, file: BinaryIO) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # member -> where its content lies, size
        tar = tarfile.open(  # noqa: SIM115  # lives as long as we do
            fileobj=file,
            mode="r:*",
            encoding="utf-8",
            errors="surrogateescape",
            tarinfo=_Member,
        )
        assert tar.fileobj is not None, "it was opened for reading"
        self._content = tar.fileobj  # what `file` holds, decompressed
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # a kilobyte each, if kept
            if member.isreg():
                self._places.pop(member.name, None)
                start = -1 if member.issparse() else member.offset_data
                self._places[member.name] = (start, member.size)
        # tarfile takes a spoilt header for the end: look for the end mark, then check the rest.
        self._content.seek(tar.offset)
        if self._content.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off or spoilt before its end mark")
        while self._content.read(_DRAIN_BYTES):
            pass

    def members(self) -> Iterator[tuple[str, int]]:
        return ((name, size) for name, (_, size) in self._places.items())

    def size(self, member: str) -> int:
        return self._places[member][1]

    def read(self, member: str, max_bytes: int) -> bytes:
        start, size = self._places[member]
        if start < 0:
            raise tarfile.ReadError("stored as a sparse file")
        with self._lock:
            self._content.seek(start)
            return self._content.read(min(size, max_bytes))


class _ZipArchive:
    def __init__(self, file: BinaryIO) -> None:
        self._lock = threading.Lock()
        self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where systems have no such kinds
            if not member.is_dir() and kind in (0, stat.S_IFREG):
                self._members.pop(member.filename, None)
                self._members[member.filename] = member

    def members(self) -> Iterator[tuple[str, int]]:
        return ((name, member.file_size) for name, member in self._members.items())

    def size(self, member: str) -> int:
        return self._members[member].file_size

    def read(self, member: str, max_bytes: int) -> bytes:
        with self._lock, self._zip.open(self._members[member]) as content:
            return content.read(max_bytes)
