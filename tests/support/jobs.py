"""Looking at a running job from outside."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from faces.dataset.store import Dataset


def photo_rows(dataset: Path) -> list[str]:
    """But for the photo that is there to take long."""
    table = Dataset.open(dataset).photos().drop_columns(["part", "faces_part"])
    return [repr(row) for row in table.to_pylist() if not row["uri"].endswith("slow.png")]


def wait_for_parts(dataset: Path, count: int, *, process: subprocess.Popen[bytes]) -> None:
    while len(list((dataset / "photos").glob("part-*.parquet"))) < count:
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.01)


def worker_pids(driver: int) -> list[int]:
    children = Path(f"/proc/{driver}/task/{driver}/children")
    tasks = Path(f"/proc/{driver}/task").iterdir()
    if not children.exists():
        pytest.skip("needs /proc to find worker processes")
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
