"""A worker process of the local runner: Beam's worker, but silent, and it ends with its driver.

The server of workers (`worker_server.py`) imports this module and forks.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

from apache_beam.runners.worker import sdk_worker_main

from beam_jobs.in_flight import clear_in_flight
from beam_jobs.runners.worker_server import CHECK_SECONDS
from faces.core.channel import Channel, Message
from faces.core.environment import WithoutPandas
from faces.core.errors import first_line
from faces.photos.limited import prepare_early


def serve_beam(channel: Channel, arguments: Message, _: bytes) -> NoReturn:
    """Serve the driver until it stops this worker, ends, or removes the job's folder.

    It is a `faces.core.limited_server.Handler`, which ends its process instead of answering.

    Args:
        channel: the connection to the driver, which it watches to learn of this worker's end.
        arguments: "folder", the job's folder, which the driver removes at its end; "server", the
            process id of the server, which ends with the driver; "environment", all environment
            variables; and "said", a file for the last words of this process.
    """
    # Processes that decode photos are forks of this one, and may outlive it by a photo.
    os.register_at_fork(after_in_child=channel.close)
    # The server needs no pandas to import Beam, but models of deepface do.
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, WithoutPandas)]
    folder = Path(arguments["folder"])
    to_driver = os.open(arguments["said"], os.O_WRONLY | os.O_CREAT, 0o600)
    os.environ.clear()
    os.environ.update(arguments["environment"])
    os.chdir(folder)
    tempfile.tempdir = None  # which the environment names
    # Without a handler, the first warning would make Python print all log messages. Those that
    # matter reach the driver through Beam. Beam prints the traceback of every failure, which the
    # driver gets too and reports in one line: the server's stderr is for the server alone.
    logging.getLogger().addHandler(logging.NullHandler())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    exit_code = 1
    watch = threading.Thread(
        target=_end_with_driver, args=(folder, arguments["server"]), daemon=True
    )
    try:
        prepare_early()  # before threads start
        watch.start()
        sdk_worker_main.main([])
        exit_code = 0
    except BaseException as error:
        os.write(to_driver, f"{type(error).__name__}: {first_line(error)}\n".encode())
        # Perhaps the driver was killed: then the other thread ends this process, tidily.
        if watch.is_alive():
            watch.join(2 * CHECK_SECONDS)
    finally:
        # Without destructors: gRPC threads may still be running, which makes C++ abort.
        os._exit(exit_code)


def _end_with_driver(folder: Path, server: int) -> None:
    """End this process when the server of workers ended or the job's folder was removed.

    The server ends with the driver. A driver that is killed cannot stop its workers, which would
    wait for it for ever, or remove the job's folder.
    """
    while os.getppid() == server and folder.is_dir():
        time.sleep(CHECK_SECONDS)
    clear_in_flight()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
