"""Work in a process that is killed right before it puts a file in place."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "duckdb", "faiss"])

Work = Callable[[Path], object]


def killed_before_file(number: int, work: Work, folder: Path, *, prefix: str = "") -> bool:
    """Do work in a process that is killed before it puts a file in place; say if it was killed.

    Args:
        number: number of the file, from 1, before which it is killed.
        work: the work.
        folder: its argument.
        prefix: beginning of the names of the files that count.
    """
    process = processes.Process(target=_work, args=(number, work, folder, prefix))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _work(number: int, work: Work, folder: Path, prefix: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    rename, count = os.rename, 0

    def counted(source: str, target: str, **folders: int) -> None:
        nonlocal count
        count += target.startswith(prefix)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target, **folders)

    os.rename = counted  # type: ignore[assignment]
    work(folder)
