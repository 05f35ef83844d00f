"""Beam's in-process runner with worker processes, made robust for long jobs.

Beam's own runner waits for ever when a worker process is killed, and leaves worker processes
running when the driver is killed. Here a lost worker ends the run with an error, and workers end
with their driver. Beam's own lets every user of the machine take part in a job, ours nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_jobs.runners.flags import require_listed, require_runner
from beam_jobs.runners.job_folder import private_job_folder
from beam_jobs.runners.job_pipeline import JobPipeline
from beam_jobs.runners.job_services import JobRunner, LostWorkers, WorkerEndedError
from beam_jobs.runners.worker_server import CHECK_SECONDS, worker_server
from faces.core.errors import FaceTroveError, WrongUsageError

_RUNNING_MODE = "in_memory"
"""The value of Beam's flag --direct_running_mode, its default, with which Beam starts workers as we
describe them."""


class WorkerLostError(FaceTroveError):
    """A worker process ended early: it was killed, crashed, or ran out of memory."""


def run_locally(
    build: Callable[[beam.Pipeline], object], *, workers: int, beam_args: Sequence[str] = ()
) -> None:
    """Build a pipeline and run it to its end on worker processes of this machine.

    Args:
        build: function that adds the steps to a pipeline.
        workers: number of worker processes, 1 or more.
        beam_args: further command-line flags of Apache Beam.

    Raises:
        WrongUsageError: Apache Beam has no such flag, or the flag asks for other workers.
        WorkerLostError: a worker process died; all the others have been stopped.
        FaceTroveError: a worker process could not start its work, or did not connect.
        Exception: whatever Beam raises for a failed step.
    """
    options = PipelineOptions([f"--direct_num_workers={workers}", *beam_args])
    require_listed(options)
    require_runner(options)
    _require_own_workers(options)
    with worker_server() as server, private_job_folder() as folder:
        beam_runner = JobRunner(server, folder)
        pipeline = JobPipeline(beam_runner, options=options)
        build(pipeline)
        lost = beam_runner.lost
        failures: list[BaseException] = []

        def run_and_wait() -> None:
            try:
                pipeline.run().wait_until_finish()
            except BaseException as error:  # raised again in the caller's thread
                if not lost.is_set():  # else it follows from the loss
                    failures.append(error)

        runner = threading.Thread(target=run_and_wait, daemon=True)
        with _silent_beam(lost):
            runner.start()
            try:
                while runner.is_alive() and not lost.is_set():
                    runner.join(CHECK_SECONDS)
            finally:
                if runner.is_alive():  # a worker is lost, or the user pressed Ctrl-C
                    beam_runner.stop_services()
            if failures:
                raise failures[0]
    if lost.first is not None:
        time.sleep(2 * CHECK_SECONDS)  # until the other workers have seen that their folder is gone
        raise _error_of_job(lost.first)


def _error_of_job(first: Exception) -> FaceTroveError:
    """Return the error of a job by the error of the worker that was lost first."""
    if isinstance(first, WorkerEndedError):
        # A signal may come from a machine that is short of memory, and not come again.
        if first.had_connected or first.was_killed:
            return WorkerLostError(str(first))
        return FaceTroveError(f"the job cannot start: {first}")
    return WorkerLostError(f"a worker process could not be run ({first})")


@contextmanager
def _silent_beam(lost: LostWorkers) -> Iterator[None]:
    """Make Beam's log silent for the time of a job, because users get exceptions instead.

    The log is the whole process's, so it is as before when the last of the jobs that run at a time
    has ended. After a lost worker, a failure or an interruption it stays silent: Beam's threads end
    later, and log the errors that follow from it.
    """
    logger = logging.getLogger("apache_beam")
    with _Silence.lock:
        if not _Silence.num_jobs:
            _Silence.usual_level = logger.level
            logger.setLevel(logging.CRITICAL + 1)
        _Silence.num_jobs += 1
    yield
    with _Silence.lock:
        if not lost.is_set():
            _Silence.num_jobs -= 1
            if not _Silence.num_jobs:
                logger.setLevel(_Silence.usual_level)


class _Silence:
    """How many jobs keep Beam's log silent, and its level without them."""

    lock = threading.Lock()
    num_jobs = 0
    usual_level = logging.NOTSET


def _require_own_workers(options: PipelineOptions) -> None:
    """Raise WrongUsageError for a flag that makes Beam start workers and services of its own."""
    mode = options.view_as(DirectOptions).direct_running_mode
    if mode != _RUNNING_MODE:
        raise WrongUsageError(
            f"--direct_running_mode={mode} makes Apache Beam start workers of its own, which other "
            "users of this machine can reach; leave the flag out: workers are processes anyway"
        )
