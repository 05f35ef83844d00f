"""The processes that work for another one under limits of memory and processor time.

A *server* forks *workers* on request, which takes milliseconds, because it has imported what they
need. It is forked or started by the process that it works for, and ends with that process. A worker
takes requests one by one. The kernel enforces the limits, whatever a library written in C does:

- memory by `RLIMIT_DATA`, above what the worker has when a request comes: allocating fails;
- processor time by the timer `ITIMER_PROF`: its signal, SIGPROF, ends the worker.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from faces.core import errors
from faces.core.channel import Buffer, Channel, ChannelClosedError, Message
from faces.core.environment import WithoutPandas

Handler: TypeAlias = Callable[[Channel, Message, bytes], tuple[Message, Any]]
"""A function that answers requests in a worker: gets the channel, for questions to the other side,
and the request's message and block; returns message and block of the answer."""

_SPARE_BYTES = 32_000_000
"""Memory in bytes beyond the limit for what is not the request's: buffers of messages, stacks of
threads."""

_UNLIMITED = resource.RLIM_INFINITY


def serve(control: socket.socket, preloaded: Iterable[str] = ()) -> None:
    """Fork workers on request until the other side closes its end; then end this process.

    Args:
        control: connection to the process that this one works for.
        preloaded: names of modules that workers need.

    The exit code is 1, with a line on stderr, if a module cannot be imported.
    """
    exit_code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the other process, and so this
        sys.meta_path.insert(0, WithoutPandas())  # PyArrow would import it in each worker
        for name in preloaded:
            importlib.import_module(name)
        channel = Channel(control)
        while True:
            message, _, descriptor = channel.receive_descriptor()
            if "end_of" in message:
                _, status = os.waitpid(message["end_of"], 0)
                channel.send({"exit": os.waitstatus_to_exitcode(status)})
                continue
            worker = os.fork()
            if not worker:
                channel.close()
                _work(Channel(socket.socket(fileno=descriptor)))
            os.close(descriptor)
            channel.send({"worker": worker})
    except ChannelClosedError:
        exit_code = 0
    except Exception as error:
        os.write(2, f"{type(error).__name__}: {errors.first_line(error)}\n".encode())
    finally:
        os._exit(exit_code)


def _work(channel: Channel) -> None:
    """Answer requests until the other side closes its end; then end this process."""
    exit_code = 1
    try:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while True:
            request, block = channel.receive(as_bytes=True)
            assert isinstance(block, bytes), "bytes were asked for"
            answer, content = _answer(channel, request, block)
            del block
            channel.send(answer, content)
            del content
    except ChannelClosedError:
        exit_code = 0
    finally:
        os._exit(exit_code)


def _answer(channel: Channel, request: Message, block: bytes) -> tuple[Message, Any]:
    """Answer one request under its limits."""
    module, _, function = request["target"].partition(":")
    started = time.process_time()
    content: Any = b""
    try:
        handler: Handler = getattr(importlib.import_module(module), function)
        if request["max_memory"] is not None:
            _limit_memory(request["max_memory"] - len(block))
        if request["seconds"] is not None:
            signal.setitimer(signal.ITIMER_PROF, max(request["seconds"], 1e-3))
        answer, content = handler(channel, request["arguments"], block)
    except ChannelClosedError:
        raise
    except MemoryError:
        answer = {"error": "memory"}
    except Exception as error:
        answer = _described(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (_UNLIMITED, _hard_limit()))
    return {**answer, "spent": time.process_time() - started}, content


def _limit_memory(max_memory: int) -> None:
    """Limit this process's private memory to what it has now and `max_memory` bytes more."""
    limit = _private_bytes() + max(0, max_memory) + _SPARE_BYTES
    hard = _hard_limit()
    if hard != _UNLIMITED:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_DATA)[1]


def _private_bytes() -> int:
    """Return what `RLIMIT_DATA` counts of this process, in bytes; 0 where it cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return int(fields[5]) * resource.getpagesize()
    return 0


def _described(error: Exception) -> Message:
    """Return the answer that describes an error: `raise_described` raises it on the other side."""
    if _is_lack_of_memory(error):
        return {"error": "memory"}
    if isinstance(error, errors.FaceTroveError) and hasattr(errors, type(error).__name__):
        return {"error": "facetrove", "kind": type(error).__name__, "text": str(error)}
    reason = getattr(error, "reason", None)
    answer: Message = {"error": "failed", "kind": type(error).__name__, "text": str(error)[:2000]}
    return answer if not isinstance(reason, str) else {**answer, "reason": str(reason)}


_OUT_OF_MEMORY = ("out of memory", "insufficient memory", "memory allocation", "cannot allocate")
"""What libraries written in C say when they get no more memory, in lower case."""


def _is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, or was raised because of such an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        if any(words in str(cause).lower() for words in _OUT_OF_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def echo(_: Channel, message: Message, block: bytes) -> tuple[Message, Buffer]:
    """Answer with what was asked: a handler for tests of the mechanism."""
    return message, block


if __name__ == "__main__":
    # The connection is the descriptor in the first argument; the others are modules to import.
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
