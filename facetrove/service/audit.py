"""The audit log: who asked for which operation when, and how much it was about.

One line of JSON for each request, appended in one write. It has no name of a person, no text of a
filter, no address of a photo and no embedding: only the key's name, the operation, counts, and
numbers of people.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faces.core.descriptors import PRIVATE_FILE_MODE
from faces.core.errors import WrongUsageError, cause_of

LOG = logging.getLogger(__name__)

MAX_PEOPLE = 100
"""Numbers of people in a line, which bounds its length; the count of all is in it too."""


@dataclass(frozen=True)
class AuditEntry:
    """What the audit log has of a request.

    Attributes:
        request_id: id of the request, which its answer has too.
        operation: name of the operation, as in the OpenAPI document.
        key: name of the key; None: none was needed, or none was known.
        status: HTTP status of the answer.
        milliseconds: how long the request took.
        counts: numbers of what it was about, such as faces and matches, by their names.
        job: id of the job that it began; None: none.
        people: numbers of the people that it was about; the log has the first `MAX_PEOPLE`.
        decision: id of the decision that it made; None: none.
    """

    request_id: str
    operation: str
    key: str | None
    status: int
    milliseconds: float
    counts: Mapping[str, int]
    job: str | None = None
    people: Sequence[int] = ()
    decision: str | None = None

    def line(self) -> bytes:
        """Return the line of JSON that is appended."""
        found: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": self.request_id,
            "operation": self.operation,
            "key": self.key,
            "status": self.status,
            "ms": round(self.milliseconds, 1),
            "counts": dict(self.counts),
        }
        if self.job is not None:
            found["job"] = self.job
        if self.people:
            found["people"] = list(self.people[:MAX_PEOPLE])
        if self.decision is not None:
            found["decision"] = self.decision
        return json.dumps(found, separators=(",", ":")).encode() + b"\n"


class AuditLog:
    """A file to which a line is appended for each request. Use `open`.

    The file is opened again when it was renamed, so that it can be rotated.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._opened()

    @classmethod
    def open(cls, path: Path) -> AuditLog:
        """Open a log for appending; it is made, for its owner alone, if there is none.

        Raises:
            WrongUsageError: it cannot be opened.
        """
        try:
            return cls(path)
        except OSError as error:
            raise WrongUsageError(
                f"the audit log {path} cannot be written ({cause_of(error)}); name another file"
            ) from error

    def write(self, entry: AuditEntry) -> None:
        """Append an entry. An error of the disk is logged: the request has been done by then."""
        try:
            if not self._is_in_place():
                os.close(self._descriptor)
                self._descriptor = self._opened()
            os.write(self._descriptor, entry.line())
        except OSError as error:
            LOG.error("the audit log cannot be written: %s", cause_of(error))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        return os.open(self._path, flags, PRIVATE_FILE_MODE)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False
