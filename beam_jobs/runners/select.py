"""Running a pipeline on processes of this machine, or on the runner that Beam's flags name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_jobs.runners.flags import require_job_service, require_listed, spread_on_dask
from beam_jobs.runners.job_pipeline import JobPipeline
from beam_jobs.runners.local import WorkerLostError, run_locally
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.machine import available_threads, available_workers

_KILLED_WORKER = "KilledWorker"
"""Name of the error that Dask raises when several workers died on the same element, one after the
other. Its class is known by name, because Dask need not be installed."""


@dataclass(frozen=True)
class Workers:
    """The workers of a job: processes on this machine, or those of another Beam runner.

    Attributes:
        processes: number of processes on this machine, 1 or more.
        threads: number of processor cores that each worker uses; None: an equal share of this
            machine's cores, or 1 on another runner.
        runner_args: command-line flags of Apache Beam; `--runner` among them selects another runner
            than worker processes on this machine.
    """

    processes: int
    threads: int | None = None
    runner_args: Sequence[str] = ()

    @classmethod
    def chosen(
        cls, processes: int | None, threads: int | None = None, runner_args: Sequence[str] = ()
    ) -> Workers:
        """Return the workers that a caller asked for.

        None or 0 processes: one per core, as far as there is memory for them.
        """
        return cls(processes or available_workers(), threads, runner_args)

    @property
    def are_elsewhere(self) -> bool:
        """Whether Beam's flags name another runner than processes on this machine."""
        return any(arg.split("=")[0] == "--runner" for arg in self.runner_args)

    @property
    def threads_each(self) -> int:
        """The number of processor cores that each worker uses."""
        shared = 1 if self.are_elsewhere else max(1, available_threads() // self.processes)
        return self.threads or shared

    def at_most(self, processes: int) -> Workers:
        """Return a copy with at most so many processes."""
        return replace(self, processes=min(self.processes, processes))


def run_pipeline(
    build: Callable[[beam.Pipeline], object], *, workers: Workers, remedy: str
) -> None:
    """Build a pipeline and run it to its end.

    Args:
        build: function that adds the steps to a pipeline.
        workers: the workers that run the steps.
        remedy: what the user should do if the pipeline fails, for the error message.

    Raises:
        WrongUsageError: Apache Beam has no such flag or runner.
        WorkerLostError: a worker process on this machine was killed or crashed, or several ones of
            Dask on the same element.
        FaceTroveError: a step failed.
    """
    try:
        if workers.are_elsewhere:
            with _pipeline_elsewhere(workers.runner_args) as pipeline:
                build(pipeline)
        else:
            run_locally(build, workers=workers.processes, beam_args=workers.runner_args)
    except FaceTroveError:
        raise
    except Exception as error:  # runners raise different errors for a failed step
        if type(error).__name__ == _KILLED_WORKER:
            raise WorkerLostError(f"workers died on one shard ({_cause(error)})") from error
        raise FaceTroveError(f"the job failed ({_cause(error)}); {remedy}") from error


def _pipeline_elsewhere(runner_args: Sequence[str]) -> beam.Pipeline:
    """Return an empty pipeline on the runner that Beam's flags name."""
    options = PipelineOptions(spread_on_dask(runner_args))
    try:
        pipeline = JobPipeline(options=options)
    except ValueError as error:
        raise WrongUsageError(f"Apache Beam refuses {' '.join(runner_args)}: {error}") from error
    require_listed(options, options.view_as(StandardOptions).runner)
    require_job_service(options)
    return pipeline


def _cause(error: Exception) -> str:
    """Return the last line of a worker's traceback, which Beam puts into its error message."""
    last_line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return re.sub(r"^RuntimeError: | \[while running .*\]$", "", last_line)
