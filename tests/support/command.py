"""Functions that run the command line in tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from indexer.build import build_index
from tests.support.command_server import command_server

ROOT = Path(__file__).parents[2]


SMALL_COLLECTION_PHOTOS = 160
"""Number of photos of the fixture `small_collection`."""

ONE_WORKER = ("--workers", "1")
"""Option for embedding a handful of photos: a second worker would take longer to start than the
first takes to embed them."""


Facetrove = Callable[..., "subprocess.CompletedProcess[str]"]


SESSION_CACHE = os.environ.get("FACETROVE_CACHE")
"""The cache that was named when the tests began; None: the user's own."""


@contextmanager
def session_cache() -> Iterator[None]:
    """Use the cache with which the tests began, for what all of them share.

    A fixture that is used first by a test with a cache of its own would be made with that one, and
    by other processes with another.
    """
    with pytest.MonkeyPatch.context() as patch:
        if SESSION_CACHE is None:
            patch.delenv("FACETROVE_CACHE", raising=False)
        else:
            patch.setenv("FACETROVE_CACHE", SESSION_CACHE)
        yield


def embedded_once(dataset: Path, photos: Path, *, timeout: float = 120) -> Path:
    """Embed photos with the real command, unless another test process has done so."""
    with session_cache(), FileLock(f"{dataset}.lock"):
        if not dataset.exists():
            finished = run_facetrove("embed", photos, dataset, timeout=timeout)
            assert finished.returncode == 0, finished.stderr
    return dataset


def indexed_once(index: Path, dataset: Path) -> Path:
    """Index a dataset, unless another test process has done so."""
    with session_cache(), FileLock(f"{index}.lock"):
        if not index.exists():
            build_index(dataset, index)
    return index


def run_facetrove(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `facetrove` in a process of its own, which has all modules imported already."""
    return command_server().run([str(argument) for argument in arguments], timeout)


def facetrove_command(*arguments: str | Path) -> list[str]:
    """Return the command line as a user's shell starts it, in a fresh process."""
    return [str(Path(sys.executable).with_name("facetrove")), *map(str, arguments)]


def require_message(
    *arguments: str | Path, exit_code: int, says: list[str], json_too: bool = True
) -> None:
    """Check that a command fails with a one-line message that contains some phrases.

    Args:
        arguments: arguments of `facetrove`.
        exit_code: the expected exit code.
        says: phrases that the message must contain.
        json_too: check the same with `--json`.
    """
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
    """Return the lines of a command's output without seconds and photos/s."""
    return [re.sub(r" in [\d,]+ s \([\d.,]+ photos/s\)$", "", line) for line in output.splitlines()]


def rows_of_matches(output: str) -> list[str]:
    """Return the lines below the head of a search's table of matches."""
    lines = output.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("rank"))
    return lines[head + 1 :]
