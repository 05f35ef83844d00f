"""The command line as tests run it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from indexer.build import build_index
from tests.support.command_server import command_server

ROOT = Path(__file__).parents[2]


SMALL_COLLECTION_PHOTOS = 160

ONE_WORKER = ("--workers", "1")
"""Enough for a handful of photos: a worker takes longer to start than to embed them."""


Facetrove = Callable[..., "subprocess.CompletedProcess[str]"]


def embedded_once(dataset: Path, photos: Path, *, timeout: float = 120) -> Path:
    """A dataset made by the real command, by whichever test process comes first."""
    with FileLock(f"{dataset}.lock"):
        if not dataset.exists():
            finished = run_facetrove("embed", photos, dataset, timeout=timeout)
            assert finished.returncode == 0, finished.stderr
    return dataset


def indexed_once(index: Path, dataset: Path) -> Path:
    """Its index, likewise."""
    with FileLock(f"{index}.lock"):
        if not index.exists():
            build_index(dataset, index)
    return index


def run_facetrove(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; what it loads is there already."""
    return command_server().run([str(argument) for argument in arguments], timeout)


def facetrove_command(*arguments: str | Path) -> list[str]:
    """The command as a user starts it."""
    return [str(Path(sys.executable).with_name("facetrove")), *map(str, arguments)]


def require_message(
    *arguments: str | Path, exit_code: int, says: list[str], json_too: bool = True
) -> None:
    """The command ends with one line that holds every phrase, and no traceback."""
    for extra in ([], ["--json"]) if json_too else ([],):
        finished = run_facetrove(*arguments, *extra)
        assert finished.returncode == exit_code, finished.stderr
        assert finished.stdout == ""
        lines = finished.stderr.strip().splitlines()
        assert len(lines) == 1, finished.stderr
        assert lines[0].startswith("facetrove: error: ")
        for phrase in says:
            assert phrase in lines[0]


def without_times(output: str) -> list[str]:
    """Lines of a summary, less what it says about speed."""
    return [re.sub(r" in [\d,]+ s \([\d.,]+ photos/s\)$", "", line) for line in output.splitlines()]
