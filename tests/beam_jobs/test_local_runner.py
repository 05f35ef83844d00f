from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_jobs.embed_photos import embed_photos
from faces.core.child_process import python_command
from faces.core.errors import WrongUsageError


def test_an_unknown_flag_of_beam_is_wrong_usage(tmp_path: Path, demo_photos: Path) -> None:
    with pytest.raises(WrongUsageError, match="no option --flink_mastr"):
        embed_photos(demo_photos, tmp_path / "d", runner_args=["--flink_mastr=host"])


def test_a_worker_ends_whose_driver_was_killed_while_it_started(tmp_path: Path) -> None:
    """Its parent is another process from the beginning, so only the driver's id tells."""
    job = tmp_path / "job"
    job.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as driver:
        driver.wait()
    command = python_command("beam_jobs.runners.local_worker", str(job), str(driver.pid))
    started = time.monotonic()
    assert subprocess.run(command, cwd=tmp_path, timeout=60, check=False).returncode == 1
    assert time.monotonic() - started < 30  # it takes about a second to start
    assert not job.exists()
