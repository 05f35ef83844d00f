"""Storage: the one way to the files of a dataset or an index, for reading, writing and removing.

Whoever can write into a dataset or an index could put a link, a pipe or a device where a file
should be, and so have other files read, waited for or removed. So every name is relative to the
folder that the user named, each of its parts is opened below the one before it without following a
link, and a file is opened only if it is a regular one. The path of that folder itself may be a
link: the user chose it.

`Folder` is the storage of a local folder. Names are relative, with "/" between their parts, and
files appear whole or not at all, so that an object store can have the same operations.
"""

from __future__ import annotations

import fnmatch
import hashlib
import mmap
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from filelock import Timeout
from msgspec import Meta

from faces.core.descriptors import (
    PRIVATE_DIR_MODE,
    PRIVATE_FILE_MODE,
    create_file,
    link_found,
    open_file,
    open_folder,
    require_file,
    sync_folder,
    take_after,
)
from faces.core.errors import BusyError, CorruptFileError, MissingFileError
from faces.core.locks import file_lock

TEMPORARY_SUFFIX = ".tmp"
"""Ending of the names of files that are not complete yet."""

LOCK_FILE = ".lock"
"""Name of the lock file in a folder with one writer. The file stays when the lock is released."""

MAX_DOCUMENT_BYTES = 64_000_000
"""Largest size in bytes of a file that is read as a whole, such as a manifest. No such file that
facetrove writes has more than a hundredth of that."""


@dataclass(frozen=True)
class FileDigest:
    """Size in bytes and sha256 of a file, by which corruption is detected."""

    num_bytes: Annotated[int, Meta(ge=0, le=2**62)]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    @classmethod
    def of(cls, file: BufferedReader) -> FileDigest:
        """Compute the digest of an open file, and return to its beginning."""
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        return cls(os.fstat(file.fileno()).st_size, sha256)


@dataclass(frozen=True)
class Folder:
    """A local folder as the storage of files, or a folder inside it; it holds nothing open.

    All methods raise `LinkFoundError` where a part of a name is a link, `CorruptFileError` where
    it is no regular file or no folder, or the name leads out of the folder, and the operating
    system's OSError, with the whole path, for anything else.

    Attributes:
        path: path of the folder that the user named.
        inside: name of the folder inside `path` that names are relative to; "": `path` itself.
        remedy: what the user should do about a corrupt file; ends the messages of errors.
    """

    path: Path
    inside: str = ""
    remedy: str = "restore it from a backup"

    def make(self) -> None:
        """Make the folder at `path`, for its owner alone, unless there is one."""
        self.path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIR_MODE)

    def at(self, name: str = "") -> Path:
        """Return the path of a name, for messages."""
        return self.path.joinpath(self.inside, name)

    def folder(self, name: str) -> Folder:
        """Return the storage of a folder inside this one, which need not exist."""
        return replace(self, inside=f"{self.inside}/{name}" if self.inside else name)

    def names(self, name: str = "") -> list[str]:
        """Return the names of all that lies in a folder, unsorted; empty if it is missing."""
        try:
            with self._opened(name) as folder:
                return os.listdir(folder)  # noqa: PTH208  # a path cannot be a descriptor
        except MissingFileError:
            return []

    def exists(self, name: str) -> bool:
        """Return whether there is anything by a name, whatever it is."""
        try:
            self._status(name)
        except MissingFileError:
            return False
        return True

    def modified(self, name: str) -> float:
        """Return when a file was last written, in seconds since 1970."""
        return self._status(name).st_mtime

    def files(self) -> Iterator[str]:
        """Iterate over the names of all that is no folder, in subfolders too, sorted.

        Raises:
            LinkFoundError: there is a link. A folder is never searched through one.
        """
        try:
            with self._opened("") as folder, os.scandir(folder) as entries:
                found = [(e.name, e.is_symlink(), e.is_dir(follow_symlinks=False)) for e in entries]
        except MissingFileError:
            return
        for base, is_link, is_folder in sorted(found):
            if is_link:
                raise link_found(self.at(base))
            if is_folder:
                yield from (f"{base}/{name}" for name in self.folder(base).files())
            else:
                yield base

    def require_no_links(self) -> None:
        """Raise `LinkFoundError` if there is a link anywhere in the folder."""
        for _ in self.files():
            pass

    @contextmanager
    def open(
        self, name: str, digest: FileDigest | None = None, *, size_only: bool = False
    ) -> Iterator[BufferedReader]:
        """Open a file for reading.

        Args:
            name: name of the file.
            digest: size and sha256 that the file must have; None: they are not checked.
            size_only: whether to check the size alone, which takes no time.

        Raises:
            MissingFileError: there is no such file.
            CorruptFileError: the file has another size or sha256.
        """
        with self._folder_of(name) as (folder, base):
            descriptor = open_file(base, folder, self.at(name), remedy=self.remedy)
        with os.fdopen(descriptor, "rb") as file:
            if digest is not None:
                self._require_digest(name, file, digest, size_only=size_only)
            yield file

    def read(self, name: str, digest: FileDigest | None = None) -> bytes:
        """Return the content of a file of up to `MAX_DOCUMENT_BYTES`; errors as of `open`."""
        with self.open(name, digest) as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise CorruptFileError(
                f"{self.at(name)} has more than {MAX_DOCUMENT_BYTES:,} bytes; {self.remedy}"
            )
        return content

    def mapped(
        self, name: str, digest: FileDigest | None = None, *, size_only: bool = False
    ) -> mmap.mmap | bytes:
        """Return the content of a file as a read-only memory map; arguments as of `open`.

        The map stays valid when the file is replaced or removed.
        """
        with self.open(name, digest, size_only=size_only) as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""  # which cannot be mapped
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def digest(self, name: str) -> FileDigest:
        """Return size and sha256 of a file."""
        with self.open(name) as file:
            return FileDigest.of(file)

    @contextmanager
    def put(self, name: str, *, mode: int | None = None) -> Iterator[BufferedWriter]:
        """Yield a file to write; on success it replaces the file of that name, whole and at once.

        The content is flushed to disk before that, so not even a power cut leaves a half-written
        file under the name. On an error nothing is left.

        Args:
            name: name of the file.
            mode: mode of the file; None: mode and group are those of its folder.
        """
        with self._folder_of(name) as (opened, base):
            temporary = f".{base}.{uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
            descriptor = create_file(temporary, opened)
            folder = os.dup(opened)
        try:
            if mode is None:
                take_after(descriptor, folder, 0o666)
            else:
                with suppress(OSError):  # some file systems keep no modes
                    os.fchmod(descriptor, mode)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                yield file
            os.fsync(descriptor)
            os.rename(temporary, base, src_dir_fd=folder, dst_dir_fd=folder)
            sync_folder(folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
            os.close(folder)

    def put_unchanged(self, name: str, content: bytes, *, previous: bytes | None) -> None:
        """Write a file if it is still as it was when it was read.

        In a local folder the caller has the folder's `lease`, so that nobody else writes in
        between; an object store compares and writes at once.

        Args:
            name: name of the file.
            content: the file's new content.
            previous: the file's content before; None: there was no such file.

        Raises:
            BusyError: the file is another by now.
        """
        try:
            found = self.read(name)
        except MissingFileError:
            found = None
        if found != previous:
            raise BusyError(f"{self.at(name)} was written by another process; try again")
        with self.put(name) as file:
            file.write(content)

    def create(self, name: str) -> int:
        """Create a file that is written in place while a job runs, and return its descriptor.

        An earlier file of that name is removed.
        """
        self.remove(name)
        with self._folder_of(name) as (folder, base):
            descriptor = create_file(base, folder)
            take_after(descriptor, folder, 0o666)
        return descriptor

    def make_folder(self, name: str) -> None:
        """Make a folder, with mode and group of the one it lies in, unless there is one."""
        with self._folder_of(name) as (folder, base), suppress(FileExistsError):
            os.mkdir(base, PRIVATE_DIR_MODE, dir_fd=folder)
            with self._opened(name) as made:
                take_after(made, folder, 0o2777)
            sync_folder(folder)
        with self._opened(name):
            pass  # raises if it is no folder

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; raise `LinkFoundError` for a link."""
        with suppress(MissingFileError), self._folder_of(name) as (folder, base):
            if stat.S_ISLNK(os.lstat(base, dir_fd=folder).st_mode):
                raise link_found(self.at(name))
            os.unlink(base, dir_fd=folder)

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there.

        Raises:
            LinkFoundError: the folder is a link, or there is one in it; nothing has been removed.
        """
        self.folder(name).require_no_links()
        with suppress(MissingFileError), self._folder_of(name) as (folder, base):
            shutil.rmtree(base, dir_fd=folder)

    def temporary_files(self, name: str = "", *, of: str = "*") -> list[str]:
        """Return the names of temporary files: left by killed processes, or being written now.

        Args:
            name: name of the folder to look in, without its subfolders.
            of: final name of the files, as a glob pattern.
        """
        found = fnmatch.filter(self.names(name), f".{of}.*{TEMPORARY_SUFFIX}")
        return [f"{name}/{base}" if name else base for base in found]

    def remove_temporary_files(self, name: str = "", *, of: str = "*") -> None:
        """Remove the files that `temporary_files` returns.

        Only the holder of the lease under which these files are written may call this method.
        """
        for temporary in self.temporary_files(name, of=of):
            self.remove(temporary)

    @contextmanager
    def lease(self, *, what: str, name: str = LOCK_FILE, wait_seconds: float = 0) -> Iterator[None]:
        """Hold the right of the one writer; the operating system frees it when the process ends.

        Args:
            what: what the lease is for, such as "dataset d", for the error message.
            name: name of the lock file.
            wait_seconds: seconds to wait for another process that holds the lease.

        Raises:
            BusyError: another process holds the lease.
            FaceTroveError: the folder lies on a file system without locks.
        """
        with self._opened("") as folder:
            mode = os.fstat(folder).st_mode & 0o666 | PRIVATE_FILE_MODE
        with suppress(MissingFileError):
            require_file(self._status(name).st_mode, self.at(name), remedy=self.remedy)
        try:
            with file_lock(self.at(name), timeout=wait_seconds, mode=mode):  # which follows no link
                yield
        except Timeout as error:
            raise BusyError(
                f"another process is writing {what}; wait for it to finish, or stop it, and try "
                "again"
            ) from error

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Yield the descriptor of a folder; errors of operations below it say the whole path."""
        parts = [*self._parts(self.inside), *self._parts(name)]
        try:
            descriptor = open_folder(self.path, parts, remedy=self.remedy)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.at(name)} is missing; {self.remedy}") from error
        except OSError as error:
            error.filename = error.filename and str(self.at(name))
            raise

    @contextmanager
    def _folder_of(self, name: str) -> Iterator[tuple[int, str]]:
        """Yield the descriptor of the folder that a name lies in, and the last part of the name."""
        above, _, base = name.rpartition("/")
        self._parts(name)
        try:
            with self._opened(above) as descriptor:
                yield descriptor, base
        except MissingFileError as error:
            raise MissingFileError(f"{self.at(name)} is missing; {self.remedy}") from error

    def _parts(self, name: str) -> list[str]:
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise CorruptFileError(f"{name!r} is no name of a file in {self.at()}; {self.remedy}")
        return parts

    def _status(self, name: str) -> os.stat_result:
        with self._folder_of(name) as (folder, base):
            return os.lstat(base, dir_fd=folder)

    def _require_digest(
        self, name: str, file: BufferedReader, digest: FileDigest, *, size_only: bool
    ) -> None:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes != digest.num_bytes:
            raise CorruptFileError(
                f"{self.at(name)} has {num_bytes} bytes instead of {digest.num_bytes}: it is "
                f"truncated or altered; {self.remedy}"
            )
        if not size_only and FileDigest.of(file) != digest:
            raise CorruptFileError(
                f"{self.at(name)} differs from what was written (its sha256 has changed); "
                f"{self.remedy}"
            )


@contextmanager
def put_file(path: Path) -> Iterator[BufferedWriter]:
    """Yield a file to write at a path that the user named; it appears whole or not at all.

    A new file is for its owner alone; one that is replaced keeps its mode.
    """
    mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else PRIVATE_FILE_MODE
    with Folder(path.parent).put(path.name, mode=mode) as file:
        yield file
