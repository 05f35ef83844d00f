"""The hook: tells an address that the operator has named of new matches of watches.

What is to be told is a row of the watches' database, one for each watch, so that it survives the
server, and takes no more room the longer the address does not answer. A request has no name,
embedding or address of a photo, and is signed:

    POST URL
    X-Facetrove-Timestamp: 1767225600
    X-Facetrove-Signature: sha256=<HMAC-SHA256 of "1767225600." and the body, in hexadecimal>

    {"watch_id": "...", "match_ids": [4, 5], "num_new": 2}

It may come twice, after a kill: `match_ids` tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import ssl
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from faces.core.errors import WrongUsageError, cause_of
from facetrove.service.metrics import Metrics
from facetrove.service.watch_store import WatchStore

LOG = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
"""Seconds that the address has to take a request and to answer."""

RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 14_400.0, 43_200.0, 86_400.0)
"""Seconds after each failure until the next attempt; after the last one, that is given up."""

AT_ONCE = 8
"""Number of requests at a time."""

POLL_SECONDS = 1.0

MIN_SECRET_BYTES, MAX_SECRET_BYTES = 16, 4_096


@dataclass(frozen=True)
class Hook:
    """An address that is told of new matches.

    Attributes:
        url: the address, http or https.
        secret: the secret by which requests are signed.
    """

    url: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str, secret_path: Path | None) -> Hook:
        """Return the hook of an address, with the secret of a file.

        Raises:
            WrongUsageError: the address or the file cannot be used.
        """
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            right = False
        if not right or not url.isascii() or not url.isprintable() or " " in url:
            raise WrongUsageError("--watch-hook is no address; give one as https://host/path")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise WrongUsageError(
                "--watch-hook has a user, a password or a fragment in it; leave these out: "
                "requests are signed by the secret of --watch-hook-secret"
            )
        if secret_path is None:
            raise WrongUsageError("--watch-hook needs --watch-hook-secret FILE, to sign by")
        return cls(url, _secret_of(secret_path))

    def headers(self, body: bytes, timestamp: int) -> dict[str, str]:
        """Return the headers of a request, with its signature.

        Args:
            body: the body.
            timestamp: time in seconds since 1970.
        """
        signed = f"{timestamp}.".encode() + body
        signature = hmac.new(self.secret, signed, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "facetrove",
            "X-Facetrove-Timestamp": str(timestamp),
            "X-Facetrove-Signature": f"sha256={signature}",
        }


def _secret_of(path: Path) -> bytes:
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise WrongUsageError(f"others may read {path}; run `chmod 600 {path}`")
        with path.open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 1).strip()
    except OSError as error:
        raise WrongUsageError(
            f"the secret {path} cannot be read ({cause_of(error)}); make one with `openssl rand "
            f"-hex 32 > {path}`"
        ) from error
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise WrongUsageError(
            f"the secret in {path} has {len(secret)} bytes instead of {MIN_SECRET_BYTES} to "
            f"{MAX_SECRET_BYTES:,}; make one with `openssl rand -hex 32 > {path}`"
        )
    return secret


class _Delivery(NamedTuple):
    """What a watch's address is to be told: its matches from `first` to `last`."""

    watch: int
    watch_id: str
    first: int
    last: int
    attempts: int


class HookSender:
    """Sends what is to be told, as long as `run` does.

    Args:
        store: the watches.
        hook: the address.
        metrics: measures.
    """

    def __init__(self, store: WatchStore, hook: Hook, metrics: Metrics) -> None:
        self._store = store
        self._hook = hook
        self._metrics = metrics
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Send now what is new."""
        self._wake.set()

    async def run(self) -> None:
        """Send until this is cancelled; what is left then is sent the next time."""
        async with httpx.AsyncClient(
            timeout=ANSWER_SECONDS,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
        ) as client:
            while True:
                self._wake.clear()
                try:
                    due = await asyncio.to_thread(self._due)
                    await asyncio.gather(*(self._tell(client, one) for one in due))
                except Exception as error:
                    LOG.error("the watch hook failed: %s", type(error).__name__)
                    due = []
                if not due:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)

    async def _tell(self, client: httpx.AsyncClient, delivery: _Delivery) -> None:
        match_ids = await asyncio.to_thread(self._match_ids, delivery)
        answer = "nothing left" if not match_ids else await self._send(client, delivery, match_ids)
        if answer is None:
            self._metrics.hook_requests.labels("delivered").inc()
        elif match_ids:
            outcome = "failed" if delivery.attempts < len(RETRY_SECONDS) else "given up"
            self._metrics.hook_requests.labels(outcome).inc()
            LOG.error("the watch hook was not delivered (%s; %s)", answer, outcome)
            if outcome == "failed":
                await asyncio.to_thread(self._put_off, delivery)
                return
        await asyncio.to_thread(self._done, delivery)

    async def _send(
        self, client: httpx.AsyncClient, delivery: _Delivery, match_ids: list[int]
    ) -> str | None:
        """Send one request, and return why it was not taken; None: it was."""
        told = {
            "watch_id": delivery.watch_id,
            "match_ids": match_ids,
            "num_new": len(match_ids),
        }
        body = json.dumps(told).encode()
        headers = self._hook.headers(body, int(time.time()))
        try:
            # Of the answer nothing but the status is read.
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                client.stream("POST", self._hook.url, content=body, headers=headers) as answer,
            ):
                return None if answer.is_success else f"status {answer.status_code}"
        except (httpx.HTTPError, OSError, ValueError) as error:
            return type(error).__name__

    def _due(self) -> list[_Delivery]:
        now = time.time()
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT watch, watch_id, first, last, attempts FROM deliveries JOIN watches ON "
                "watch = number WHERE due NOT BETWEEN ? AND ? ORDER BY due LIMIT ?",
                (now, now + RETRY_SECONDS[-1], AT_ONCE),  # later: the clock was put back
            ).fetchall()
        return [_Delivery(*row) for row in rows]

    def _match_ids(self, delivery: _Delivery) -> list[int]:
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT match_id FROM matches WHERE watch = ? AND match_id BETWEEN ? AND ?",
                (delivery.watch, delivery.first, delivery.last),
            ).fetchall()
        return [match_id for (match_id,) in rows]

    def _put_off(self, delivery: _Delivery) -> None:
        due = time.time() + RETRY_SECONDS[delivery.attempts]
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE watch = ?",
                (due, delivery.watch),
            )

    def _done(self, delivery: _Delivery) -> None:
        """Forget what was told, unless there has come more."""
        with self._store.writing() as connection:
            connection.execute(
                "DELETE FROM deliveries WHERE watch = ? AND last <= ?",
                (delivery.watch, delivery.last),
            )
            connection.execute(
                "UPDATE deliveries SET first = ?, attempts = 0, due = 0 WHERE watch = ?",
                (delivery.last + 1, delivery.watch),
            )
