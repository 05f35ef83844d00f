"""A worker process of the local runner: Beam's own, but quiet and never left behind."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

from beam_jobs.in_flight import clear_in_flight

CHECK_SECONDS = 0.3
"""How often a worker looks whether it is still wanted."""


def serve_beam(wanted_dir: Path) -> None:
    """Serve the driver until it says stop, is gone, or takes `wanted_dir` away."""
    # With no handler, the first warning would make Python install one that prints everything.
    # What matters reaches the driver through Beam.
    logging.getLogger().addHandler(logging.NullHandler())
    # Beam prints the trace of every failure, which the driver gets and puts in a sentence anyway,
    # and image decoders print what they think of a photo, which has its row.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    watch = threading.Thread(
        target=_end_when_unwanted, args=(wanted_dir, os.getppid()), daemon=True
    )
    watch.start()
    beam = _load_beam()
    exit_code = 1
    try:
        beam.main([])
        exit_code = 0
    finally:
        # Not by way of destructors: threads of gRPC may still be running, and C++ then aborts.
        os._exit(exit_code)


def _load_beam() -> ModuleType:
    """Beam's worker. Beam loads pandas where that is installed, which takes a third as long again;
    what our jobs give Beam has nothing of it."""
    sys.modules["pandas"] = None  # type: ignore[assignment]  # not to be had, for a moment
    try:
        from apache_beam.runners.worker import sdk_worker_main
    finally:
        del sys.modules["pandas"]
    return sdk_worker_main  # type: ignore[no-any-return]


def _end_when_unwanted(wanted_dir: Path, driver: int) -> None:
    """A driver that is killed cannot tell its workers; they would wait for it for ever."""
    while os.getppid() == driver and wanted_dir.is_dir():
        time.sleep(CHECK_SECONDS)
    clear_in_flight()
    os._exit(1)


if __name__ == "__main__":
    serve_beam(Path(sys.argv[1]))
