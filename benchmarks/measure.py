"""What every benchmark needs: a machine's description, timed commands."""

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

from faces.core.machine import available_threads

CORES = available_threads()

ORPHAN_SECONDS = 10
"""How long processes that a command left behind may take to end."""


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: from start to end.
        cpu_seconds: user and system time of all its processes. Processes that it left to end
            by themselves count on Linux only.
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    output: str


def print_header() -> None:
    """The command line and the machine, so that figures can be judged and repeated."""
    print(f"$ python -m benchmarks.{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}")
    print(f"{_processor()}, {CORES} cores, Python {platform.python_version()}\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need, the first one to the left, the others to the right."""
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
    """Run a command and say what it took; its output is hidden unless it fails.

    Args:
        command: program and arguments.
        environment: variables besides our own.
        cores: keep it to so many processor cores (Linux only), all by default.
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
        sys.exit(f"{' '.join(command)} failed:\n{finished.stderr.decode()[-2000:]}")
    return Cost(seconds, _children_cpu_seconds() - cpu_before, finished.stdout.decode())


@contextmanager
def _on_cores(count: int | None) -> Iterator[None]:
    """Let processes started meanwhile use the first `count` of our cores only."""
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
    """Become the parent of processes whose own parent ends first, so that their time counts.

    face_recognition's pool leaves its workers so. See prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return
