"""Keys of the service: a file of names, scopes and hashes, which is read again when it changes.

    [[key]]
    name = "picture-desk"
    sha256 = "9f86d0..."
    scopes = ["search"]
    created = "2026-01-31T09:30:00+00:00"

A key has 256 random bits, so that its plain SHA-256 cannot be reversed; a slow hash, as passwords
need, would add nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from faces.core.descriptors import PRIVATE_FILE_MODE
from faces.core.errors import CorruptFileError, FaceTroveError, WrongUsageError, first_line
from faces.core.locks import file_lock
from faces.core.storage import Folder

Scope = Literal["search", "curate", "enrol", "admin"]
"""What a key allows. search: searches, and reading faces, photos and people. curate: deciding who
is who, deleting faces, and taking both back. enrol: adding photos, grouping faces. admin: all."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

KEY_PREFIX = "ft_"
"""Beginning of every key, by which scanners for leaked secrets recognise one."""

_KEY_BYTES = 32
_MAX_FILE_BYTES = 1_000_000
_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"


@dataclass(frozen=True)
class Key:
    """A key as the file has it.

    Attributes:
        name: name of who has the key; it stands in the audit log.
        sha256: SHA-256 of the key, in hexadecimal.
        scopes: what the key allows.
        created: time in UTC, ISO 8601.
    """

    name: Annotated[str, Meta(pattern=_NAME)]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    created: str = ""

    def allows(self, scope: Scope) -> bool:
        """Return whether the key allows what a scope covers."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class _File:
    key: tuple[Key, ...] = ()


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read the keys of a file.

    Raises:
        WrongUsageError: there is no such file, or others than its owner may write it.
        CorruptFileError: it is no file of keys.
    """
    if not path.is_file():
        raise WrongUsageError(
            f"{path} is no file of keys; make one with `facetrove keys add {path} NAME "
            "--scope search`"
        )
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WrongUsageError(f"others may write {path}; run `chmod 600 {path}`")
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    try:
        if len(content) > _MAX_FILE_BYTES:
            raise ValueError(f"it has more than {_MAX_FILE_BYTES:,} bytes")
        document = tomllib.loads(content.decode())
        found = msgspec.convert(document, _File).key
        if unknown := document.keys() - {"key"}:
            raise ValueError(f"there is no field {min(unknown)!r}")
        if len({key.name for key in found}) < len(found):
            raise ValueError("two keys have one name")
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} is no file of keys ({first_line(error)}); correct it"
        ) from error
    return found


def add_key(path: Path, name: str, scopes: Sequence[Scope]) -> str:
    """Make a key, add its hash to a file, and return it: it stands nowhere else.

    Args:
        path: path of the file, which is made if there is none.
        name: name of who gets the key.
        scopes: what the key allows.

    Raises:
        WrongUsageError: the name is taken or cannot be one, or no scope is given.
    """
    if not re.match(_NAME, name):
        raise WrongUsageError(
            f"{name!r} cannot be a key's name; use letters, digits, '.', '_' and '-', 64 at most"
        )
    if not scopes:
        raise WrongUsageError(f"give --scope, one of {', '.join(SCOPES)}")
    with _changing(path):
        keys = read_keys(path) if path.exists() else ()
        if any(key.name == name for key in keys):
            raise WrongUsageError(f"{path} has a key {name!r}; remove it first, or choose a name")
        secret = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        _write(path, (*keys, Key(name, hash_of(secret), ordered, now)))
    return secret


def remove_key(path: Path, name: str) -> None:
    """Remove the key of a name from a file.

    Raises:
        WrongUsageError: there is no such file, or no such key in it.
    """
    with _changing(path):
        keys = read_keys(path)
        left = tuple(key for key in keys if key.name != name)
        if left == keys:
            raise WrongUsageError(f"{path} has no key {name!r}; `facetrove keys list` shows all")
        _write(path, left)


def _changing(path: Path) -> AbstractContextManager[None]:
    if not path.parent.is_dir():
        raise WrongUsageError(f"{path.parent} is no folder; make it first")
    return file_lock(path.with_name(f".{path.name}.lock"), timeout=10, mode=PRIVATE_FILE_MODE)


def _write(path: Path, keys: Sequence[Key]) -> None:
    lines = ["# Keys of `facetrove serve`. `facetrove keys` writes this file.\n"]
    for key in keys:
        scopes = ", ".join(f'"{scope}"' for scope in key.scopes)
        lines.append(
            f'\n[[key]]\nname = "{key.name}"\nsha256 = "{key.sha256}"\nscopes = [{scopes}]\n'
            f'created = "{key.created}"\n'
        )
    with Folder(path.parent).put(path.name, mode=PRIVATE_FILE_MODE) as file:
        file.write("".join(lines).encode())


class KeyRing:
    """The keys of a file, which is read again when it changes.

    Args:
        path: path of the file.

    Raises:
        WrongUsageError, CorruptFileError: see `read_keys`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamp = self._stamp_now()
        self._keys: Mapping[str, Key] = _by_hash(read_keys(path))

    def find(self, secret: str) -> Key | None:
        """Return the key that a client has sent; None: there is no such key.

        Raises:
            FaceTroveError: the file has changed and cannot be read: then no key counts.
        """
        stamp = self._stamp_now()
        if stamp != self._stamp:
            with self._lock:
                try:
                    self._keys = _by_hash(read_keys(self._path))
                except (FaceTroveError, OSError):
                    self._keys = {}
                    self._stamp = None
                    raise
                self._stamp = stamp
        return self._keys.get(hash_of(secret))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _by_hash(keys: Sequence[Key]) -> dict[str, Key]:
    return {key.sha256: key for key in keys}
