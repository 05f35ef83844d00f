"""The guard: what is checked of every request before the application sees it, and noted after.

It is plain ASGI, since it wraps every request. In this order: the Host and Origin headers, the key,
the client's rate; then, as the body arrives, its size and time. The scope that an operation needs
is checked by the operation itself (`access.needs`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from faces.core.errors import FaceTroveError
from facetrove.service.admission import Admission
from facetrove.service.audit import AuditEntry, AuditLog
from facetrove.service.keys import Key, KeyRing
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.origins import Origins
from facetrove.service.refusals import SERVER_ERROR, HiddenPaths, RefusedError, busy, too_large

LOG = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/docs"})
"""Paths that need no key: they tell nothing about the faces."""

OPEN_PREFIX = "/page/"
"""Beginning of the paths of the page's files, which need none either."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
"""Headers of every answer, unless the operation sets them."""

PLAIN_POLICY = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Content security policy of every answer that sets none of its own: nothing may be loaded."""


@dataclass
class Asked:
    """What is known of a request; operations find it as `request.state.asked`.

    Attributes:
        request_id: id of the request.
        key: the client's key; None where none is needed.
        counts: numbers of what the request was about, for the audit log.
        job: id of the job that it began.
        people: numbers of the people that it was about.
        decision: id of the decision that it made.
        has_key: whether the service needs keys at all.
        is_stream: whether the answer goes on as long as the client listens: it then is not work.
    """

    request_id: str
    key: Key | None = None
    has_key: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    job: str | None = None
    people: tuple[int, ...] = ()
    decision: str | None = None
    is_stream: bool = False

    @property
    def owner(self) -> str:
        """The name of the key, or "" where none is needed."""
        return self.key.name if self.key is not None else ""


@dataclass
class Guard:
    """The outermost application, which wraps the one that answers.

    Attributes:
        app: the application that answers.
        limits: limits on requests.
        admission: the room that there is for requests.
        origins: names by which the service may be called.
        keys: the keys; None: none are needed.
        metrics: measures.
        audit: the audit log; None: there is none.
        hidden: paths that no answer names.
        direct: applications that answer single operations, by method and path: the framework's
            way to an operation costs as much as a search.
    """

    app: App
    limits: ServiceLimits
    admission: Admission
    origins: Origins
    keys: KeyRing | None
    metrics: Metrics
    audit: AuditLog | None
    hidden: HiddenPaths
    direct: Mapping[tuple[str, str], App] = field(default_factory=dict)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is no request, such as the start of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Asked(uuid4().hex, has_key=self.keys is not None)
        scope.setdefault("state", {})["asked"] = asked
        await _Exchange(self, scope, receive, send, asked).run()

    def admit(self, scope: MutableMapping[str, Any], asked: Asked) -> None:
        """Check a request's headers.

        Raises:
            RefusedError: it is refused.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.origins.require(headers, scope["method"])
        path: str = scope["path"]
        if self.keys is not None and not (path in OPEN_PATHS or path.startswith(OPEN_PREFIX)):
            asked.key = self._key_of(headers)
        client = asked.owner or (scope["client"] or ("",))[0]
        self.admission.rates.take(client)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.max_request_bytes:
            raise self.body_too_large()

    def body_too_large(self) -> RefusedError:
        """Return the refusal of a body that is too large."""
        return too_large(
            "max_request_bytes",
            f"the request has more than {self.limits.max_request_bytes:,} bytes; send less at a "
            "time",
        )

    def _key_of(self, headers: dict[bytes, bytes]) -> Key:
        scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        assert self.keys is not None, "the caller has checked that"
        try:
            found = self.keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        except (FaceTroveError, OSError) as error:
            LOG.error("the keys cannot be read: %s", type(error).__name__)
            raise busy("the server cannot read its keys; tell its operator") from error
        if found is None:
            raise RefusedError(
                401,
                "no_key",
                "send a valid key: `Authorization: Bearer KEY`",
                headers={"WWW-Authenticate": 'Bearer realm="facetrove"'},
            )
        return found


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        guard: Guard,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        asked: Asked,
    ) -> None:
        self.guard = guard
        self.scope = scope
        self.asked = asked
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._deadline = time.monotonic() + guard.limits.request_timeout
        self._num_bytes = 0
        self._is_working = False
        self._has_body = False
        self._status = 0

    async def run(self) -> None:
        """Have the request answered, whatever happens, and note it."""
        try:
            await self._answer()
        finally:
            self.guard.admission.num_bytes -= self._num_bytes
            self._end_work()
            self._note()

    async def _answer(self) -> None:
        try:
            self.guard.admit(self.scope, self.asked)
            if self.scope["method"] in ("GET", "HEAD"):
                self._begin_work()
            place = (self.scope["method"], self.scope["path"])
            app = self.guard.direct.get(place, self.guard.app)
            await app(self.scope, self.receive, self.send)
        except RefusedError as error:
            await self._refuse(error)
        except TimeoutError:  # without a whole answer, the server ends the connection
            LOG.info("a client took too long to take its answer (%s)", self.asked.request_id)
        except Exception as error:
            log_failure(self.asked.request_id, error)
            await self._refuse(RefusedError(500, "server_error", SERVER_ERROR))

    async def receive(self) -> Message:
        """Return the next piece of the body, within the limits of size and time."""
        if self._has_body:
            return await self._receive()  # which waits until the client is gone
        guard = self.guard
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError as error:
            raise RefusedError(
                408,
                "over_request_timeout",
                f"the request did not arrive in {guard.limits.request_timeout:g} seconds; send "
                "less at a time",
            ) from error
        if message["type"] != "http.request":
            return message
        size = len(message.get("body", b""))
        guard.admission.hold(size)
        self._num_bytes += size
        if self._num_bytes > guard.limits.max_request_bytes:
            raise guard.body_too_large()
        if not message.get("more_body", False):
            self._has_body = True
            self._begin_work()
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._write_audit()  # before the answer: what was answered is in the log
            if self.asked.is_stream:
                self._end_work()
            message["headers"] = self._with_headers(message.get("headers", ()))
        async with asyncio.timeout(self.guard.limits.answer_timeout):
            await self._send(message)

    def _with_headers(self, headers: Any) -> list[tuple[bytes, bytes]]:
        found = [(name.lower(), value) for name, value in headers]
        names = {name for name, _ in found}
        found += [pair for pair in SECURITY_HEADERS if pair[0] not in names]
        if b"content-security-policy" not in names:
            found.append((b"content-security-policy", PLAIN_POLICY))
        found.append((b"x-request-id", self.asked.request_id.encode()))
        if not self._has_body and self.scope["method"] not in ("GET", "HEAD"):
            found.append((b"connection", b"close"))  # what is left of the body is not read
        return found

    def _begin_work(self) -> None:
        if not self._is_working:
            self.guard.admission.begin_work()
            self._is_working = True

    def _end_work(self) -> None:
        if self._is_working:
            self.guard.admission.num_working -= 1
            self._is_working = False

    async def _refuse(self, error: RefusedError) -> None:
        if self._status:
            return  # an answer has begun: the server ends the connection
        content = json.dumps(error.to_json(self.asked.request_id)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    def _note(self) -> None:
        metrics, operation = self.guard.metrics, self._operation()
        metrics.requests.labels(operation, str(self._status)).inc()
        metrics.seconds.labels(operation).observe(time.perf_counter() - self._started)
        if not self._status:
            self._write_audit()

    def _operation(self) -> str:
        return getattr(self.scope.get("route"), "operation_id", None) or "unknown"

    def _write_audit(self) -> None:
        audit, asked = self.guard.audit, self.asked
        if audit is not None and self.scope["path"].startswith("/v1/"):
            audit.write(
                AuditEntry(
                    asked.request_id,
                    self._operation(),
                    asked.owner or None,
                    self._status,
                    1000 * (time.perf_counter() - self._started),
                    asked.counts,
                    asked.job,
                    asked.people,
                    asked.decision,
                )
            )


def log_failure(request_id: str, error: BaseException) -> None:
    """Log where an unexpected error happened, without its message, which may name a person."""
    frames = traceback.extract_tb(error.__traceback__)
    where = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in frames[-6:])
    LOG.error("request %s failed: %s at %s", request_id, type(error).__name__, where)
