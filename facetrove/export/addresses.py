"""Addresses of vector databases: which database, where it is, and which table holds the faces."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from faces.core.errors import WrongUsageError

Kind = Literal["lancedb", "postgresql", "milvus", "qdrant"]

_KINDS: dict[str, Kind] = {
    "lancedb": "lancedb",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "milvus": "milvus",
    "qdrant": "qdrant",
}

_OPTIONS: dict[Kind, frozenset[str]] = {
    "lancedb": frozenset(),
    # Those of libpq that say where a server is, and how to speak to it. None of them is a secret.
    "postgresql": frozenset(
        {"host", "port", "sslmode", "sslrootcert", "service", "passfile", "connect_timeout"}
    ),
    "milvus": frozenset({"tls", "database"}),
    "qdrant": frozenset({"tls"}),
}
"""What may stand behind the ? of an address, beside `table`."""

_SECRETS: dict[Kind, str] = {
    "lancedb": "set LANCEDB_API_KEY, or the variables of the object store",
    "postgresql": "set PGPASSWORD, or write it into ~/.pgpass",
    "milvus": "set MILVUS_TOKEN to the token, or to user:password",
    "qdrant": "set QDRANT_API_KEY",
}
"""Where a password or key of each database belongs."""

FORMS = (
    "lancedb:FOLDER, postgresql://HOST/DATABASE, milvus://HOST/COLLECTION, milvus:FILE, "
    "qdrant://HOST/COLLECTION or qdrant:FOLDER"
)

DEFAULT_TABLE = "faces"

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Address:
    """The address of a table of faces in a vector database. Use `parse`.

    Attributes:
        kind: which database it is.
        server: host, and port if one is named; "": the database is files of this machine.
        path: path of the files, or the database's name on the server; "": the default one.
        table: name of the table or collection: letters, digits and _.
        user: name of the user; "": the client's default.
        options: further options, see `_OPTIONS`.
    """

    kind: Kind
    server: str
    path: str
    table: str
    user: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address as a user writes it.

        Raises:
            WrongUsageError: it names no database that is known, has a password, which would stay in
                the history of the shell and in lists of processes, or no valid name of a table.
        """
        scheme, _, rest = text.partition(":")
        kind = _KINDS.get(scheme.lower())
        if kind is None or not rest:
            raise WrongUsageError(f"the database is not one of {FORMS}")
        if not rest.startswith("//"):
            return _in_files(kind, rest)
        try:
            parts = urlsplit(f"{kind}:{rest}")
            _ = parts.port
        except ValueError:
            raise WrongUsageError("the database's address is not valid: check its port") from None
        if parts.password is not None or "@" in parts.path:
            _refuse_secret(kind)
        return _on_server(kind, parts)

    def __str__(self) -> str:
        """Return the address in one form for all ways to write it, as records have it."""
        options = {**self.options, "table": self.table}
        query = urlencode(sorted(options.items()), quote_via=quote, safe="/:")
        if self.is_local:
            return f"{self.kind}:{self.path}?{query}"
        user = f"{quote(self.user)}@" if self.user else ""
        return f"{self.kind}://{user}{self.server}/{quote(self.path)}?{query}"

    @property
    def is_local(self) -> bool:
        """Whether the database is files, or an address that the client understands by itself."""
        return not self.server and self.kind != "postgresql"

    @property
    def uses_tls(self) -> bool:
        """Whether `tls=true` is among the options.

        Raises:
            WrongUsageError: it has another value than true or false.
        """
        value = self.options.get("tls", "false")
        if value not in ("true", "false"):
            raise WrongUsageError("the option tls of an address is true or false")
        return value == "true"

    def secret_of(self, variable: str) -> str | None:
        """Return the token or key in an environment variable; None: it is not set.

        Raises:
            WrongUsageError: it would go over a network that anybody can listen to.
        """
        secret = os.environ.get(variable)
        host = urlsplit(f"//{self.server}").hostname
        if secret and not self.uses_tls and host not in _THIS_MACHINE:
            raise WrongUsageError(
                f"{variable} would be sent to another machine without TLS; write ?tls=true behind "
                "the address, or unset it"
            )
        return secret or None


def _in_files(kind: Kind, rest: str) -> Address:
    """Return the address of a database in files, written kind:PATH, or kind:s3://... of LanceDB."""
    if kind == "postgresql":
        raise WrongUsageError("PostgreSQL is a server; name it as postgresql://HOST/DATABASE")
    path, mark, query = rest.rpartition("?table=")
    if not mark:
        path, query = rest, DEFAULT_TABLE
    if "://" in path:
        if kind != "lancedb":
            raise WrongUsageError(f"the database is not one of {FORMS}")
        if "@" in path or "?" in path:
            _refuse_secret(kind)
        return Address(kind, "", path, _checked_table(query))
    if not path:
        raise WrongUsageError(f"the address names no folder; write it as {kind}:FOLDER")
    return Address(kind, "", os.path.abspath(Path(path).expanduser()), _checked_table(query))


def _on_server(kind: Kind, parts: SplitResult) -> Address:
    """Return the address of a database on a server."""
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    table = given.pop("table", None)
    unknown = given.keys() - _OPTIONS[kind]
    if unknown or parts.fragment:
        known = ", ".join(sorted({*_OPTIONS[kind], "table"}))
        raise WrongUsageError(
            f"behind the ? of an address of {kind} stand only {known}; for a password or key, "
            f"{_SECRETS[kind]}"
        )
    path = unquote(parts.path.strip("/"))
    if kind == "lancedb":
        raise WrongUsageError("name LanceDB's folder or address as lancedb:FOLDER or lancedb:s3://")
    if kind != "postgresql":
        if table is not None and path:
            raise WrongUsageError("name the collection once, behind the host or by ?table=")
        path, table = "", path or None if table is None else table
        if not parts.hostname:
            raise WrongUsageError(f"the address names no host; write it as {kind}://HOST")
    elif "/" in path or "\0" in path:
        raise WrongUsageError("the name of the database has a / in it; write /DATABASE?table=TABLE")
    server = parts.netloc.rpartition("@")[2]
    return Address(
        kind,
        server,
        path,
        _checked_table(DEFAULT_TABLE if table is None else table),
        unquote(parts.username or ""),
        given,
    )


def _checked_table(name: str) -> str:
    """Return the name of a table.

    Raises:
        WrongUsageError: it is no plain name.
    """
    if not _TABLE.fullmatch(name):
        raise WrongUsageError(
            "the name of the table has other characters than letters, digits and _, begins with a "
            "digit, or is longer than 40"
        )
    return name


def _refuse_secret(kind: Kind) -> None:
    raise WrongUsageError(
        "the address has a password in it, which would stay in the shell's history and in lists of "
        f"processes; leave it out, and {_SECRETS[kind]}"
    )
