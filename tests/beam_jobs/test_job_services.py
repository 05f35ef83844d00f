"""Nobody but a job's own processes talks to its services, which are those that workers need."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo

from beam_jobs.embed_photos import embed_photos
from beam_jobs.runners.job_folder import SOCKET_NAME, private_job_folder
from beam_jobs.runners.job_services import Job, JobWorkers, LostWorkers, WorkerProcess
from beam_jobs.runners.worker_server import worker_server
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.dataset.store import Dataset
from tests.support.command import ONE_WORKER, facetrove_command
from tests.support.jobs import wait_for_parts, worker_pids
from tests.support.other_user import NEEDED, NOBODY, NOT_NEEDED, answers_to


@pytest.fixture
def job_folder() -> Iterator[Path]:
    """The folder of a job whose services wait for workers."""
    with private_job_folder() as folder, worker_server() as server:
        job = Job(folder, server, LostWorkers())
        workers = JobWorkers(job, {}, ExtendedProvisionInfo())
        yield folder
        workers.close_all()


def listening_sockets(pid: int) -> tuple[list[str], list[str]]:
    """The addresses on which a process listens, from /proc/net: TCP's, and paths of sockets."""
    own = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}

    def lines(table: str) -> list[list[str]]:
        return [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()]

    tcp = [*lines("tcp")[1:], *lines("tcp6")[1:]]
    return (
        [line[1] for line in tcp if line[3] == "0A" and f"socket:[{line[9]}]" in own],
        [
            line[7]
            for line in lines("unix")[1:]
            if int(line[3], 16) & 0x10000 and f"socket:[{line[6]}]" in own
        ],
    )


def test_the_user_reaches_only_the_services_that_workers_need(job_folder: Path) -> None:
    answers = answers_to(os.geteuid(), f"unix:{job_folder / SOCKET_NAME}")
    assert {answers[method] for method in NOT_NEEDED} == {"UNIMPLEMENTED"}
    assert not {"UNIMPLEMENTED", "UNAVAILABLE"} & {str(answers[method]) for method in NEEDED}


def test_another_user_reaches_no_service(job_folder: Path) -> None:
    answers = answers_to(NOBODY, f"unix:{job_folder / SOCKET_NAME}")
    assert set(map(str, answers.values())) == {"UNAVAILABLE"}


@pytest.mark.lasting
@pytest.mark.slow
def test_another_user_reaches_no_service_of_a_running_job(
    tmp_path: Path, small_collection: Path, slow_photo: Path
) -> None:
    if not Path("/proc/net/unix").exists():
        pytest.skip("needs /proc/net to see where a process listens")
    dataset = tmp_path / "d"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        wait_for_parts(dataset, 1, process=driver)
        ports, (path,) = listening_sockets(driver.pid)
        by_workers = [listening_sockets(pid) for pid in worker_pids(driver.pid)]
        mode = Path(path).parent.stat().st_mode
        answers = answers_to(NOBODY, f"unix:{path}")
        driver.communicate(timeout=120)
    assert ports == []
    assert by_workers
    assert all(sockets == ([], []) for sockets in by_workers)
    assert stat.S_IMODE(mode) == 0o700
    assert set(map(str, answers.values())) == {"UNAVAILABLE"}
    assert driver.returncode == 0
    assert not Path(path).parent.exists()


@pytest.mark.lasting
@pytest.mark.slow
def test_driver_and_workers_talk_past_proxies_and_through_odd_paths(
    tmp_path: Path, demo_photos: Path
) -> None:
    temporary = tmp_path / "a b%20c#d?é"
    temporary.mkdir()
    proxies = dict.fromkeys(["http_proxy", "https_proxy", "grpc_proxy"], "http://127.0.0.1:9")
    usual = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    finished = subprocess.run(
        facetrove_command("embed", next(demo_photos.iterdir()), tmp_path / "d", *ONE_WORKER),
        env={**usual, **proxies, "TMPDIR": str(temporary)},
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0
    assert Dataset.open(tmp_path / "d").counts().num_photos == 1


@pytest.mark.lasting
@pytest.mark.slow
def test_workers_remove_the_folder_of_a_killed_driver(
    tmp_path: Path, small_collection: Path, slow_photo: Path
) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    command = facetrove_command("embed", small_collection, slow_photo, tmp_path / "d")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as driver:
        wait_for_parts(tmp_path / "d", 1, process=driver)
        (folder,) = temporary.glob("facetrove-*")
        driver.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_a_service_of_beams_own_is_refused() -> None:
    with pytest.raises(FaceTroveError, match="a service on port 50051, which other users"):
        WorkerProcess.port_from_worker(None, 50051)


@pytest.mark.parametrize("mode", ["multi_processing", "multi_threading"])
def test_workers_of_beams_own_are_refused(tmp_path: Path, demo_photos: Path, mode: str) -> None:
    with pytest.raises(WrongUsageError, match=f"--direct_running_mode={mode} makes"):
        embed_photos(demo_photos, tmp_path / "d", runner_args=[f"--direct_running_mode={mode}"])
