"""The runner of jobs: runs one at a time in a process of its own, and tells how far it is."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faces.core.child_process import child_environment, python_command
from faces.core.documents import json_text
from faces.core.errors import FaceTroveError
from faces.core.storage import Folder
from facetrove.service.decision_keys import DecisionKeys
from facetrove.service.gallery import Gallery
from facetrove.service.job_task import RESULT
from facetrove.service.jobs import Job, JobStore, NewJob
from facetrove.service.metrics import Metrics
from facetrove.service.refusals import RefusedError
from facetrove.service.thumbnails import Thumbnails
from facetrove.service.uploads import Uploads

LOG = logging.getLogger(__name__)

WORK = "work"
"""Name of the folder of running jobs in the state's folder."""

CANCEL_SECONDS = 10.0
"""Seconds that a job has to end when it is cancelled, before its process is killed."""

BUSY_SECONDS, MAX_BUSY = 2.0, 150
"""Seconds after which a job is tried again where another process is writing the dataset or the
index, and how often: five minutes."""

MAX_LINE_BYTES = 16_000_000
"""Maximum size of a report of a job: one names the uploads that are to be removed."""

KEEP_ALIVE_SECONDS = 15.0
"""Seconds after which a stream without events sends a comment, so that proxies keep it open."""

Progress = dict[str, Any]


class JobRunner:
    """Runs the jobs of a store, one after the other, as long as `run` does.

    Args:
        store: the jobs.
        state: the state's folder, whose lease the caller holds.
        task: what jobs work on: the fields of `job_process.Task` beside `kind` and `request`.
        gallery: the gallery, which is refreshed when a job has ended.
        uploads: the uploads; None: there are none.
        thumbnails: the thumbnails, which a purge clears.
        metrics: measures.
        max_jobs: maximum number of jobs that wait or run.
        on_refreshed: called when the gallery may have another version.
        on_purged: removes from the watches what a purge has removed, of which it gets the names;
            returns what to report.

    Attributes:
        decision_keys: the idempotency keys of decisions about people.
    """

    def __init__(
        self,
        store: JobStore,
        state: Folder,
        task: dict[str, Any],
        *,
        gallery: Gallery,
        uploads: Uploads | None,
        thumbnails: Thumbnails,
        metrics: Metrics,
        max_jobs: int,
        on_refreshed: Callable[[], None],
        on_purged: Callable[[Sequence[str]], dict[str, int]],
    ) -> None:
        self._store = store
        self.decision_keys = DecisionKeys(store)
        self._state = state
        self._task = task
        self._gallery = gallery
        self._uploads = uploads
        self._thumbnails = thumbnails
        self._metrics = metrics
        self._max_jobs = max_jobs
        self._on_refreshed = on_refreshed
        self._on_purged = on_purged
        self._changed = asyncio.Condition()
        self._num_changes = 0
        self._progress: dict[str, Progress] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._running: str | None = None

    @property
    def store(self) -> JobStore:
        """The jobs."""
        return self._store

    def progress_of(self, job_id: str) -> Progress | None:
        """Return how far a running job is; None: it does not run, or has not told yet."""
        return self._progress.get(job_id)

    async def add(self, new: NewJob) -> tuple[Job, bool]:
        """Queue a job; see `JobStore.add`."""
        if new.idempotency_key is not None:
            await asyncio.to_thread(self.decision_keys.require_free, new.owner, new.idempotency_key)
        found = await asyncio.to_thread(self._store.add, new, max_waiting=self._max_jobs)
        await self._tell()
        return found

    async def cancel(self, job_id: str) -> None:
        """Cancel a job that waits or runs; a job that runs ends within seconds."""
        state = await asyncio.to_thread(self._store.cancel, job_id)
        if state == "cancelling" and self._running == job_id and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            process = self._process
            asyncio.get_running_loop().call_later(CANCEL_SECONDS, _kill, process)
        await self._tell()

    async def retry(self, job_id: str) -> bool:
        """Queue a job again that failed or was cancelled; return whether it was one."""
        done = await asyncio.to_thread(self._store.queue_again, job_id, of=("failed", "cancelled"))
        await self._tell()
        return done

    async def events(self, job_id: str) -> AsyncIterator[Job | None]:
        """Yield a job whenever something about it changes, until it has ended.

        None is yielded where nothing has changed for `KEEP_ALIVE_SECONDS`.
        """
        told: object = None
        while True:
            seen = self._num_changes
            job = await asyncio.to_thread(self._store.find, job_id)
            if job is None:
                return
            state = (job.state, self._progress.get(job_id))
            if state != told:
                told = state
                yield job
            if job.is_finished:
                return
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS), self._changed:
                    await self._changed.wait_for(lambda: self._num_changes != seen)  # noqa: B023
            except TimeoutError:
                yield None

    async def run(self) -> None:
        """Run jobs until this is cancelled; a job that runs then is run again next time."""
        self._state.remove_folder(WORK)
        self._state.make_folder(WORK)
        while True:
            seen = self._num_changes
            job = await asyncio.to_thread(self._store.begin_next)
            if job is None:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._num_changes != seen)  # noqa: B023
                continue
            await self._tell()
            try:
                await self._run_job(job)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                LOG.error("job %s failed: %s", job.job_id, type(error).__name__)
                message = "the server failed on this job; tell its operator"
                await self._end(job, error={"code": "server_error", "message": message})

    async def _run_job(self, job: Job) -> None:
        self._running = job.job_id
        folder = f"{WORK}/{job.job_id}"
        try:
            for _ in range(MAX_BUSY):
                self._state.remove_folder(folder)
                self._state.make_folder(folder)
                answer = await self._process_answer(job, self._state.at(folder))
                if (answer.get("error") or {}).get("code") != "busy":
                    break
                self._progress[job.job_id] = {"step": "waiting for another process that writes"}
                await self._tell()
                await asyncio.sleep(BUSY_SECONDS)
                if (
                    await asyncio.to_thread(self._store.find, job.job_id) or job
                ).state != "running":
                    break
            await self._end(job, **answer)
        finally:
            self._running = None
            self._progress.pop(job.job_id, None)
            self._state.remove_folder(folder)
            await self._tell()

    async def _process_answer(self, job: Job, folder: Path) -> dict[str, Any]:
        """Run the process of a job, and return its result or its error."""
        process = await asyncio.create_subprocess_exec(
            *python_command("facetrove.service.job_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C in the server's terminal is for the server
            limit=MAX_LINE_BYTES,
        )
        self._process = process
        try:
            assert process.stdin is not None and process.stdout is not None, "both are pipes"
            task = {**self._task, "kind": job.kind, "request": job.request or {}}
            process.stdin.write(json.dumps(task).encode() + b"\n")
            await process.stdin.drain()
            async for line in process.stdout:
                await self._hear(job, json.loads(line))
            await process.wait()
        finally:
            self._process = None
            if process.returncode is None:  # the server ends: so does the process, tidily
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
                    async with asyncio.timeout(CANCEL_SECONDS):
                        await process.wait()
                _kill(process)
        if Folder(folder).exists(RESULT):
            with Folder(folder).open(RESULT) as file:
                answer: dict[str, Any] = json.load(file)
            return answer
        message = "the process of the job was killed; the system may be short of memory"
        return {"error": {"code": "killed", "message": message}}

    async def _hear(self, job: Job, message: dict[str, Any]) -> None:
        if "progress" in message:
            self._progress[job.job_id] = message["progress"]
            await self._tell()
        if "leftovers" in message:
            await asyncio.to_thread(self._store.add_leftovers, job.job_id, message["leftovers"])

    async def _end(
        self,
        job: Job,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        """Mark a job as ended, after what the server itself has to do for it."""
        if result is not None:
            result = await asyncio.to_thread(self._after_success, job, result)
            if job.kind == "purge":
                self._thumbnails.clear()
        try:
            await asyncio.to_thread(self._gallery.refresh)  # which a purge has done already
            self._on_refreshed()
        except (FaceTroveError, OSError) as failure:
            LOG.error("the index cannot be opened again: %s", type(failure).__name__)
        now = await asyncio.to_thread(self._store.find, job.job_id)
        cancelled = now is not None and now.state == "cancelling" and result is None
        state = "cancelled" if cancelled else "failed" if result is None else "done"
        await asyncio.to_thread(
            self._store.end,
            job.job_id,
            state,  # type: ignore[arg-type]
            result=result,
            error=None if cancelled else error,
        )
        self._progress.pop(job.job_id, None)
        await self._tell()

    def _after_success(self, job: Job, result: dict[str, Any]) -> dict[str, Any]:
        """Remove the uploads that a job leaves over, and after a purge what jobs were asked."""
        names = self._store.add_leftovers(job.job_id, [])
        num_removed = 0 if self._uploads is None else self._uploads.remove(names)
        ours: dict[str, Any] = {"uploads_removed": num_removed}
        if job.kind == "purge":
            self.decision_keys.forget()
            ours["job_requests_removed"] = self._store.forget_requests()
            ours |= self._on_purged((job.request or {}).get("names", ()))
            ours["limits"] = (
                "An upload is removed as soon as it shows one purged face; other faces in it stay "
                "in the dataset. Watches that were made from photos or embeddings of the purged "
                "people stay; delete them. Answers that clients have had, and logs of proxies, are "
                "not reached."
            )
        return {**result, "service": ours} if job.kind in ("enrol", "purge") else result

    async def _tell(self) -> None:
        for state, count in (await asyncio.to_thread(self._store.counts)).items():
            self._metrics.jobs.labels(state).set(count)
        async with self._changed:
            self._num_changes += 1
            self._changed.notify_all()


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


def task_of(index: Path, dataset: Path, uploads: Uploads | None, folders: tuple[Path, ...]) -> Any:
    """Return what all jobs of a service work on, as `JobRunner` takes it."""
    return {
        "index": str(index.absolute()),
        "dataset": str(dataset.absolute()),
        "uploads": None if uploads is None else str(uploads.path),
        "folders": [str(folder.absolute()) for folder in folders],
    }


def job_json(job: Job, progress: Progress | None) -> dict[str, Any]:
    """Return a job as it is answered; what was asked is told without columns of photos."""
    fields = asdict(job)
    request = fields.pop("request") or {}
    uploads = request.pop("uploads", None)
    request.pop("columns", None)
    return {
        **{name: value for name, value in fields.items() if name != "owner"},
        "request": {**request, **({"num_uploads": len(uploads)} if uploads else {})},
        "progress": progress,
    }


def event_text(job: Job | None, progress: Progress | None) -> bytes:
    """Return a server-sent event that tells a job; a comment for None."""
    if job is None:
        return b": still there\n\n"
    content = " ".join(json_text(job_json(job, progress)).split("\n"))
    return f"event: {'end' if job.is_finished else 'progress'}\ndata: {content}\n\n".encode()


def refused(job_id: str) -> RefusedError:
    """Return the refusal of a job that there is not."""
    return RefusedError(404, "no_such_job", "there is no job of this id; GET /v1/jobs lists them")
