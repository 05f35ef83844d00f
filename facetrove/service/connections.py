"""Connections: bounds on their number, and on the time and size of a request's headers.

uvicorn waits for ever for the headers of a first request, and takes any number of them. A client
that opens connections and sends nothing, or a header a second, would keep others out.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
"""Maximum size in bytes of a request's line and headers; other servers take 8 to 64 kB."""

HEADER_SECONDS = 10.0
"""Seconds in which the headers of a request have to arrive after its first byte, or after the
connection was opened."""


class Connections:
    """The open connections of a server, of which those that wait for a request are closed first.

    Among these, the first to be closed are those that have not sent any request yet, the oldest
    first: a client that opens many connections and says nothing keeps nobody out.

    Args:
        max_connections: maximum number of open connections.
        answer_timeout: seconds that a client may take for what is left of an answer.
    """

    def __init__(self, max_connections: int, answer_timeout: float) -> None:
        self.max_connections = max_connections
        self.answer_timeout = answer_timeout
        self._all: set[BoundedProtocol] = set()
        self._new: OrderedDict[BoundedProtocol, None] = OrderedDict()
        self._idle: OrderedDict[BoundedProtocol, None] = OrderedDict()

    def add(self, connection: BoundedProtocol) -> bool:
        """Count a connection, and close one that waits if there are too many.

        Returns:
            Whether there is room for it.
        """
        if len(self._all) >= self.max_connections:
            waiting = self._new or self._idle
            if not waiting:
                return False
            oldest, _ = waiting.popitem(last=False)
            self._all.discard(oldest)
            oldest.transport.abort()
        self._all.add(connection)
        self._new[connection] = None
        return True

    def remove(self, connection: BoundedProtocol) -> None:
        """Forget a connection that is closed."""
        self._all.discard(connection)
        self.set_busy(connection)

    def set_busy(self, connection: BoundedProtocol) -> None:
        """Note that a connection has a request, or is closed."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def set_idle(self, connection: BoundedProtocol) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._all:
            self._idle[connection] = None


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with bounds."""

    bounds: Connections
    """The connections of the server, which a subclass for it has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._num_header_bytes = 0
        self._in_headers = True
        self._header_timer: asyncio.TimerHandle | None = None
        self._answered = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or close it at once if there are too many."""
        super().connection_made(transport)
        if not self.bounds.add(self):
            transport.abort()
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.bounds.remove(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data on to the parser, as long as headers are not too large."""
        if self._in_headers:
            self._num_header_bytes += len(data)
            if self._header_timer is None:
                self._await_headers()
        super().data_received(data)
        if self._in_headers and self._num_header_bytes > MAX_HEADER_BYTES:
            self._close_for_headers()

    def on_headers_complete(self) -> None:
        """Begin a request, whose headers are there."""
        size = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        if size > MAX_HEADER_BYTES:
            self._close_for_headers()
            return
        self._in_headers = False
        self._num_header_bytes = 0
        self._stop_timer()
        self.bounds.set_busy(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._in_headers = True
        self._num_header_bytes = 0
        self._answered = time.monotonic()
        super().on_response_complete()
        if not self.transport.get_write_buffer_size():
            self.bounds.set_idle(self)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is not used, once the client has taken the answer."""
        if self.transport.get_write_buffer_size():
            if time.monotonic() - self._answered > self.bounds.answer_timeout:
                self.transport.abort()
                return
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        super().timeout_keep_alive_handler()

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._close_for_headers)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _close_for_headers(self) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.abort()
