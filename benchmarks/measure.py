"""What every benchmark needs: a machine's description, timed commands."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from faces.engine import available_threads

CORES = available_threads()


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


def timed_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Seconds a command takes from start to end; its output is hidden unless it fails."""
    start = time.perf_counter()
    finished = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, check=False
    )
    seconds = time.perf_counter() - start
    if finished.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stderr.decode()[-2000:]}")
    return seconds
