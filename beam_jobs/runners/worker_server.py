"""The server of worker processes: it has imported what workers need, and forks them.

A worker that starts as a new process takes more than a second of processor time to import Beam and
our transforms. A fork of the server takes some hundredths, and shares the server's memory.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from faces.core.channel import Channel, ChannelClosedError
from faces.core.limited import LimitedServer

WORKER_MODULE = "beam_jobs.runners.local_worker"

PRELOADED = (WORKER_MODULE, "beam_jobs.transforms")
"""Modules that the server imports. None of them starts a thread of Python's or gRPC's, and none
loads an engine of networks or FAISS: threads do not survive a fork."""

_VARIABLES = {
    # Make glibc keep the memory of a photo for the next photo: getting it from the system page by
    # page takes half as long as decoding a large JPEG. In bytes.
    "MALLOC_MMAP_THRESHOLD_": "200000000",
    "MALLOC_TRIM_THRESHOLD_": "300000000",
    # Makes NumPy multiply matrices on one core: there is a worker for each, and threads of several
    # workers would wait for each other.
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment variables of workers, which libraries read when they are loaded."""

CHECK_SECONDS = 0.3
"""Seconds between two checks whether the other processes of a job are still running."""

_MAX_LINE_BYTES = 2000
"""Number of bytes at the end of what a process wrote in which its last line is looked for."""


class ServerEndedError(Exception):
    """An error raised because the server ended before it could fork a worker.

    Attributes:
        exit_code: the exit code of its process, or the negated number of its signal.
        last_line: the last line that it wrote to stderr, in words.
    """

    def __init__(self, exit_code: int, last_line: str) -> None:
        super().__init__(last_line)
        self.exit_code = exit_code
        self.last_line = last_line


class WorkerServer:
    """The server of the worker processes of this process.

    Args:
        server: a server that has imported `PRELOADED`.
        said: file that it writes to if it cannot.

    Attributes:
        has_ended: whether it was killed, or could not start.
    """

    def __init__(self, server: LimitedServer, said: IO[bytes]) -> None:
        self._server = server
        self._said = said
        self._owner = os.getpid()
        self.has_ended = False

    @classmethod
    def started(cls) -> WorkerServer:
        """Start a server, which imports what it needs while this process goes on."""
        said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        return cls(LimitedServer.started(PRELOADED, variables=_VARIABLES, stderr=said), said)

    @property
    def is_usable(self) -> bool:
        """Whether it is running, and is this process's own, not that of one that has forked."""
        return self._owner == os.getpid() and not self.has_ended

    def new_worker(self) -> Worker:
        """Fork a worker.

        Raises:
            ServerEndedError: the server could not start, or was killed.
        """
        try:
            channel, pid = self._server.new_worker()
        except ChannelClosedError:
            self.has_ended = True
            exit_code = self._server.close()
            self._said.seek(0)
            raise ServerEndedError(exit_code, last_line(self._said.read())) from None
        return Worker(self, channel, pid)

    def exit_of(self, worker: int) -> int:
        """Wait for a worker's end; return its exit code, or the negated number of its signal."""
        try:
            return self._server.exit_of(worker)
        except ChannelClosedError:  # the server was killed, and its workers end with it
            self.has_ended = True
            return -signal.SIGKILL

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    def close(self) -> None:
        """End the server, and with it the workers that are left."""
        self._server.close()
        self._said.close()


class Worker:
    """A worker process that was forked.

    Args:
        server: the server that forked it.
        channel: the connection to it, which closes when it ends.
        pid: its process id.
    """

    def __init__(self, server: WorkerServer, channel: Channel, pid: int) -> None:
        self._server = server
        self._channel = channel
        self.pid = pid

    def serve(self, arguments: Mapping[str, Any]) -> None:
        """Tell the worker what to do: see `beam_jobs.runners.local_worker.serve_beam`."""
        target = f"{WORKER_MODULE}:serve_beam"
        request = {"target": target, "arguments": {**arguments, "server": self._server.pid}}
        with suppress(ChannelClosedError):  # it was killed, which `wait` tells
            self._channel.send({**request, "seconds": None, "max_memory": None})

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the worker's end.

        Args:
            seconds: how long to wait at most; None: without end.

        Returns:
            The exit code, or the negated number of the signal that ended the worker.

        Raises:
            TimeoutError: the worker has not ended.
        """
        self._channel.wait_at_most(seconds)
        with suppress(ChannelClosedError):
            self._channel.receive()
        self._channel.close()
        return self._server.exit_of(self.pid)


_kept: list[WorkerServer] = []


@contextmanager
def keep_worker_server() -> Iterator[None]:
    """Have a server now, which all jobs of this process use while the context is open."""
    with worker_server() as server:
        _kept.append(server)
        try:
            yield
        finally:
            _kept.remove(server)


@contextmanager
def worker_server() -> Iterator[WorkerServer]:
    """Yield the server that is kept for this process, or one for the time of the context."""
    for server in _kept:
        if server.is_usable:
            yield server
            return
    server = WorkerServer.started()
    try:
        yield server
    finally:
        server.close()


def last_line(said: bytes) -> str:
    """Return the last line of what a process wrote to stderr, in words."""
    text = said[-_MAX_LINE_BYTES:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"its last line: {lines[-1]}" if lines else "it wrote nothing"
