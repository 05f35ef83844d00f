"""A measurement in a process of its own, so that its memory is its own and nothing is warm."""

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

P, R = ParamSpec("P"), TypeVar("R")


class ProcessError(Exception):
    """What ran apart failed; says how."""


@dataclass(frozen=True)
class Memory:
    """What a process held in memory.

    Attributes:
        peak_bytes: resident at most, pages of mapped files too.
        private_bytes: resident at most of what is in no file, as sampled every 20 ms.
        start_bytes: resident before it began: Python and what was imported.
    """

    peak_bytes: int
    private_bytes: int
    start_bytes: int


def apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> tuple[R, Memory]:
    """Call a function of a module in a new process.

    Args:
        function: what to call; it and its arguments and result can be pickled.
        args, kwargs: its arguments.

    Returns:
        What it returned, and the memory that the process held.

    Raises:
        ProcessError: it failed, or was killed.
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
        raise ProcessError(f"{function.__name__} ended with {process.exitcode}") from None
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
    """Watches this process's memory from a thread."""

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
        return Memory(peak_bytes(), self._private_bytes, self._start_bytes)

    def _watch(self) -> None:
        while True:
            self._private_bytes = max(self._private_bytes, status_bytes("RssAnon"))
            if self._stop.wait(SAMPLE_SECONDS):
                return


def status_bytes(name: str) -> int:
    """A line of /proc/self/status, such as VmRSS; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return 0


def peak_bytes() -> int:
    """Most that this process held resident so far.

    On Linux not getrusage's figure, which begins with what the parent held when it forked.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
