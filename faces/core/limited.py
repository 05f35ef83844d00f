"""Run functions in processes of their own, under limits of memory and processor time.

What decodes or unpacks files of strangers runs there. `faces.core.limited_server` has the other
side and says how the limits are enforced.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, NoReturn

from faces.core import errors
from faces.core.channel import Buffer, Channel, ChannelClosedError, Message
from faces.core.child_process import child_environment, python_command
from faces.core.limited_server import serve

WALL_SECONDS_PER_SECOND = 20
MIN_WALL_SECONDS = 60.0
"""A request may take this many times its processor time by the clock, and at least so many seconds,
before its worker is ended: a worker that neither computes nor answers waits for something that will
not come. The bound is far above what a busy machine makes of it."""


class OverLimitError(Exception):
    """An error raised because a request was over one of its limits.

    Attributes:
        limit: "time" or "memory".
    """

    def __init__(self, limit: str) -> None:
        super().__init__(f"over the limit of {limit}")
        self.limit = limit


class WorkerDiedError(Exception):
    """An error raised because a worker crashed on a request, or was killed.

    Attributes:
        signal: number of the signal that ended the worker; 0: it ended by itself.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"the process ended by signal {number}" if number else "the process ended")
        self.signal = number


class RequestFailedError(Exception):
    """An error that a function raised in a worker, other than a `FaceTroveError`.

    Attributes:
        kind: name of the error's class.
        text: the error's message.
        reason: the error's attribute `reason`, if it has one that is a str.
    """

    def __init__(self, kind: str, text: str, reason: str | None) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text
        self.reason = reason


@dataclass(frozen=True)
class RequestLimits:
    """The limits on one request.

    Attributes:
        seconds: maximum processor time in seconds; None: no limit.
        max_memory: maximum memory in bytes, above what the worker has before the request, and with
            the request's own block; None: no limit.
    """

    seconds: float | None = None
    max_memory: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a function in a worker returned.

    Attributes:
        message: its JSON object.
        block: its bytes.
        seconds: processor time in seconds that the request took.
    """

    message: Message
    block: Buffer
    seconds: float


class LimitedServer:
    """This process's connection to its server, which forks workers.

    Args:
        connection: connection to the server.
        pid: the server's process id.
        process: the server's process if this object has to wait for its end; else None.

    Attributes:
        pid: the server's process id.
    """

    def __init__(
        self,
        connection: socket.socket,
        pid: int,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._channel = Channel(connection)
        self._process = process
        self._lock = threading.Lock()
        self.pid = pid

    @classmethod
    def forked(cls, preloaded: Sequence[str]) -> LimitedServer:
        """Fork this process, which must not have started threads yet, to become the server."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            serve(theirs, preloaded)
        theirs.close()
        return cls(ours, pid)

    @classmethod
    def started(
        cls,
        preloaded: Sequence[str],
        *,
        variables: Mapping[str, str] = MappingProxyType({}),
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> LimitedServer:
        """Start a new process, which takes some tenths of a second, to become the server.

        Args:
            preloaded: names of modules that the server imports before it forks workers.
            variables: further environment variables of the server and its workers.
            stderr: where the server writes why it cannot import a module, in one line.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                python_command("faces.core.limited_server", str(theirs.fileno()), *preloaded),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd="/",
                env={**child_environment(), **variables},
            )
        return cls(ours, process.pid, process)

    def close(self) -> int:
        """End the server, and its workers when they have answered.

        Returns:
            The exit code of the server's process, or the negated number of its signal; 0 if the
            server is a fork of this process.
        """
        self._channel.close()
        return 0 if self._process is None else self._process.wait()

    def new_worker(self) -> tuple[Channel, int]:
        """Have a worker forked; return the connection to it and its process id."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                self._channel.send({}, descriptor=theirs.fileno())
                message, _ = self._channel.receive()
        except BaseException:
            ours.close()
            raise
        return Channel(ours), message["worker"]

    def exit_of(self, worker: int) -> int:
        """Wait for a worker's end; return its exit code, or the negated number of its signal."""
        with self._lock:
            self._channel.send({"end_of": worker})
            message, _ = self._channel.receive()
        return int(message["exit"])


_servers: dict[int, LimitedServer] = {}
"""The server of this process, by the process id: a forked process must not use its parent's."""

_servers_lock = threading.Lock()


def _renew_locks() -> None:
    """Replace all locks in a process that was forked, for other threads may have held them."""
    global _servers_lock  # noqa: PLW0603
    _servers_lock = threading.Lock()
    for worker in _workers:
        worker.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


def fork_server(preloaded: Sequence[str]) -> None:
    """Fork this process's server now. Call it before the process starts threads.

    A process that does not do so starts its server as a new process when it first needs one.

    Args:
        preloaded: names of modules that the server imports before it forks workers, so that workers
            need not. This process imports them too.
    """
    for name in preloaded:
        importlib.import_module(name)
    _servers[os.getpid()] = LimitedServer.forked(preloaded)


def process_server(preloaded: Sequence[str]) -> LimitedServer:
    """Return this process's server, which is started if there is none."""
    with _servers_lock:
        server = _servers.get(os.getpid())
        if server is None:
            server = _servers[os.getpid()] = LimitedServer.started(preloaded)
        return server


def forget_server() -> None:
    """End this process's server; the next request starts a new one."""
    with _servers_lock:
        server = _servers.pop(os.getpid(), None)
    if server is not None:
        server.close()


atexit.register(forget_server)


_workers: weakref.WeakSet[LimitedWorker] = weakref.WeakSet()
"""All workers that this process has."""


class LimitedWorker:
    """A worker under limits, which is replaced when it dies. Threads may share it.

    Args:
        server: function that returns the server that forks the worker.

    Attributes:
        num_started: how many times a process was forked for this worker.
    """

    def __init__(self, server: Callable[[], LimitedServer]) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._forked_by: LimitedServer | None = None
        self._channel: Channel | None = None
        self._pid = 0
        self.num_started = 0
        _workers.add(self)

    def renew_lock(self) -> None:
        """Replace the lock, in a process that was forked."""
        self._lock = threading.Lock()

    def call(
        self,
        target: str,
        arguments: Mapping[str, Any],
        block: Any = b"",
        *,
        limits: RequestLimits = RequestLimits(),
        on_question: Callable[[Message], Message | None] = lambda _: None,
        retry: bool = True,
    ) -> Answer:
        """Call a function in the worker.

        A request that runs out of memory, or on which the worker crashes, is tried once more in a
        new worker: requests before it may have left the memory in pieces.

        Args:
            target: the function, a `limited_server.Handler`, as "module:name".
            arguments: the request's JSON object.
            block: the request's bytes, any object with the buffer protocol.
            limits: the limits on the request.
            on_question: function that gets each message that the function sends before its answer,
                and returns the reply; None: no reply is waited for.
            retry: whether such a request is tried again.

        Raises:
            OverLimitError: the request was over a limit.
            WorkerDiedError: the worker crashed or was killed, twice.
            FaceTroveError: the function raised it.
            RequestFailedError: the function raised another error.
        """
        request = {
            "target": target,
            "arguments": arguments,
            "seconds": limits.seconds,
            "max_memory": limits.max_memory,
        }
        with self._lock:
            while True:
                fresh = self._require_worker()
                try:
                    return self._ask(request, block, limits, on_question)
                except (OverLimitError, WorkerDiedError) as error:
                    is_time = isinstance(error, OverLimitError) and error.limit == "time"
                    self._replace()
                    if is_time or fresh or not retry:  # a second try is in a new worker
                        raise

    def _require_worker(self) -> bool:
        """Have a worker, and return whether it is a new one."""
        server = self._server()
        if self._channel is not None and server is self._forked_by:
            return False
        self._replace()
        try:
            self._channel, self._pid = server.new_worker()
        except ChannelClosedError:  # the server was killed, as where memory is short
            forget_server()
            server = self._server()
            self._channel, self._pid = server.new_worker()
        self._forked_by = server
        self.num_started += 1
        return True

    def close(self) -> None:
        """End the worker; a later call starts a new one."""
        with self._lock:
            self._replace()

    def _replace(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def _ask(
        self,
        request: Message,
        block: Any,
        limits: RequestLimits,
        on_question: Callable[[Message], Message | None],
    ) -> Answer:
        channel = self._channel
        assert channel is not None, "_require_worker has made it"
        if limits.seconds is not None:
            channel.wait_at_most(max(MIN_WALL_SECONDS, limits.seconds * WALL_SECONDS_PER_SECOND))
        try:
            channel.send(request, block)
            while True:
                message, content = channel.receive()
                if "spent" in message:
                    break
                reply = on_question(message)
                if reply is not None:
                    channel.send(reply)
        except ChannelClosedError as error:
            raise self._death() from error
        except TimeoutError as error:
            os.kill(self._pid, signal.SIGKILL)
            self._death()
            raise OverLimitError("time") from error
        except BaseException:  # the worker would answer a request that nobody waits for
            self._replace()
            raise
        if "error" in message:
            _raise_described(message)
        return Answer(message, content, message["spent"])

    def _death(self) -> Exception:
        """Return the error for a worker that has closed its end."""
        assert self._forked_by is not None, "a worker was forked"
        try:
            code = self._forked_by.exit_of(self._pid)
        except ChannelClosedError:
            code = -signal.SIGKILL
        if code == -signal.SIGPROF:
            return OverLimitError("time")
        return WorkerDiedError(max(0, -code))


def _raise_described(message: Message) -> NoReturn:
    """Raise the error that `limited_server._described` described."""
    if message["error"] == "memory":
        raise OverLimitError("memory")
    if message["error"] == "facetrove":
        kind: type[errors.FaceTroveError] = getattr(errors, message["kind"], errors.FaceTroveError)
        raise kind(message["text"])
    raise RequestFailedError(message["kind"], message["text"], message.get("reason"))
