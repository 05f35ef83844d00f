"""Which addresses may be asked: schemes, hosts, and no credentials in addresses.

Photo lists come from others, so the addresses in them must not make this machine ask servers of its
own or of the inner network, or read what is no file.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from faces.core.errors import WrongUsageError
from faces.core.settings import Access
from faces.photos.archives import ARCHIVE_SCHEMES, split_member_url
from faces.photos.uris import is_url, unescape_url

STORE_SCHEMES = ("s3", "gs", "az")
"""Schemes of object stores. Their servers are those of the operator's configuration, never of an
address, so they may be in a private network."""

ALLOWED_SCHEMES = (*STORE_SCHEMES, "https")
"""Schemes of addresses that are allowed without `Access.allow_scheme`."""

NEVER_ALLOWED = ("file", "local")
"""Schemes that are names of local files, for which a path is the name."""

_USER_SCHEMES = ("http", "https", "s3", "gs")
"""Schemes in whose addresses a user's name alone is a credential. Elsewhere it is none, as in
sftp://ann@host, or stands for a container, as in abfs://photos@account."""

_SECRET_PARAMETER = re.compile(
    r"token|secret|passw|pwd|passphrase|sig(?:nature)?$|signature|key|auth|credential|jwt|session"
    r"|bearer",
    re.IGNORECASE,
)
"""Regular expression that finds, in the name of a parameter of an address, that its value is a
credential: tokens, passwords, signatures of pre-signed addresses (X-Amz-Signature, sig)."""


def require_allowed(url: str, access: Access, *, where: str = "") -> None:
    """Raise WrongUsageError for an address that must not be read.

    Args:
        url: an address, of an archive's member too; not a path.
        access: what is allowed.
        where: where the address was found, for the message, such as "list.csv: ".

    Raises:
        WrongUsageError: the address has credentials in it, or its scheme is not allowed. The
            message does not show credentials.
    """
    target = _target(url)
    require_no_credentials(url, where=where)
    scheme, separator, _ = target.partition("://")
    if not separator:
        return
    if scheme in NEVER_ALLOWED:
        raise WrongUsageError(f"{where}{url} is a local file; name its path")
    if scheme not in (*ALLOWED_SCHEMES, *access.allow_scheme, *ARCHIVE_SCHEMES):
        raise WrongUsageError(
            f"{where}{url} begins with {scheme}://, which is not allowed; allowed are paths, "
            f"{', '.join(f'{name}://' for name in ALLOWED_SCHEMES)}; to allow this one too, give "
            f"--allow-scheme {scheme}"
        )


def require_no_credentials(url: str, *, where: str = "") -> None:
    """Raise WrongUsageError, without showing them, for an address that has credentials in it."""
    if has_credentials(url):
        raise WrongUsageError(
            f"{where}{redacted(url)} has credentials in it, which would be stored with the photo; "
            "leave them out, and give them in the environment or the store's own configuration"
        )


def allowing_sources(access: Access, sources: Iterable[str | Path]) -> Access:
    """Return an `Access` that also allows the schemes and hosts of the sources that a user named.

    Args:
        access: what is allowed.
        sources: sources of photos as the user named them.
    """
    schemes, hosts = list(access.allow_scheme), list(access.allow_host)
    for source in sources:
        target = _target(unescape_url(source)) if isinstance(source, str) else ""
        if is_url(target):
            schemes.append(target.partition("://")[0])
            with suppress(ValueError):
                hosts.append(urlsplit(target).hostname or "")
    return Access(tuple(dict.fromkeys(schemes)), tuple(dict.fromkeys(filter(None, hosts))))


def access_from(document: dict[str, Any]) -> Access:
    """Return the `Access` that was written as a JSON object."""
    return Access(tuple(document["allow_scheme"]), tuple(document["allow_host"]))


def is_in_store(url: str) -> bool:
    """Return whether an address is of an object store, whose servers are configured."""
    return _target(url).partition("://")[0] in STORE_SCHEMES


def _target(url: str) -> str:
    """Return the address that is opened: of an archive's member, that of the archive."""
    member = split_member_url(url)
    return url if member is None else member.target


def has_credentials(url: str) -> bool:
    """Return whether an address has a password, a token or a signature in it."""
    try:
        parts = urlsplit(_target(url))
        user, at, _ = parts.netloc.rpartition("@")
        parameters = parse_qsl(parts.query, keep_blank_values=True)
        parameters += parse_qsl(parts.fragment, keep_blank_values=True)
    except ValueError:  # not an address that anything could open
        return "@" in url
    if parts.scheme in ("", *ARCHIVE_SCHEMES):
        return False
    is_secret = bool(at) and (parts.scheme in _USER_SCHEMES or ":" in unquote(user))
    return is_secret or any(_SECRET_PARAMETER.search(name) for name, _ in parameters)


def redacted(url: str) -> str:
    """Return an address as it may be shown: without user, password, parameters and fragment."""
    if not has_credentials(url):
        return url
    target = _target(url)
    before = url[: len(url) - len(target)]
    scheme, _, rest = target.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    shown = f"{before}{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return shown if not has_credentials(shown) else "an address"


class _Connections:
    """What the audit hook of this process allows, while something is read."""

    access: Access | None = None
    is_hooked = False


@contextmanager
def connecting_only_to(access: Access) -> Iterator[None]:
    """Refuse connections of this process to private and local addresses, while the context is open.

    The rule is applied where Python connects a socket, so that it holds after redirects and
    whatever a name resolves to at that moment. It holds in all threads. It cannot be taken away
    from a process, so it is meant for the processes of `faces.core.limited`.

    Args:
        access: what is allowed; the addresses of a host in `allow_host` are.
    """
    if not _Connections.is_hooked:
        sys.addaudithook(_check_connection)
        _Connections.is_hooked = True
    _Connections.access = access
    try:
        yield
    finally:
        _Connections.access = None


def _check_connection(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a connection; Python calls this for each of its audit events."""
    access = _Connections.access
    if access is None or event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    if event == "socket.getaddrinfo":
        if arguments[0] in access.allow_host:
            _remember(arguments[0], arguments[1])
        return
    address = arguments[1]
    host = address[0] if isinstance(address, tuple) and address else ""
    if not is_public(str(host)) and host not in {*access.allow_host, *_addresses_of_allowed}:
        raise PermissionError(
            f"{host or 'a local socket'} is in a private or local network; to allow it, give "
            "--allow-host"
        )


_addresses_of_allowed: set[str] = set()
"""Addresses that the names in `Access.allow_host` resolve to."""


def _remember(host: str, port: Any) -> None:
    """Add the addresses of an allowed host to `_addresses_of_allowed`."""
    access, _Connections.access = _Connections.access, None  # getaddrinfo is an event too
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    finally:
        _Connections.access = access
    _addresses_of_allowed.update(str(entry[4][0]) for entry in found)


def is_public(host: str) -> bool:
    """Return whether an IP address is one of the open internet; False for anything else."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            embedded = address.teredo[1]
        if embedded is None and address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The IPv6 addresses that lead to IPv4 addresses through a translator (RFC 6052)."""
