"""Measurements in a fresh process, whose memory can be measured and whose caches are cold."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

SAMPLE_SECONDS = 0.02
"""Interval between two samples of a process's private memory."""

P, R = ParamSpec("P"), TypeVar("R")


class ProcessError(Exception):
    """An error that a function raised in its own process, or the end of that process."""


@dataclass(frozen=True)
class Memory:
    """The memory of a process.

    Attributes:
        peak_bytes: peak resident memory, pages of mapped files included.
        private_bytes: peak resident anonymous memory, without pages of mapped files, as sampled
            every 20 ms.
        start_bytes: resident memory before the measured function began: Python and its modules.
    """

    peak_bytes: int
    private_bytes: int
    start_bytes: int


def apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> tuple[R, Memory]:
    """Call a function in a new process, and measure the memory of that process.

    Args:
        function: a function of a module; it, its arguments and its result must be picklable.
        args, kwargs: the function's arguments.

    Returns:
        The function's result, and the memory of the process.

    Raises:
        ProcessError: the function raised an error, or the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, args, kwargs))
    process.start()
    theirs.close()
    try:
        failure, result, memory = ours.recv()
    except EOFError:
        process.join()
        raise ProcessError(
            f"{function.__name__} ended its process with exit code {process.exitcode}"
        ) from None
    process.join()
    if failure is not None:
        raise ProcessError(f"{function.__name__} failed:\n{failure}")
    return result, memory


def _child(
    connection: Connection, function: Callable[..., object], args: tuple, kwargs: dict
) -> None:
    failure, result = None, None
    with _Sampler() as sampler:
        try:
            result = function(*args, **kwargs)
        except Exception:
            failure = traceback.format_exc()
    connection.send((failure, result, sampler.memory()))
    connection.close()


class _Sampler:
    """A thread that samples this process's private memory while a context is open."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._start_bytes = status_bytes("VmRSS")
        self._private_bytes = 0

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def memory(self) -> Memory:
        """Return the memory of the process up to now."""
        return Memory(peak_bytes(), self._private_bytes, self._start_bytes)

    def _watch(self) -> None:
        while True:
            self._private_bytes = max(self._private_bytes, status_bytes("RssAnon"))
            if self._stop.wait(SAMPLE_SECONDS):
                return


def status_bytes(name: str) -> int:
    """Read a size from /proc/self/status, such as VmRSS; 0 where the system has no such line."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return 0


def peak_bytes() -> int:
    """Return the peak resident memory of this process so far.

    On Linux this is not getrusage's figure, which starts from the parent's memory at the fork.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
