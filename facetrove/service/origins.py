"""The names by which the service may be called, against DNS rebinding and cross-site requests.

A web page of a stranger, open in a browser on this machine, can send requests to a loopback
address. It cannot choose the headers Host, Origin and Sec-Fetch-Site that the browser sends along.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from facetrove.service.refusals import RefusedError

_SAME_SITE = (b"same-origin", b"none")
"""Values of Sec-Fetch-Site of requests that no other site has made a browser send."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Origins:
    """The names by which the service may be called.

    Attributes:
        hosts: names and addresses without a port, in lower case; None: any, as where keys are
            needed and the service listens on more than a loopback address.
    """

    hosts: frozenset[str] | None

    @classmethod
    def of(cls, host: str, allowed: Sequence[str], *, needs_keys: bool) -> Origins:
        """Return the names of a service.

        Args:
            host: address that it listens on.
            allowed: further names that the operator allows.
            needs_keys: whether every request needs a key.
        """
        if needs_keys and not is_loopback(host) and not allowed:
            return cls(None)
        names = {*(name.lower() for name in allowed), host.lower(), *LOOPBACK_NAMES}
        return cls(frozenset(names))

    def require(self, headers: Mapping[bytes, bytes], method: str) -> None:
        """Check the headers by which a browser tells where a request comes from.

        Raises:
            RefusedError: the service is called by another name, or by another site's page.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        name = _name_of(host)
        if self.hosts is not None and name not in self.hosts:
            raise RefusedError(
                421,
                "wrong_host",
                "the service is not called by this name; start it with --allow-host NAME",
            )
        origin = headers.get(b"origin")
        if origin is not None and _place_of(origin.decode("latin-1")) != host.lower():
            raise _cross_site()
        site = headers.get(b"sec-fetch-site")
        if site is not None and site not in _SAME_SITE:
            is_navigation = headers.get(b"sec-fetch-mode") == b"navigate"
            if method not in ("GET", "HEAD") or not is_navigation:
                raise _cross_site()


def _cross_site() -> RefusedError:
    return RefusedError(
        403, "cross_site", "a page of another site sent this request; send it from your own program"
    )


def _name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port; None if it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place_of(origin: str) -> str | None:
    """Return the name and port of an Origin header; None for "null" and for what is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
