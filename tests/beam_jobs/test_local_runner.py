from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from beam_jobs.embed_photos import embed_photos
from faces.core.errors import WrongUsageError
from tests.support.command import facetrove_command
from tests.support.jobs import wait_for_parts

LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "00000000000000000000000001000000",  # ::1
    "0000000000000000FFFF00000100007F",  # 127.0.0.1 as IPv6
}


def listening_sockets(pid: int) -> list[str]:
    """The addresses on which a process listens, as /proc/net/tcp writes them."""
    own = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [
        fields[1].split(":")[0]
        for fields in lines
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in own
    ]


@pytest.mark.slow
def test_the_job_listens_on_this_machine_only(
    tmp_path: Path, small_collection: Path, slow_photo: Path
) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc/net/tcp to see what a process listens on")
    dataset = tmp_path / "d"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        wait_for_parts(dataset, 1, process=driver)
        sockets = listening_sockets(driver.pid)
        driver.communicate(timeout=60)
    assert sockets
    assert set(sockets) <= LOOPBACK


def test_an_unknown_flag_of_beam_is_wrong_usage(tmp_path: Path, demo_photos: Path) -> None:
    with pytest.raises(WrongUsageError, match="no option --flink_mastr"):
        embed_photos(demo_photos, tmp_path / "d", runner_args=["--flink_mastr=host"])
