"""Flags of Apache Beam, which itself ignores those that it does not know."""

from __future__ import annotations

import argparse
import logging
import socket
import time
from collections.abc import Sequence
from difflib import get_close_matches

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)

from faces.core.errors import FaceTroveError, WrongUsageError, cause_of

_OF_RUNNERS = {"FlinkRunner": FlinkRunnerOptions, "SparkRunner": SparkRunnerOptions}
"""Options that mean something to one runner alone, by the runner's name."""

JOB_SERVICE_SECONDS = 60.0
"""Seconds that a job service may take to answer, as one that was just started."""

_WITH_JOB_SERVICE = ("flink", "spark", "portable", "prism")
"""Runners, by `_kind_of`, whose job service may have options that Beam's Python does not know."""


def _kind_of(runner: str | None) -> str:
    """Return a runner's name as Beam reads it: `FlinkRunner`, `flink` and its class are `flink`."""
    return (runner or "").rpartition(".")[2].lower().removesuffix("runner")


def require_listed(options: PipelineOptions, runner: str = "") -> None:
    """Raise WrongUsageError for a flag that Beam does not have.

    A runner with a job service of its own may have further ones: for it, only a flag that looks
    like a slip is refused.

    Args:
        options: the options, when the runner's module is loaded, which may add some.
        runner: the runner as it was named; "": worker processes on this machine.
    """
    logger = logging.getLogger("apache_beam.options.pipeline_options")
    logger.disabled = True  # it would print what the error says
    try:
        listed = options.get_all_options(drop_default=False).keys()
        existing = options.get_all_options(drop_default=True)
        given = options.get_all_options(drop_default=True, retain_unknown_options=True)
    finally:
        logger.disabled = False
    for name in sorted(given.keys() - existing.keys()):
        alike = get_close_matches(name, listed, n=1, cutoff=0.85)
        if _kind_of(runner) in _WITH_JOB_SERVICE and not alike:
            continue
        hint = f"; did you mean --{alike[0]}?" if alike else ""
        if not runner:
            hint += "; options of another runner need its --runner=... too"
        raise WrongUsageError(f"Apache Beam has no option --{name}{hint}")


def require_runner(options: PipelineOptions) -> None:
    """Raise WrongUsageError for a flag of another runner, where the work is done here."""
    given = options.get_all_options(drop_default=True)
    for runner, of_runner in _OF_RUNNERS.items():
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        of_runner._add_argparse_args(parser)
        for action in parser._actions:
            if action.dest in given:
                raise WrongUsageError(
                    f"--{action.dest} is for --runner={runner}, which is not named; name it, or "
                    "leave the option out"
                )


def spread_on_dask(flags: Sequence[str]) -> list[str]:
    """Return flags with which Dask spreads elements over all its workers.

    By default it puts 128 elements into one partition, which one worker does. An element of ours is
    a shard, or a piece of an index, which is work of some seconds or more.

    Args:
        flags: the flags as they were given; partitions that they ask for are left as they are.
    """
    names = [flag.partition("=")[0] for flag in flags]
    runner = PipelineOptions(list(flags)).view_as(StandardOptions).runner
    if _kind_of(runner) != "dask" or {"--dask_partition_size", "--dask_npartitions"} & set(names):
        return list(flags)
    return [*flags, "--dask_partition_size=1"]


def require_job_service(options: PipelineOptions) -> None:
    """Raise FaceTroveError if nothing listens at the address of the job service that is named.

    Beam itself waits for five minutes without a word.
    """
    endpoint = options.view_as(PortableOptions).job_endpoint
    host, _, port = (endpoint or "").rpartition(":")
    if not port.isdecimal():  # none is named, or Beam starts one itself
        return
    end = time.monotonic() + JOB_SERVICE_SECONDS
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise FaceTroveError(
                    f"no job service answers at {endpoint} ({cause_of(error)}); start it, or "
                    "correct --job_endpoint"
                ) from error
        time.sleep(1)
