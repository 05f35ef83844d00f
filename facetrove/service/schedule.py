"""Folders that are taken in regularly: each is enrolled by a job at the start, and every so often.

Only the operator names them, when the server is started: a schedule that a client could make would
outlive its key. What a schedule begins are jobs like others, which survive the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from facetrove.service.audit import AuditEntry, AuditLog
from facetrove.service.job_runner import JobRunner
from facetrove.service.jobs import Job, NewJob
from facetrove.service.refusals import RefusedError

LOG = logging.getLogger(__name__)

SCHEDULE = "(schedule)"
"""The owner of these jobs, which is the name of no key: they are seen with the scope admin."""

MAX_KEPT = 100
"""Number of finished jobs of the schedule that are kept, so that others' are not forgotten."""


class Schedule:
    """Enrols folders regularly, as long as `run` does.

    Args:
        runner: runs the jobs.
        folders: the folders, which are among those that may be enrolled.
        seconds: seconds from one round to the next.
        audit: the audit log; None: there is none.
    """

    def __init__(
        self, runner: JobRunner, folders: Sequence[Path], *, seconds: float, audit: AuditLog | None
    ) -> None:
        self._runner = runner
        self._folders = [os.path.realpath(folder) for folder in folders]
        self._seconds = seconds
        self._audit = audit

    async def run(self) -> None:
        """Enrol the folders now and every so often, until this is cancelled."""
        while True:
            for folder in self._folders:
                try:
                    await self._enrol(folder)
                except RefusedError:
                    LOG.error("a folder is not enrolled: too many jobs wait; it is tried later")
                except Exception as error:
                    LOG.error("a folder is not enrolled: %s", type(error).__name__)
            await asyncio.sleep(self._seconds)

    async def _enrol(self, folder: str) -> None:
        """Queue the job of a folder, unless one waits or runs."""
        unfinished = await asyncio.to_thread(self._runner.store.unfinished)
        if any(_is_of(job, folder) for job in unfinished):
            return
        what = {"folder": folder, "scheduled": True}
        job, _ = await self._runner.add(NewJob("enrol", what, SCHEDULE))
        if self._audit is not None:
            self._audit.write(AuditEntry(uuid4().hex, "enrol", SCHEDULE, 202, 0.0, {}, job.job_id))
        await asyncio.to_thread(self._runner.store.forget_finished, SCHEDULE, keep=MAX_KEPT)


def _is_of(job: Job, folder: str) -> bool:
    named = (job.request or {}).get("folder")
    return job.kind == "enrol" and named is not None and os.path.realpath(named) == folder
