from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.embed_photos import embed_photos
from beam_jobs.runners import flags
from beam_jobs.runners.flags import require_listed, spread_on_dask
from beam_jobs.runners.local import WorkerLostError
from beam_jobs.runners.select import Workers, run_pipeline
from faces.core.child_process import python_command
from faces.core.errors import FaceTroveError, WrongUsageError


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
    require_listed(options, "apache_beam.runners.portability.flink_runner.FlinkRunner")


def test_dask_gets_a_partition_for_each_shard_unless_it_is_told_otherwise() -> None:
    dask = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
    assert spread_on_dask([dask, "--x=1"]) == [dask, "--x=1", "--dask_partition_size=1"]
    for given in (
        [dask, "--dask_partition_size=9"],
        [dask, "--dask_npartitions=2"],
        ["--runner=DirectRunner"],
        [],
    ):
        assert spread_on_dask(given) == given


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
