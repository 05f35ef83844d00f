"""Functions that observe a running job from another process."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from faces.dataset.store import Dataset


def photo_rows(dataset: Path) -> list[str]:
    """Return a dataset's rows of photos as text, without the fixture `slow_photo`."""
    table = Dataset.open(dataset).photos().drop_columns(["part", "faces_part"])
    return [repr(row) for row in table.to_pylist() if not row["uri"].endswith("slow.png")]


def wait_for_parts(dataset: Path, count: int, *, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run has committed a number of parts; fail if it ends before."""
    while len(list((dataset / "photos").glob("part-*.parquet"))) < count:
        assert process.poll() is None, "the run ended before it could be interrupted"
        time.sleep(0.01)


def worker_servers(driver: int) -> list[int]:
    """Return the process ids of a driver's servers of workers; skip the test without /proc."""
    if not Path(f"/proc/{driver}/task/{driver}/children").exists():
        pytest.skip("needs /proc to find worker processes")
    return [pid for pid in _children(driver) if b"local_worker" in _command_line(pid)]


def worker_pids(driver: int) -> list[int]:
    """Return the process ids of a driver's workers, which its server of workers has forked."""
    return [worker for server in worker_servers(driver) for worker in _children(server)]


def _children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
