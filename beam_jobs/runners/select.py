"""Running a pipeline: on processes of this machine, or on the runner that Beam's flags name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runners.local import run_locally
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.machine import available_threads


@dataclass(frozen=True)
class Workers:
    """The workers of a job: processes on this machine, or those of another runner.

    Attributes:
        processes: number of processes on this machine.
        threads: processor cores that each worker uses; None: its share of this machine's, and one
            elsewhere.
        runner_args: Beam's own flags; with `--runner`, the work is done there.
    """

    processes: int
    threads: int | None = None
    runner_args: Sequence[str] = ()

    @classmethod
    def chosen(
        cls, processes: int | None, threads: int | None = None, runner_args: Sequence[str] = ()
    ) -> Workers:
        """The workers that a caller asked for; one per core where no number is given."""
        return cls(processes or available_threads(), threads, runner_args)

    @property
    def are_elsewhere(self) -> bool:
        """Whether Beam's flags name a runner."""
        return any(arg.split("=")[0] == "--runner" for arg in self.runner_args)

    @property
    def threads_each(self) -> int:
        """The processor cores that each worker uses."""
        shared = 1 if self.are_elsewhere else max(1, available_threads() // self.processes)
        return self.threads or shared

    def at_most(self, processes: int) -> Workers:
        """The same workers, but no more processes than that."""
        return replace(self, processes=min(self.processes, processes))


def run_pipeline(
    build: Callable[[beam.Pipeline], object], *, workers: Workers, remedy: str
) -> None:
    """Run a pipeline to its end.

    Args:
        build: puts the steps into the pipeline.
        workers: the workers that do the steps.
        remedy: what to do when the pipeline fails, for the error.

    Raises:
        WrongUsageError: Beam knows no such flag or runner.
        WorkerLostError: a worker process here was killed.
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
    except Exception as error:  # whatever a runner makes of a failure in a worker
        raise FaceTroveError(f"the job failed ({_cause(error)}); {remedy}") from error


def _pipeline_elsewhere(runner_args: Sequence[str]) -> beam.Pipeline:
    try:
        return beam.Pipeline(options=PipelineOptions(list(runner_args)))
    except ValueError as error:
        raise WrongUsageError(f"Apache Beam refuses {' '.join(runner_args)}: {error}") from error


def _cause(error: Exception) -> str:
    """What went wrong in a worker, out of the trace that Beam makes the message of its error."""
    last_line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return re.sub(r"^RuntimeError: | \[while running .*\]$", "", last_line)
