from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.embed_photos import embed_photos
from beam_jobs.runners import flags, worker_server
from beam_jobs.runners.flags import require_listed, spread_on_dask
from beam_jobs.runners.local import WorkerLostError
from beam_jobs.runners.select import Workers, run_pipeline
from beam_jobs.runners.worker_server import Worker, WorkerServer
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.dataset.store import Dataset
from tests.support.command import ONE_WORKER, SMALL_COLLECTION_PHOTOS, facetrove_command
from tests.support.jobs import wait_for_parts, worker_servers


def test_an_unknown_flag_of_beam_is_wrong_usage(tmp_path: Path, demo_photos: Path) -> None:
    for given, says in (
        (["--flink_mastr=host"], "no option --flink_mastr; did you mean --flink_master"),
        (["--nothing_like_it=1"], "no option --nothing_like_it; options of another runner need"),
        (["--flink_master=host"], "--flink_master is for --runner=FlinkRunner, which is not named"),
        (["--runner=DirectRunner", "--flink_masster=host"], "no option --flink_masster"),
        (["--runner=DirectRunner", "--nothing_like_it=1"], "no option --nothing_like_it"),
        (["--runner=PortableRunner", "--job_endpont=h:1"], "did you mean --job_endpoint"),
    ):
        with pytest.raises(WrongUsageError, match=says):
            embed_photos(demo_photos, tmp_path / "d", runner_args=given)


def test_a_job_service_may_have_options_that_beam_does_not_know() -> None:
    options = PipelineOptions(["--runner=FlinkRunner", "--of_the_service=1"])
    for runner in ("apache_beam.runners.portability.flink_runner.FlinkRunner", "flink"):
        require_listed(options, runner)


def test_dask_gets_a_partition_for_each_shard_unless_it_is_told_otherwise() -> None:
    dask = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
    for named in ([dask], ["--runner", "DaskRunner"], ["--runner=dask"]):
        assert spread_on_dask([*named, "--x=1"]) == [*named, "--x=1", "--dask_partition_size=1"]
    for given in (
        [dask, "--dask_partition_size=9"],
        [dask, "--dask_npartitions=2"],
        ["--runner=DirectRunner"],
        [],
    ):
        assert spread_on_dask(given) == given


@pytest.mark.slow
def test_a_job_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "JOB_SERVICE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as service:
        endpoint = f"127.0.0.1:{service.getsockname()[1]}"
        flags.require_job_service(PipelineOptions([f"--job_endpoint={endpoint}"]))
    with pytest.raises(FaceTroveError, match=f"no job service answers at {endpoint} "):
        flags.require_job_service(PipelineOptions([f"--job_endpoint={endpoint}"]))
    flags.require_job_service(PipelineOptions([]))
    with pytest.raises(FaceTroveError, match="no job service answers at localhost:1 "):
        run_pipeline(
            lambda _: None,
            workers=Workers(1, None, ["--runner=PortableRunner", "--job_endpoint=localhost:1"]),
            remedy="",
        )


def test_a_worker_that_dask_lost_is_a_lost_worker() -> None:
    class KilledWorker(Exception):  # noqa: N818  # as distributed.scheduler names it
        pass

    def build(_: beam.Pipeline) -> None:
        raise KilledWorker("Attempted to run task on 4 different workers")

    workers = Workers(1, None, ["--runner=DirectRunner"])
    with pytest.raises(WorkerLostError, match="workers died on one shard"):
        run_pipeline(build, workers=workers, remedy="")


def test_a_worker_ends_whose_server_was_killed_while_it_started(tmp_path: Path) -> None:
    """Its parent is another process from the beginning, so only the server's id tells."""
    job = tmp_path / "job"
    job.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as server:
        server.wait()
    environment = {**os.environ, "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "unix:{job}/none"'}
    arguments = {"folder": str(job), "said": str(job / "said"), "environment": environment}
    with worker_server.worker_server() as running:
        worker = running.new_worker()
        of_another = Mock(spec=WorkerServer, pid=server.pid)
        Worker(of_another, worker._channel, worker.pid).serve(arguments)
        assert worker.wait(60) == 1
    assert not job.exists()


@pytest.mark.lasting
@pytest.mark.slow
def test_a_killed_server_of_workers_is_a_lost_worker_and_is_replaced(
    tmp_path: Path, small_collection: Path, slow_photo: Path
) -> None:
    dataset = tmp_path / "dataset"
    command = facetrove_command("embed", small_collection, slow_photo, dataset)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        wait_for_parts(dataset, 1, process=driver)
        (server,) = worker_servers(driver.pid)
        os.kill(server, signal.SIGKILL)
        _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert Dataset.open(dataset).counts().num_photos == SMALL_COLLECTION_PHOTOS + 1


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize("named", ["", "example.com"])
def test_a_proxy_has_no_part_in_the_talk_between_driver_and_workers(
    tmp_path: Path, demo_photos: Path, named: str
) -> None:
    nowhere = "http://127.0.0.1:9"
    variables = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
    proxies = {name: nowhere for lower in variables for name in (lower, lower.upper())}
    without = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"}
    finished = subprocess.run(
        facetrove_command("embed", demo_photos / "biden.jpg", tmp_path / "d", *ONE_WORKER),
        env={**without, **proxies, **({"no_proxy": named} if named else {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "embedded 1 face of 1 photo" in finished.stdout


LOSING_A_WORKER = """
import threading

import apache_beam as beam

from beam_jobs.runners.local import WorkerLostError, run_locally


def die(_):
    import os

    os.kill(os.getpid(), 9)


try:
    run_locally(lambda pipeline: pipeline | beam.Create([0]) | beam.Map(die), workers=1)
except WorkerLostError as error:
    print(error)
print([thread.name for thread in threading.enumerate() if "_serve" in thread.name])
"""


@pytest.mark.lasting
@pytest.mark.slow
def test_no_thread_of_grpc_runs_on_after_a_lost_worker(tmp_path: Path) -> None:
    """One that runs while the process ends makes C++ abort it, now and then."""
    script = tmp_path / "losing_a_worker.py"
    script.write_text(LOSING_A_WORKER)
    finished = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "Exception in thread" not in finished.stderr
    lost, threads = finished.stdout.splitlines()
    assert lost.startswith("a worker process was ended by signal 9")
    assert threads == "[]"


TWO_JOBS = """
import logging
import os
import sys
import threading
import time
from pathlib import Path

import apache_beam as beam

from beam_jobs.runners.local import WorkerLostError, run_locally

folder = Path(sys.argv[1])
logger = logging.getLogger("apache_beam")
before = logger.level, threading.excepthook


def begin_and_wait(element):
    import os
    import time

    begins, waits, dies = element
    begins.touch()
    while not waits.exists():
        time.sleep(0.05)
    if dies:
        os.kill(os.getpid(), 9)


def run(*element):
    try:
        run_locally(
            lambda pipeline: pipeline | beam.Create([element]) | beam.Map(begin_and_wait), workers=1
        )
        print("done", logger.level > logging.CRITICAL, threading.excepthook is before[1])
    except WorkerLostError as error:
        print(error)


first = threading.Thread(target=run, args=(folder / "1", folder / "2", False))
first.start()
while not (folder / "1").exists():
    time.sleep(0.05)
dies = sys.argv[2] == "dies"
second = threading.Thread(target=run, args=(folder / "2", folder / "end", dies), daemon=True)
second.start()
first.join()
(folder / "end").touch()
second.join(100)
print("both", second.is_alive(), (logger.level, threading.excepthook) == before)
"""


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "second"), [("lives", "done True True"), ("dies", "a worker process was ended by")]
)
def test_two_jobs_of_one_process_do_not_disturb_each_other(
    tmp_path: Path, end: str, second: str
) -> None:
    """The second begins while the first runs, and loses its worker after the first has ended."""
    script = tmp_path / "two_jobs.py"
    script.write_text(TWO_JOBS)
    finished = subprocess.run(
        [sys.executable, script, tmp_path, end],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "Exception in thread" not in finished.stderr
    said = finished.stdout.splitlines()
    assert said[0] == "done True True"
    assert said[-1] == f"both False {end == 'lives'}"
    assert said[1].startswith(second if end == "dies" else "done")


def test_a_worker_that_never_connects_is_told_with_its_last_line(
    tmp_path: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_jobs.runners.job_services.CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(worker_server, "WORKER_MODULE", "tests.support.odd_workers")
    with pytest.raises(FaceTroveError) as caught:
        embed_photos(demo_photos / "biden.jpg", tmp_path / "d", workers=1)
    assert str(caught.value) == (
        "the job cannot start: a worker process did not connect within 1 seconds; "
        "its last line: waiting for a disk"
    )


def test_a_worker_that_ends_at_once_is_told(
    tmp_path: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_WORKER_ENDS", "3")
    monkeypatch.setattr(worker_server, "WORKER_MODULE", "tests.support.odd_workers")
    with pytest.raises(FaceTroveError) as caught:
        embed_photos(demo_photos / "biden.jpg", tmp_path / "d", workers=1)
    assert str(caught.value) == (
        "the job cannot start: a worker process ended with exit code 3 before it connected; "
        "it wrote nothing"
    )


def test_a_server_of_workers_that_cannot_start_is_told_with_its_last_line(
    tmp_path: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo first >&2; echo libgomp.so.1: cannot open shared object file >&2; exit 127"
    monkeypatch.setattr(worker_server, "_kept", [])
    monkeypatch.setattr("faces.core.limited.python_command", lambda *_: ["/bin/sh", "-c", script])
    with pytest.raises(FaceTroveError) as caught:
        embed_photos(demo_photos / "biden.jpg", tmp_path / "d", workers=1)
    assert str(caught.value) == (
        "the job cannot start: a worker process ended with exit code 127 before it connected; "
        "its last line: libgomp.so.1: cannot open shared object file"
    )


def test_what_workers_are_forked_from_has_no_threads_and_no_engines() -> None:
    """Threads do not survive a fork. PyArrow's allocator has one, which it starts anew."""
    script = (
        "import os, pathlib, sys\n"
        "from faces.core.environment import WithoutPandas\n"
        "sys.meta_path.insert(0, WithoutPandas())\n"
        f"for name in {worker_server.PRELOADED}: __import__(name)\n"
        "names = [path.read_text() for path in pathlib.Path('/proc/self/task').glob('*/comm')]\n"
        "print(sum('jemalloc' not in name for name in names))\n"
        "print({'faiss', 'openvino', 'onnxruntime', 'tensorflow', 'pandas'} & set(sys.modules))\n"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc to see threads")
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert finished.stdout.splitlines() == ["1", "set()"]


@pytest.mark.lasting
@pytest.mark.slow
def test_a_worker_says_by_which_error_it_ended(tmp_path: Path, demo_photos: Path) -> None:
    """An error of the worker's own, after it has stopped writing what Beam prints."""
    hook = tmp_path / "hook"
    (hook / "apache_beam").mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        "if any(word.endswith('local_worker') for word in sys.orig_argv):\n"
        "    class Broken:\n"
        "        def find_spec(self, name, path=None, target=None):\n"
        "            if name == 'apache_beam.runners.worker.sdk_worker_main':\n"
        "                raise ImportError('no such module here')\n"
        "    sys.meta_path.insert(0, Broken())\n"
    )
    finished = subprocess.run(
        facetrove_command("embed", demo_photos / "biden.jpg", tmp_path / "d", *ONE_WORKER),
        env={**os.environ, "PYTHONPATH": f"{hook}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        "facetrove: error: the job cannot start: a worker process ended with exit code 1 before it "
        "connected; its last line: ImportError: no such module here"
    )
