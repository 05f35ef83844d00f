"""A worker process of the local runner: Beam's worker, but silent, and it ends with its driver."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

from beam_jobs.in_flight import clear_in_flight
from faces.core.errors import first_line
from faces.photos.limited import prepare_early

CHECK_SECONDS = 0.3
"""Seconds between two checks whether the driver is still running."""


def serve_beam(keep_alive_dir: Path, driver: int) -> None:
    """Serve the driver until it stops this worker, ends, or removes `keep_alive_dir`.

    Args:
        keep_alive_dir: folder of the job, which the driver removes at its end.
        driver: process id of the driver, which this process cannot ask for itself: the driver may
            have been killed since it started this process.
    """
    # Without a handler, the first warning would make Python print all log messages. Those that
    # matter reach the driver through Beam.
    logging.getLogger().addHandler(logging.NullHandler())
    # Beam prints the traceback of every failure, which the driver gets too and reports in one line.
    # Image decoders print warnings about photos, whose rows have the reasons.
    to_driver = os.dup(sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    exit_code = 1
    watch = threading.Thread(target=_end_with_driver, args=(keep_alive_dir, driver), daemon=True)
    try:
        prepare_early()  # before threads start
        watch.start()
        _load_beam().main([])
        exit_code = 0
    except BaseException as error:
        os.write(to_driver, f"{type(error).__name__}: {first_line(error)}\n".encode())
        # Perhaps the driver was killed: then the other thread ends this process, tidily.
        if watch.is_alive():
            watch.join(2 * CHECK_SECONDS)
    finally:
        # Without destructors: gRPC threads may still be running, which makes C++ abort.
        os._exit(exit_code)


def _load_beam() -> ModuleType:
    """Import Beam's worker without pandas.

    Beam imports pandas where it is installed, which makes the import a third slower. The elements
    of our jobs have no pandas types.
    """
    sys.modules["pandas"] = None  # type: ignore[assignment]  # makes importing it fail
    try:
        from apache_beam.runners.worker import sdk_worker_main
    finally:
        del sys.modules["pandas"]
    return sdk_worker_main  # type: ignore[no-any-return]


def _end_with_driver(keep_alive_dir: Path, driver: int) -> None:
    """End this process when the driver's process ended or `keep_alive_dir` was removed.

    A driver that is killed cannot stop its workers, which would wait for it for ever, or remove the
    job's folder.
    """
    while os.getppid() == driver and keep_alive_dir.is_dir():
        time.sleep(CHECK_SECONDS)
    clear_in_flight()
    shutil.rmtree(keep_alive_dir, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    serve_beam(Path(sys.argv[1]), int(sys.argv[2]))
