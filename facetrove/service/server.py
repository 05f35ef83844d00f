"""The server: uvicorn, with bounds on connections, around the application."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from faces.core.errors import WrongUsageError, cause_of
from facetrove.service.app import guarded, make_app
from facetrove.service.connections import BoundedProtocol, Connections
from facetrove.service.options import ServiceOptions
from facetrove.service.service import Service

KEEP_ALIVE_SECONDS = 30
"""Seconds that a connection stays open for the next request."""

SHUTDOWN_SECONDS = 10
"""Seconds that requests have to end when the server is told to."""

BACKLOG = 1_024

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread that runs Python lets others run. By Python's default, 5 ms, the
event loop waits that long for a thread that prepares an answer."""


def run_server(
    options: ServiceOptions,
    *,
    on_ready: Callable[[str], None],
    stopping: Stopping | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: what to serve, and to whom.
        on_ready: called with the server's address when it answers.
        stopping: what ends the server where it runs in a thread.

    Raises:
        WrongUsageError, BusyError, CorruptFileError: see `Service.open`; or the port is taken.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    listening = _listening(options)
    with listening:
        service = Service.open(options)
        bounds = Connections(options.limits.max_connections, options.limits.answer_timeout)
        config = uvicorn.Config(
            guarded(make_app(service), service),
            loop="uvloop",
            http=type("Protocol", (BoundedProtocol,), {"bounds": bounds}),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # addresses of requests may name faces
            server_header=False,
            proxy_headers=False,  # a client's address is whoever connects
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        server = _Server(config, lambda: on_ready(f"http://{shown}:{port}"))
        if stopping is not None:
            stopping.server = server
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            server.run(sockets=[listening])
        finally:
            sys.setswitchinterval(before)


class Stopping:
    """What ends a server that runs in a thread, where no signal reaches it."""

    server: uvicorn.Server | None = None

    def stop(self) -> None:
        """Have the server end as soon as its requests have."""
        if self.server is not None:
            self.server.should_exit = True


def _listening(options: ServiceOptions) -> socket.socket:
    """Return a socket that listens, before anything that takes long."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        raise WrongUsageError(
            f"cannot listen on {options.host} port {options.port} ({cause_of(error)}); choose "
            "another with --host or --port"
        ) from error
    return listening


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal, which is how a server ends: not as an error."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and tell so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            await asyncio.to_thread(self._on_ready)
