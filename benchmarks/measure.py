"""Functions that several benchmarks use: timed commands, and printing the machine and tables."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faces.core.machine import available_threads, processor_flags
from indexer.blas import choose_kernels

CORES = available_threads()
"""Number of processor cores that the benchmarks use."""

ORPHAN_SECONDS = 10
"""Maximum time to wait for processes that a command left behind."""


@dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: user and system time of all its processes. Processes that outlive the command
            are counted on Linux only.
        output: the text that it printed.
    """

    seconds: float
    cpu_seconds: float
    output: str


def print_header() -> None:
    """Print the command line and the machine, so that results can be compared and repeated."""
    print(f"$ python -m benchmarks.{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}")
    print(f"{_processor()}, {CORES} cores, Python {platform.python_version()}")
    flags = sorted(flag for flag in processor_flags() if flag.startswith(("avx", "fma", "amx")))
    kernels = choose_kernels()
    print(f"processor's flags: {' '.join(flags)}")
    print(f"FAISS's BLAS: {kernels.library}, {kernels.kernels} ({kernels.chosen_by})\n")


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with its first column aligned to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def timed_command(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    cores: int | None = None,
) -> Cost:
    """Run a command, and measure its cost.

    A command that fails ends the benchmark with the command's errors.

    Args:
        command: the program and its arguments.
        environment: environment variables in addition to those of this process.
        cores: number of processor cores that it may use (Linux only); by default all.
    """
    _adopt_orphans()
    cpu_before = _children_cpu_seconds()
    start = time.perf_counter()
    with _on_cores(cores):
        finished = subprocess.run(
            command, env={**os.environ, **(environment or {})}, capture_output=True, check=False
        )
    seconds = time.perf_counter() - start
    _wait_for_orphans()
    if finished.returncode:
        sys.exit(
            f"{' '.join(command)} failed with exit code {finished.returncode}:\n"
            f"{finished.stderr.decode()[-2000:]}"
        )
    return Cost(seconds, _children_cpu_seconds() - cpu_before, finished.stdout.decode())


@contextmanager
def _on_cores(count: int | None) -> Iterator[None]:
    """Restrict processes that are started in the context to `count` of our cores."""
    if count is None:
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _adopt_orphans() -> None:
    """Become the parent of processes whose parent ends first, so that their time is counted.

    face_recognition leaves the workers of its pool behind. See prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    """Wait until the adopted processes have ended, for `ORPHAN_SECONDS` at most."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return
