"""The services by which the driver of a job talks to its worker processes on this machine.

Those that Beam's in-process runner starts by itself listen on TCP ports, where every user of the
machine reaches them. They hand any file that the operator may read to whoever asks, show the job's
steps, and take anybody for a worker. The services here listen on a socket in the job's folder,
which only the job's user can enter, and there are no others than a worker needs: control, data and
state.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, fn_runner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    DATA_BUFFER_TIME_LIMIT_MS,
    BeamFnControlServicer,
    GrpcStateServicer,
    SubprocessSdkWorkerHandler,
    WorkerHandler,
    WorkerHandlerManager,
)
from apache_beam.runners.worker.data_plane import BeamFnDataServicer
from apache_beam.transforms.environments import Environment, SubprocessSDKEnvironment
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance
from google.protobuf import json_format, text_format

from beam_jobs.runners.job_folder import SOCKET_NAME
from beam_jobs.runners.worker_server import ServerEndedError, WorkerServer, last_line
from faces.core.child_process import child_environment
from faces.core.errors import FaceTroveError

_WORKER_URN = "facetrove:env:worker_process:v1"
"""The name by which Beam finds the two classes that start our workers."""

_STOP_SECONDS = 5
"""How long calls may go on after the services have been told to stop, as Beam has it."""

_SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
]
"""Those of Beam's own servers: no limit to the size of messages, and pings from workers that
compute for minutes."""


class LostWorkers(threading.Event):
    """An event that is set when a worker process of a job is lost.

    Attributes:
        first: the error about the first one; None: none is lost.
    """

    first: Exception | None = None

    def report(self, error: Exception) -> None:
        """Report the error about a worker process that ended early."""
        self.first = self.first or error
        self.set()


class JobRunner(FnApiRunner):  # type: ignore[misc]  # Beam's classes are untyped
    """Beam's in-process runner for one job, whose driver and workers talk over a private socket.

    Args:
        server: the server that forks the job's workers.
        folder: the job's folder, which only its user can enter.

    Attributes:
        lost: the worker processes that were lost. Beam itself waits for them for ever.
    """

    def __init__(self, server: WorkerServer, folder: Path) -> None:
        super().__init__(default_environment=WorkerEnvironment())
        self.lost = LostWorkers()
        self._server = server
        self._folder = folder
        self._services: list[JobServices] = []
        # Beam has no parameter for the object that starts services and workers, only a name that
        # `run_stages` looks up. This runner gets a copy of `run_stages` in which the name means our
        # class. A name replaced in Beam's module would change pipelines of other threads too.
        names = {**vars(fn_runner), "WorkerHandlerManager": self._start_services}
        run_stages = FunctionType(FnApiRunner.run_stages.__code__, names)
        self.run_stages = MethodType(run_stages, self)

    def stop_services(self) -> None:
        """Stop the services of a job that will not end by itself, at once.

        A thread of gRPC that still runs when the process ends makes C++ abort the process.
        """
        for services in self._services:
            services.close(grace_seconds=0)

    def _start_services(self, environments: Any, provision_info: Any) -> JobWorkers:
        job = Job(self._folder, self._server, self.lost)
        workers = JobWorkers(job, environments, provision_info)
        self._services.append(workers.services)
        return workers


class WorkerEndedError(RuntimeError):
    """An error about a worker process that ended early.

    Attributes:
        had_connected: whether it had connected to its driver before.
        was_killed: whether a signal ended it.
    """

    def __init__(self, problem: str, *, had_connected: bool, was_killed: bool) -> None:
        super().__init__(problem)
        self.had_connected = had_connected
        self.was_killed = was_killed


class Job(NamedTuple):
    """What the workers of a job need of it.

    Attributes:
        folder: the job's folder, in which workers run.
        server: the server that forks them.
        lost: what is told of lost workers.
    """

    folder: Path
    server: WorkerServer
    lost: LostWorkers


class _Control(BeamFnControlServicer):  # type: ignore[misc]
    """Beam's service over which workers get their instructions, which knows who has connected."""

    def __init__(self, workers: WorkerHandlerManager) -> None:
        super().__init__(workers)
        self.connected: set[str] = set()

    def Control(self, iterator: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Serve one worker until it ends."""
        self.connected.add(dict(context.invocation_metadata()).get("worker_id", ""))
        return super().Control(_to_the_end(iterator), context)


class _Data(BeamFnDataServicer):  # type: ignore[misc]
    """Beam's service over which workers get elements and send results."""

    def Data(self, elements_iterator: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Serve one worker until it ends."""
        return super().Data(_to_the_end(elements_iterator), context)


def _to_the_end(messages: Iterator[Any]) -> Iterator[Any]:
    """Yield what a worker sends, until it has sent all or is lost.

    Beam reads this in threads that would raise an error about a lost worker, for nobody to catch.
    Who waits for the process reports it.
    """
    with suppress(Exception):  # gRPC's class of this error says nothing else
        yield from messages


class JobServices:
    """The services of a job: control, data and state, on a socket in the job's folder.

    It has the attributes of Beam's `GrpcServer`, with an address in place of each port.

    Args:
        job: the job.
        state: the state of the job's steps.
        workers: the workers of the job.
    """

    def __init__(self, job: Job, state: Any, workers: WorkerHandlerManager) -> None:
        self.job = job
        self.control_handler = _Control(workers)
        self.data_plane_handler = _Data(DATA_BUFFER_TIME_LIMIT_MS)
        self._server = grpc.server(shared_unbounded_instance(), options=_SERVER_OPTIONS)
        beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(self.control_handler, self._server)
        beam_fn_api_pb2_grpc.add_BeamFnDataServicer_to_server(self.data_plane_handler, self._server)
        beam_fn_api_pb2_grpc.add_BeamFnStateServicer_to_server(
            GrpcStateServicer(state), self._server
        )
        address = f"unix:{quote(os.fsencode(job.folder / SOCKET_NAME))}"
        self._server.add_insecure_port(address)
        self.control_port = self.data_port = self.state_port = address
        self._server.start()

    def close(self, grace_seconds: float = _STOP_SECONDS) -> None:
        """Stop the services, and cancel the calls that have not ended within some seconds."""
        self.control_handler.done()
        self._server.stop(grace_seconds).wait()


class JobWorkers(WorkerHandlerManager):  # type: ignore[misc]  # Beam's classes are untyped
    """The workers of a job, which reach the driver by the job's own services.

    Args:
        job: the job.
        environments: Beam's descriptions of how workers are started, by id.
        provision_info: what Beam tells workers about the job.
    """

    def __init__(self, job: Job, environments: Any, provision_info: Any) -> None:
        super().__init__(environments, provision_info)
        self.services = JobServices(job, self.state_servicer, self)
        self._grpc_server = self.services  # Beam's name


@Environment.register_urn(_WORKER_URN, bytes)
class WorkerEnvironment(SubprocessSDKEnvironment):  # type: ignore[misc]
    """Beam's description of how a worker process is started: by the job's server of workers."""

    def __init__(
        self, capabilities: Any = (), artifacts: Any = (), resource_hints: Any = None
    ) -> None:
        super().__init__("", capabilities, artifacts, resource_hints)

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """Return the description's name and content, as they stand in Beam's pipelines."""
        return _WORKER_URN, b""

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes, capabilities: Any, artifacts: Any, resource_hints: Any, context: Any
    ) -> WorkerEnvironment:
        """Read a description from a pipeline: see `to_runner_api_parameter`."""
        return WorkerEnvironment(capabilities, artifacts, resource_hints)


@WorkerHandler.register_environment(_WORKER_URN, bytes)
class WorkerProcess(SubprocessSdkWorkerHandler):  # type: ignore[misc]
    """A worker process, which is told the address of the job's services.

    Beam's own class starts a logging service on a TCP port for each worker. Ours have none: what
    workers log is shown to nobody.
    """

    def port_from_worker(self, port: str | int) -> str:
        """Return the address of a service as a worker uses it.

        Raises:
            FaceTroveError: the service is one of Beam's own, on a TCP port.
        """
        if not isinstance(port, str):
            raise FaceTroveError(
                f"Apache Beam has started a service on port {port}, which other users of this "
                "machine can reach; expected services on a socket in a private folder; install a "
                "version of Apache Beam that facetrove is tested with: constraints.txt names it"
            )
        return port

    def start_worker(self) -> None:
        """Start the process, and a thread that waits for its end."""
        self.worker_thread = threading.Thread(name="run_worker", target=self._run_and_report)
        self.worker_thread.start()

    def _run_and_report(self) -> None:
        """Run the process to its end, and report an early one."""
        try:
            self._run_worker()
        except Exception as error:  # of the process, or of starting it
            self._grpc_server.job.lost.report(error)

    def _run_worker(self) -> None:
        """Run the process to its end.

        Raises:
            WorkerEndedError: it failed, or did not connect within `CONNECT_SECONDS`.
        """
        job = self._grpc_server.job
        said_path = job.folder / f"worker-{self.worker_id}.log"
        try:
            worker = job.server.new_worker()
            worker.serve(
                {
                    "folder": str(job.folder),
                    "said": str(said_path),
                    "environment": self._environment(),
                }
            )
        except ServerEndedError as error:
            raise self._ended_with(error.exit_code, error.last_line) from None
        try:
            exit_code = worker.wait(CONNECT_SECONDS)
        except TimeoutError:
            if not self._has_connected:
                os.kill(worker.pid, signal.SIGKILL)
                problem = f"did not connect within {CONNECT_SECONDS:g} seconds"
                raise self._ended(problem, _last_line(said_path)) from None
            exit_code = worker.wait()
        if exit_code:
            raise self._ended_with(exit_code, _last_line(said_path))

    def _environment(self) -> dict[str, str]:
        """Return the environment variables of the process."""
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        options = self.provision_info.provision_info.pipeline_options
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        environment.pop("LOGGING_API_SERVICE_DESCRIPTOR", None)  # the driver may be a worker itself
        return child_environment(environment)

    @property
    def _has_connected(self) -> bool:
        return self.worker_id in self._grpc_server.control_handler.connected

    def _ended_with(self, exit_code: int, last_line: str) -> WorkerEndedError:
        """Return the error about this worker, or its server, by the exit code."""
        if exit_code < 0:
            name = signal.strsignal(-exit_code)
            problem = f"was ended by signal {-exit_code} ({name})"
        else:
            problem = f"ended with exit code {exit_code}"
        when = "" if self._has_connected else " before it connected"
        return self._ended(problem + when, last_line, was_killed=exit_code < 0)

    def _ended(self, problem: str, last_line: str, *, was_killed: bool = False) -> WorkerEndedError:
        """Return the error about this worker, with the last line that it wrote."""
        return WorkerEndedError(
            f"a worker process {problem}; {last_line}",
            had_connected=self._has_connected,
            was_killed=was_killed,
        )


CONNECT_SECONDS = 120.0
"""Seconds in which a worker has to connect to its driver. It takes a second, and tens on a busy
machine with slow disks."""


def _last_line(said_path: Path) -> str:
    """Return the last line that a worker wrote, in words."""
    try:
        return last_line(said_path.read_bytes())
    except FileNotFoundError:
        return "it wrote nothing"
    except OSError:  # the job's folder is gone
        return "what it wrote is lost"
