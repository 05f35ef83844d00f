"""Jobs: what changes a dataset or an index, one after the other, and survives the server.

A job is a row of an SQLite database in the state's folder, committed to the disk before it is
acknowledged. What a purge takes out of the database is in no byte of its file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from facetrove.service.database import empty_log, open_database
from facetrove.service.refusals import busy, key_reused

JobKind = Literal["enrol", "delete", "undo", "purge", "group", "calibrate", "verify", "compact"]
JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]

STATES: tuple[JobState, ...] = get_args(JobState)
FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")

DATABASE = "jobs.sqlite"

MAX_KEPT = 10_000
"""Number of finished jobs that are kept; older ones are forgotten."""

MAX_ATTEMPTS = 5
"""How often a job is begun that the server did not survive."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    created TEXT NOT NULL,
    started TEXT,
    finished TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    request TEXT,
    result TEXT,
    error TEXT,
    leftovers TEXT,
    idempotency_key TEXT,
    digest TEXT,
    UNIQUE (owner, idempotency_key)
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
"""

_COLUMNS = (
    "job_id, kind, state, owner, created, started, finished, attempts, request, result, error"
)


@dataclass(frozen=True)
class Job:
    """A job as the database has it.

    Attributes:
        job_id: id of the job.
        kind: what it does.
        state: how far it is.
        owner: name of the key that began it; "": none was needed.
        created, started, finished: times in UTC, ISO 8601; None: not yet.
        attempts: how often it was begun.
        request: what was asked for; None: a purge has removed it.
        result: what it did; None: it is not done.
        error: code and message of why it failed; None: it has not.
    """

    job_id: str
    kind: JobKind
    state: JobState
    owner: str
    created: str
    started: str | None
    finished: str | None
    attempts: int
    request: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, str] | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it unless it is tried again."""
        return self.state in FINISHED


@dataclass(frozen=True)
class NewJob:
    """A job that is asked for.

    Attributes:
        kind: what it does.
        request: what is asked for.
        owner: name of the key.
        idempotency_key: the client's name for this request; None: it has none.
    """

    kind: JobKind
    request: Mapping[str, Any]
    owner: str
    idempotency_key: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked for."""
        text = json.dumps([self.kind, self.request], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class JobStore:
    """The database of jobs. Its methods may be called from any thread. Use `open`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, state_dir: Path) -> JobStore:
        """Open the database of a folder, whose lease the caller holds, or make it.

        Jobs that were running when the server ended are queued again.

        Raises:
            CorruptFileError: it is no such database.
        """
        store = cls(open_database(state_dir / DATABASE, _SCHEMA, what="jobs"))
        store._recover()
        empty_log(store._connection)
        return store

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the database, of which this thread alone writes until the end; then commit."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def add(self, new: NewJob, *, max_waiting: int) -> tuple[Job, bool]:
        """Queue a job, and return it once it is on the disk.

        Args:
            new: the job.
            max_waiting: maximum number of jobs that wait or run.

        Returns:
            The job, and whether it is new: with the idempotency key of an earlier one, that one is
            returned.

        Raises:
            RefusedError: too many jobs wait, or the idempotency key was that of another request.
        """
        with self.transaction():
            if new.idempotency_key is not None:
                row = self._connection.execute(
                    "SELECT job_id, digest FROM jobs WHERE owner = ? AND idempotency_key = ?",
                    (new.owner, new.idempotency_key),
                ).fetchone()
                if row is not None:
                    if row["digest"] not in (None, new.digest):
                        raise key_reused()
                    return self._get(row["job_id"]), False
            if self._count("queued", "running", "cancelling") >= max_waiting:
                raise busy(f"{max_waiting} jobs wait or run; try again when one has ended")
            job_id = uuid4().hex
            self._connection.execute(
                "INSERT INTO jobs (job_id, kind, state, owner, created, request, idempotency_key, "
                "digest) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    job_id,
                    new.kind,
                    new.owner,
                    now(),
                    json.dumps(new.request),
                    new.idempotency_key,
                    new.digest,
                ),
            )
            return self._get(job_id), True

    def find(self, job_id: str) -> Job | None:
        """Return a job; None: there is none of that id."""
        with self._lock, suppress(KeyError):
            return self._get(job_id)
        return None

    def newest(self, limit: int, *, owner: str | None = None) -> list[Job]:
        """Return the newest jobs, newest first.

        Args:
            limit: maximum number of jobs.
            owner: name of the key whose jobs they are; None: all.
        """
        condition, values = ("", ()) if owner is None else ("WHERE owner = ?", (owner,))
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM jobs {condition} ORDER BY number DESC LIMIT ?",  # noqa: S608
                (*values, limit),
            ).fetchall()
        return [_job_of(row) for row in rows]

    def unfinished(self) -> list[Job]:
        """Return the jobs that wait or run, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state IN ('queued', 'running', 'cancelling') "  # noqa: S608
                "ORDER BY number"
            ).fetchall()
        return [_job_of(row) for row in rows]

    def forget_finished(self, owner: str, *, keep: int) -> None:
        """Forget the finished jobs of an owner, but for the newest ones.

        Args:
            owner: name of the key, or what else began them.
            keep: number of the newest jobs that are kept.
        """
        with self._lock:
            self._connection.execute(
                "DELETE FROM jobs WHERE owner = ?1 AND state IN ('done', 'failed', 'cancelled') "
                "AND number NOT IN "
                "(SELECT number FROM jobs WHERE owner = ?1 ORDER BY number DESC LIMIT ?2)",
                (owner, keep),
            )

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        with self._lock:
            rows = self._connection.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            found = dict(rows.fetchall())
        return {state: found.get(state, 0) for state in STATES}

    def begin_next(self) -> Job | None:
        """Mark the oldest job that waits as running, and return it; None: none waits."""
        with self._lock, self._connection:
            row = self._connection.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 "
                "WHERE number = (SELECT min(number) FROM jobs WHERE state = 'queued') "
                "RETURNING job_id",
                (now(),),
            ).fetchone()
            return None if row is None else self._get(row["job_id"])

    def end(
        self,
        job_id: str,
        state: JobState,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, str] | None = None,
    ) -> None:
        """Mark a job as ended, and forget what was asked for apart from what tells it later."""
        with self._lock, self._connection:
            job = self._get(job_id)
            request = job.request
            if state == "done" and job.kind == "purge":
                request = None  # it may name people
            elif state == "done" and request is not None:
                request = {name: value for name, value in request.items() if name != "columns"}
            self._connection.execute(
                "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ?, request = ?, "
                "leftovers = CASE WHEN ? = 'done' THEN NULL ELSE leftovers END WHERE job_id = ?",
                (
                    state,
                    now(),
                    None if result is None else json.dumps(result),
                    None if error is None else json.dumps(error),
                    None if request is None else json.dumps(request),
                    state,
                    job_id,
                ),
            )
            self._connection.execute(
                "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND number <= "
                "(SELECT max(number) FROM jobs) - ?",
                (MAX_KEPT,),
            )
            empty_log(self._connection)

    def queue_again(self, job_id: str, *, of: tuple[JobState, ...]) -> bool:
        """Queue a job again if it is in one of some states; return whether it was."""
        with self._lock, self._connection:
            done = self._connection.execute(
                "UPDATE jobs SET state = 'queued', finished = NULL, error = NULL, attempts = 0 "  # noqa: S608
                f"WHERE job_id = ? AND state IN ({', '.join('?' * len(of))})",
                (job_id, *of),
            )
            return done.rowcount == 1

    def cancel(self, job_id: str) -> JobState:
        """Cancel a job, at once if it waits; return its state then."""
        with self._lock, self._connection:
            self._connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? "
                "WHERE job_id = ? AND state = 'queued'",
                (now(), job_id),
            )
            self._connection.execute(
                "UPDATE jobs SET state = 'cancelling' WHERE job_id = ? AND state = 'running'",
                (job_id,),
            )
            return self._get(job_id).state

    def add_leftovers(self, job_id: str, names: list[str]) -> list[str]:
        """Remember names of uploads that a job will remove at its end; return all of them."""
        with self._lock, self._connection:
            row = self._connection.execute(
                "SELECT leftovers FROM jobs WHERE job_id = ?", (job_id,)
            ).fetchone()
            known = {*json.loads(row["leftovers"] or "[]"), *names}
            self._connection.execute(
                "UPDATE jobs SET leftovers = ? WHERE job_id = ?",
                (json.dumps(sorted(known)), job_id),
            )
            return sorted(known)

    def forget_requests(self) -> int:
        """Remove what finished jobs were asked, and return how many there were.

        A request may name faces, photos and, in a filter or a column, people; an error may repeat
        it. The file is rewritten, so that nothing of that is left in it.
        """
        with self._lock:
            with self._connection:
                done = self._connection.execute(
                    "UPDATE jobs SET request = NULL, digest = NULL, error = CASE WHEN error IS "
                    "NULL THEN NULL ELSE ? END WHERE state IN ('done', 'failed', 'cancelled') "
                    "AND request IS NOT NULL",
                    (json.dumps({"code": "purged", "message": "a purge has removed the message"}),),
                )
            self._connection.execute("VACUUM")
            empty_log(self._connection)
            return done.rowcount

    def _recover(self) -> None:
        with self._connection:
            self._connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? WHERE state = 'cancelling'",
                (now(),),
            )
            failed = {
                "code": "server_ended",
                "message": f"the server ended {MAX_ATTEMPTS} times during this job; ask its "
                "operator",
            }
            self._connection.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, error = ? "
                "WHERE state = 'running' AND attempts >= ?",
                (now(), json.dumps(failed), MAX_ATTEMPTS),
            )
            self._connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def _get(self, job_id: str) -> Job:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ?",  # noqa: S608
            (job_id,),
        ).fetchone()
        if row is None:
            raise KeyError(job_id)
        return _job_of(row)

    def _count(self, *states: JobState) -> int:
        marks = ", ".join("?" * len(states))
        row = self._connection.execute(
            f"SELECT count(*) FROM jobs WHERE state IN ({marks})",  # noqa: S608
            states,
        ).fetchone()
        return int(row[0])


def _job_of(row: sqlite3.Row) -> Job:
    fields = dict(row)
    for name in ("request", "result", "error"):
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    return Job(**fields)


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
