"""Running a pipeline: on processes of this machine, or on the runner that Beam's flags name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.local_runner import run_locally
from faces.core.errors import FaceTroveError, WrongUsageError


def runs_elsewhere(runner_args: Sequence[str]) -> bool:
    """Whether Beam's flags name a runner."""
    return any(arg.split("=")[0] == "--runner" for arg in runner_args)


def run_pipeline(
    build: Callable[[beam.Pipeline], object],
    *,
    workers: int,
    runner_args: Sequence[str],
    remedy: str,
) -> None:
    """Run a pipeline to its end.

    Args:
        build: puts the steps into the pipeline.
        workers: processes on this machine.
        runner_args: Beam's own flags; with `--runner`, the work is done there.
        remedy: what to do when it fails, for the error.

    Raises:
        WorkerLostError: a worker process here was killed.
        FaceTroveError: a step failed.
    """
    try:
        if runs_elsewhere(runner_args):
            with _pipeline_elsewhere(runner_args) as pipeline:
                build(pipeline)
        else:
            run_locally(build, workers=workers, beam_args=runner_args)
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
