"""Beam's in-process runner with worker processes, made fit for long jobs.

Beam's own way of starting worker processes waits for ever when one of them is killed, and
leaves them behind when the driver is. Here a lost worker ends the run with an error, and
workers end with their driver.
"""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_jobs.runners.local_worker import CHECK_SECONDS
from faces.core.errors import FaceTroveError, WrongUsageError

_BEAM_READER_THREADS = ("beam_control_read", "read_grpc_client_inputs")
"""They complain, too, when the process they read from dies."""


_KEEP_MEMORY = ("MALLOC_MMAP_THRESHOLD_=200000000", "MALLOC_TRIM_THRESHOLD_=300000000")
"""Have glibc keep the memory of a photo for the next: getting it from the system page by page takes
half as long as decoding a large JPEG."""


class WorkerLostError(FaceTroveError):
    """A worker process ended before its work did: killed, crashed, or out of memory."""


def run_locally(
    build: Callable[[beam.Pipeline], object], *, workers: int, beam_args: Sequence[str] = ()
) -> None:
    """Run a pipeline on worker processes of this machine.

    Args:
        build: puts the steps into the pipeline.
        workers: how many processes.
        beam_args: further flags for Beam.

    Raises:
        WrongUsageError: Beam knows no such flag.
        WorkerLostError: a worker process died; all the others have been told to stop.
        Exception: whatever Beam raises for a step that failed.
    """
    with tempfile.TemporaryDirectory(prefix="facetrove-") as wanted_dir:
        worker = [sys.executable, "-m", "beam_jobs.runners.local_worker", wanted_dir]
        # Ctrl-C reaches the driver, which ends its workers; they must not hear it themselves.
        command = f"trap '' INT; exec {shlex.join(['env', *_KEEP_MEMORY, *worker])}"
        environment = SubprocessSDKEnvironment.from_command_string(command)
        options = PipelineOptions([f"--direct_num_workers={workers}", *beam_args])
        _require_listed(options)
        pipeline = beam.Pipeline(FnApiRunner(default_environment=environment), options=options)
        build(pipeline)
        failures: list[BaseException] = []

        def run_and_wait() -> None:
            try:
                pipeline.run().wait_until_finish()
            except BaseException as error:  # handed over to the caller's thread
                failures.append(error)

        runner = threading.Thread(target=run_and_wait, daemon=True)
        with _listening_on_this_machine_only(), _noticing_lost_workers() as lost:
            runner.start()
            while runner.is_alive() and not lost.is_set():
                runner.join(CHECK_SECONDS)
            if failures:
                raise failures[0]
    if lost.is_set():
        time.sleep(2 * CHECK_SECONDS)  # the other workers now see that their folder is gone
        raise WorkerLostError("a worker process was killed or crashed")


@contextmanager
def _noticing_lost_workers() -> Iterator[threading.Event]:
    """Set an event when one of Beam's threads that wait for a worker process fails.

    Beam has no other sign: the exception ends that thread and nobody looks at it. Meanwhile
    Beam's own log is silent: what a user needs to know comes as an exception.
    """
    lost = threading.Event()
    usual_hook = threading.excepthook
    logger = logging.getLogger("apache_beam")
    usual_level = logger.level

    def notice(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is not None and failure.thread.name == "run_worker":
            lost.set()
        elif not failure.thread or failure.thread.name not in _BEAM_READER_THREADS:
            usual_hook(failure)

    threading.excepthook = notice
    logger.setLevel(logging.CRITICAL + 1)
    yield lost
    # After a loss, a failure or an interruption Beam's threads end later, each with its own
    # complaint: those stay unheard. Only a run that went well leaves everything as it was.
    if not lost.is_set():
        threading.excepthook = usual_hook
        logger.setLevel(usual_level)


def _require_listed(options: PipelineOptions) -> None:
    """Beam passes over flags that it does not know, and with them over slips of the finger."""
    logger = logging.getLogger("apache_beam.options.pipeline_options")
    logger.disabled = True  # it would print what we are about to say
    try:
        known = options.get_all_options(drop_default=True)
        given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    finally:
        logger.disabled = False
    if strange := sorted(given.keys() - known.keys()):
        raise WrongUsageError(
            f"Apache Beam knows no option --{strange[0]}; options of another runner need its "
            "--runner=... too"
        )


@contextmanager
def _listening_on_this_machine_only() -> Iterator[None]:
    """Beam's servers for its workers would listen on all networks, for anyone to connect to."""
    modules = (worker_handlers, local_job_service)
    for module in modules:
        module.grpc = _LocalGrpc()
    try:
        yield
    finally:
        for module in modules:
            module.grpc = grpc


class _LocalGrpc:
    """The module grpc, whose servers listen on the loopback interface instead of on all."""

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    def server(self, *args: Any, **kwargs: Any) -> Any:
        """See `grpc.server`."""
        server = grpc.server(*args, **kwargs)
        usual = server.add_insecure_port
        server.add_insecure_port = lambda address: usual(address.replace("[::]", "localhost"))
        return server
