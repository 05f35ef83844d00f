"""The process in which a job runs: `python -m facetrove.service.job_process`.

It is told the job by the first line of its standard input, reports its progress by lines of its
standard output, and writes the result, or the error, into a file of its folder. It ends when its
standard input does, which is when the server ends, however that happens. Whatever it was doing then
is finished when the server runs the job again.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from faces.core.documents import json_text, parse
from faces.core.errors import FaceTroveError
from faces.core.storage import Folder
from facetrove.service.job_task import RESULT, Reports, Task
from facetrove.service.jobs import JobKind
from facetrove.service.refusals import HiddenPaths

KINDS: dict[JobKind, str] = {
    "enrol": "job_enrol:enrol",
    "delete": "job_index:delete",
    "undo": "job_index:undo",
    "purge": "job_index:purge",
    "group": "job_people:group",
    "verify": "job_index:verify",
    "compact": "job_index:compact",
    "calibrate": "job_calibrate:calibrate",
}
"""Module and function of each kind of job: Beam and the networks are loaded only to enrol."""

END_SECONDS = 5.0
"""Seconds that a job has to end tidily when the server has ended."""


def run_task(task: Task, report: Reports) -> dict[str, Any]:
    """Do a job, and return what it did.

    Raises:
        FaceTroveError: it cannot be done.
    """
    module, _, name = KINDS[task.kind].partition(":")
    run = getattr(import_module(f"facetrove.service.{module}"), name)
    done: dict[str, Any] = run(task, report)
    return done


def _end_with_server() -> None:
    """End this process when its standard input ends, which is when the server has ended."""
    while sys.stdin.buffer.read(1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(END_SECONDS)
    os._exit(1)


def main() -> None:
    """Run the job that standard input tells."""
    report = Reports(os.dup(sys.stdout.fileno()))
    # What libraries print is not meant for the server.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore")
    task = parse(sys.stdin.buffer.readline(), Task)
    hidden = HiddenPaths.of(
        {
            "index": Path(task.index),
            "dataset": Path(task.dataset),
            "uploads folder": None if task.uploads is None else Path(task.uploads),
        }
    )
    threading.Thread(target=_end_with_server, daemon=True).start()
    try:
        answer = {"result": hidden.hidden_in(run_task(task, report))}
    except KeyboardInterrupt:
        answer = {"error": {"code": "cancelled", "message": "the job was cancelled"}}
    except (FaceTroveError, OSError, MemoryError) as error:
        refusal = hidden.refusal_of(error)
        answer = {"error": {"code": refusal.code, "message": refusal.message}}
        if isinstance(error, OSError):
            answer["error"]["message"] = f"a file cannot be used ({error.strerror})"
    except Exception as error:  # whose message may name a person
        message = f"the job failed ({type(error).__name__}); tell the server's operator"
        answer = {"error": {"code": "server_error", "message": message}}
    with Folder(Path.cwd()).put(RESULT) as file:
        file.write(json_text(answer).encode())
    # Libraries' threads must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
