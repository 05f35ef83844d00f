"""Read tar and zip archives: the names and sizes of their members, and any member's content.

The URL of a member is written as in fsspec: `tar://sub/name.jpg::/absolute/archive.tar`,
`zip://name.jpg::s3://bucket/archive.zip`. Nothing is unpacked to disk, so member names such as
"../a.jpg" are harmless.

The standard library does the reading, because fsspec's own archive filesystems are created anew,
and read the archive's table again, for every member that is opened by URL.
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
"""Endings of file names, in any case, that are taken for archives."""

ARCHIVE_SCHEMES = ("tar", "zip")
"""Schemes of the URLs of archive members."""

_DRAIN_BYTES = 1 << 20
"""Bytes read at a time while the rest of an archive is checked."""


class MemberUrl(NamedTuple):
    """The URL of an archive member, `SCHEME://MEMBER::TARGET`, in its parts.

    Attributes:
        scheme: "tar" (compressed or not) or "zip".
        member: name of the member as the archive stores it; empty for the whole archive.
        target: path or URL of the archive.
    """

    scheme: str
    member: str
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.member}::{self.target}"


def split_member_url(url: str) -> MemberUrl | None:
    """Split the URL of an archive member into its parts; return None for any other text.

    Names of members may contain "::", so paths of archives may not: the last "::" separates them.
    """
    scheme, scheme_end, rest = url.partition("://")
    member, member_end, target = rest.rpartition("::")
    if scheme not in ARCHIVE_SCHEMES or not scheme_end or not member_end or not target:
        return None
    return MemberUrl(scheme, member, target)


def archive_scheme(name: str) -> str | None:
    """Return the URL scheme for an archive's file name; None if the name is not an archive's."""
    lowered = name.lower()
    if not lowered.endswith(ARCHIVE_SUFFIXES):
        return None
    return "zip" if lowered.endswith(".zip") else "tar"


class Archive(Protocol):
    """An open archive whose table of members has been read. Threads may share one."""

    def members(self) -> Iterator[tuple[str, int]]:
        """Yield the name and size in bytes of each regular file, in the archive's order."""

    def size(self, member: str) -> int:
        """Return the size of a member in bytes; raise KeyError if no member has that name."""

    def read(self, member: str, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of a member; corrupt data may raise any exception."""


def open_archive(file: BinaryIO, scheme: str, *, name: str) -> Archive:
    """Open an archive and read its table of members.

    The file is closed when the returned archive is garbage-collected. Of several members with the
    same name the last one counts, as in unpacking.

    Args:
        file: the archive's file, seekable and open for reading.
        scheme: "tar" or "zip".
        name: name of the archive, for messages.

    Raises:
        CorruptFileError: the file is truncated, corrupt or not an archive of this scheme.
    """
    try:
        archive = _ZipArchive(file) if scheme == "zip" else _TarArchive(file)
    except MemoryError:
        raise
    except Exception as error:  # decompressors raise nearly any exception on corrupt data
        file.close()
        raise CorruptFileError(
            f"{name} is corrupt or not a {scheme} archive ({first_line(error).rstrip(':')}); "
            "copy it again or create it again"
        ) from error
    weakref.finalize(archive, file.close)
    return archive


class _Member(tarfile.TarInfo):
    """A header of a tar archive that refuses oversized extension headers.

    tarfile reads extension headers, such as long names, into memory whatever their size.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDING_TYPES and self.size > _MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(
                f"an extension header has {self.size} bytes, over {_MAX_EXTENSION_BYTES}"
            )
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


_EXTENDING_TYPES = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of the headers that extend the next member's header, for example by a long name."""

_MAX_EXTENSION_BYTES = 1 << 20
"""Maximum size of an extension header in bytes, far above that of any real name."""


class _TarArchive:
    """A tar archive, compressed or not.

    Reading from a compressed one is fast only in the order of its members.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lock = threading.Lock()
        self._extents: dict[str, tuple[int, int]] = {}  # name: offset (-1 if sparse), size
        tar = tarfile.open(  # noqa: SIM115  # used as long as this object lives
            fileobj=file,
            mode="r:*",
            encoding="utf-8",
            errors="surrogateescape",
            tarinfo=_Member,
        )
        assert tar.fileobj is not None, "the archive was opened for reading"
        self._content = tar.fileobj  # the decompressed content of `file`
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # each would take a kilobyte
            if member.isreg():
                self._extents.pop(member.name, None)
                offset = -1 if member.issparse() else member.offset_data
                self._extents[member.name] = (offset, member.size)
        # tarfile takes a corrupt header for the end of the archive. So require the end-of-archive
        # marker, and read the rest so that a decompressor verifies its checksum.
        self._content.seek(tar.offset)
        if self._content.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is truncated or corrupt before its end-of-archive marker")
        while self._content.read(_DRAIN_BYTES):
            pass

    def members(self) -> Iterator[tuple[str, int]]:
        return ((name, size) for name, (_, size) in self._extents.items())

    def size(self, member: str) -> int:
        return self._extents[member][1]

    def read(self, member: str, max_bytes: int) -> bytes:
        offset, size = self._extents[member]
        if offset < 0:
            raise tarfile.ReadError("the member is stored as a sparse file, which is not supported")
        with self._lock:
            self._content.seek(offset)
            return self._content.read(min(size, max_bytes))


class _ZipArchive:
    """A zip archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._lock = threading.Lock()
        self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0: no Unix mode stored
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
