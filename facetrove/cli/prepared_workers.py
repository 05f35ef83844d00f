"""What commands do while they import Beam, which takes a second: start a job's first process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module

from beam_jobs.runners.worker_server import keep_worker_server
from faces.core.environment import without_pandas


@contextmanager
def prepared_workers(runner_args: Sequence[str] = ()) -> Iterator[None]:
    """Start the server of worker processes for a job, and import Beam meanwhile.

    Args:
        runner_args: Beam's own flags, which may ask for another runner: then no server is needed.
    """
    with ExitStack() as stack:
        if not runner_args:
            stack.enter_context(keep_worker_server())
        with without_pandas():
            import_module("beam_jobs.runners.local")
        yield
