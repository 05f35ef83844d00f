"""The idempotency keys of decisions about people, in the database of jobs.

A decision is a file of the people book. Its id is chosen, and is on the disk beside the key, before
it is written: a server that is killed in between finds by the id whether it was.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faces.dataset.people_decisions import new_id
from facetrove.service.jobs import MAX_KEPT, JobStore
from facetrove.service.refusals import key_reused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decision_keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    digest TEXT,
    UNIQUE (owner, idempotency_key)
)
"""


class DecisionKeys:
    """The idempotency keys of decisions. Its methods may be called from any thread.

    Args:
        store: the jobs, in whose database they are.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._busy = threading.Lock()
        with store.transaction() as database:
            database.execute(_SCHEMA)

    @contextmanager
    def held(self, owner: str, idempotency_key: str | None, asked: Any) -> Iterator[str]:
        """Yield the id that the decision of a request has or gets; "" for one without a key.

        Requests with keys are worked on one by one, so that the same one that is sent twice at once
        is done once.

        Args:
            owner: name of the client's key; "": none is needed.
            idempotency_key: the client's name for this request; None: it has none.
            asked: what is asked, as a document.

        Raises:
            RefusedError: the idempotency key was that of another request.
        """
        if idempotency_key is None:
            yield ""
            return
        text = json.dumps(asked, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._busy:
            yield self._id_of(owner, idempotency_key, digest)

    def _id_of(self, owner: str, idempotency_key: str, digest: str) -> str:
        with self._store.transaction() as database:
            place = (owner, idempotency_key)
            job = database.execute(
                "SELECT 1 FROM jobs WHERE owner = ? AND idempotency_key = ?", place
            ).fetchone()
            found = database.execute(
                "SELECT decision_id, digest FROM decision_keys WHERE owner = ? AND "
                "idempotency_key = ?",
                place,
            ).fetchone()
            if job is not None or (found is not None and found["digest"] not in (None, digest)):
                raise key_reused()
            if found is not None:
                return str(found["decision_id"])
            decision_id = new_id()
            database.execute(
                "INSERT INTO decision_keys (owner, idempotency_key, decision_id, digest) "
                "VALUES (?, ?, ?, ?)",
                (*place, decision_id, digest),
            )
            database.execute(
                "DELETE FROM decision_keys WHERE number <= "
                "(SELECT max(number) FROM decision_keys) - ?",
                (MAX_KEPT,),
            )
            return decision_id

    def require_free(self, owner: str, idempotency_key: str | None) -> None:
        """Refuse a job's idempotency key that was that of a decision.

        Raises:
            RefusedError: it was.
        """
        with self._store.transaction() as database:
            found = database.execute(
                "SELECT 1 FROM decision_keys WHERE owner = ? AND idempotency_key = ?",
                (owner, idempotency_key),
            ).fetchone()
        if found is not None:
            raise key_reused()

    def forget(self) -> None:
        """Remove the digests of what was asked, which may be guessed from, as they have names."""
        with self._store.transaction() as database:
            database.execute("UPDATE decision_keys SET digest = NULL")
