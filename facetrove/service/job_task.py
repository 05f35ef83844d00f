"""What the process of a job is told, and what it tells the server while it works."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from faces.core.progress import OnProgress, Progress
from facetrove.service.jobs import JobKind

RESULT = "result.json"
"""Name of the file with the result or the error, in the job's folder."""

REPORT_SECONDS = 0.2
"""Shortest time in seconds between two reports of progress."""


@dataclass(frozen=True)
class Task:
    """A job and what it works on.

    Attributes:
        kind: what it does.
        request: what was asked for.
        index: path of the index.
        dataset: path of the dataset.
        uploads: path of the uploads folder; None: there is none.
        folders: folders whose photos may be enrolled.
    """

    kind: JobKind
    request: dict[str, Any]
    index: str
    dataset: str
    uploads: str | None
    folders: tuple[str, ...]


class Reports:
    """What the process tells the server while it works."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()
        self._step = ""
        self._reported = 0.0

    @property
    def progress(self) -> OnProgress:
        """The callback of the job's steps."""
        return self._progress

    def _progress(self, state: Progress) -> None:
        now = time.monotonic()
        if state.step == self._step and now - self._reported < REPORT_SECONDS:
            return
        self._step, self._reported = state.step, now
        self._send({"progress": {**asdict(state), "counts": dict(state.counts)}})

    def close(self) -> None:
        """Close the channel to the server."""
        self._file.close()

    def leftovers(self, names: list[str]) -> None:
        """Tell the server which uploads to remove when the job is done."""
        self._send({"leftovers": names})

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()
