"""The hook of watches, against real HTTP servers: slow, failing, redirecting ones too."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from faces.core.errors import WrongUsageError
from facetrove.service import hooks
from facetrove.service.hooks import Hook
from facetrove.service.options import ServiceOptions
from facetrove.service.service import Service
from tests.support.service import eventually, serving, small_index
from tests.support.small_collections import Collection, face_id_of, files_with
from tests.support.watched import Twin, arrive, calibrate, matches_of, watch_of

SECRET = "0123456789abcdef" * 2


class Receiver(ThreadingHTTPServer):
    """A server that is told of matches.

    Attributes:
        received: headers and bodies of all requests.
        answer: how the next requests are answered: a status, or a function that does it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answer: int | Callable[[BaseHTTPRequestHandler], None] = 204

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/told"

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((headers, body))
        if not isinstance(self.server.answer, int):
            self.server.answer(self)
            return
        self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def own(tmp_path: Path) -> tuple[Collection, Path]:
    collection, index = small_index(tmp_path, 20)
    calibrate(index)
    return collection, index


@pytest.fixture
def options(receiver: Receiver, secret: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(hooks, "RETRY_SECONDS", (0.05,) * 4)
    return {"watch_hook": receiver.url, "watch_hook_secret": secret, "refresh_seconds": 0.02}


@pytest.mark.slow
def test_the_hook_is_told_by_a_signed_request_that_names_nobody(
    own: tuple[Collection, Path], receiver: Receiver, options: dict[str, Any]
) -> None:
    with serving(own[1], **options) as client:
        watch_id = watch_of(client, 5)
        arrive(*own, one=Twin(100, like=5, person="Ann"), two=Twin(101, like=5))
        eventually(lambda: receiver.received)
    ((headers, body),) = receiver.received
    assert json.loads(body) == {"watch_id": watch_id, "match_ids": [1, 2], "num_new": 2}
    signed = headers["x-facetrove-timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-facetrove-signature"] == f"sha256={expected}"
    assert abs(int(headers["x-facetrove-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json" and "authorization" not in headers


def _redirect(place: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(307)
        request.send_header("Location", place)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def _endless(request: BaseHTTPRequestHandler) -> None:
    """Answer with a body that never ends, which is not read."""
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"x" * 65_536)
    except OSError:
        pass


def _nonsense(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x00nonsense\r\n\r\n")
    request.close_connection = True


@pytest.mark.lasting
@pytest.mark.slow
def test_failed_requests_are_sent_again_and_redirects_not_followed(
    own: tuple[Collection, Path], receiver: Receiver, options: dict[str, Any]
) -> None:
    with Receiver() as elsewhere, serving(own[1], **options) as client:
        thread = threading.Thread(target=elsewhere.serve_forever)
        thread.start()
        watch_of(client, 5)
        for number, answer in enumerate((_redirect(elsewhere.url), 500, _nonsense)):
            receiver.received.clear()
            receiver.answer = answer
            arrive(*own, **{f"n{number}": Twin(100 + number, like=5)})
            eventually(lambda: len(receiver.received) >= 2)
            receiver.answer = 200
            count = len(receiver.received)
            eventually(lambda: len(receiver.received) > count)  # noqa: B023
            assert {tuple(told["match_ids"]) for told in receiver.told} == {(number + 1,)}
            eventually(lambda: not _waiting(own[1]))
        receiver.answer = _endless
        arrive(*own, last=Twin(200, like=5))
        eventually(lambda: receiver.told[-1]["match_ids"] == [4] and not _waiting(own[1]))
        assert elsewhere.received == []
        elsewhere.shutdown()
        thread.join()


def _waiting(index: Path) -> int:
    database = index.with_name(f"{index.name}.service") / "watches.sqlite"
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    connection.close()
    return int(count)


@pytest.mark.slow
def test_a_slow_address_is_given_up_after_a_time_and_what_waits_is_one_request(
    own: tuple[Collection, Path],
    receiver: Receiver,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hooks, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(hooks, "RETRY_SECONDS", (0.5, 100.0))
    receiver.answer = lambda _: time.sleep(1.5)
    with serving(own[1], **options) as client:
        watch_id = watch_of(client, 5)
        for number in range(3):
            arrive(*own, **{f"n{number}": Twin(100 + number, like=5)})
            eventually(lambda: len(matches_of(client, watch_id)) == number + 1)  # noqa: B023
        eventually(lambda: len(receiver.received) >= 2)
        assert _waiting(own[1]) == 1
        assert client.get("/livez").elapsed.total_seconds() < 5
    receiver.received.clear()
    receiver.answer = 200
    monkeypatch.setattr(hooks, "RETRY_SECONDS", (0.1, 0.2))  # what waits for longer is due
    with serving(own[1], **options):
        eventually(lambda: receiver.received and not _waiting(own[1]))
    assert receiver.told[-1] == {"watch_id": watch_id, "match_ids": [1, 2, 3], "num_new": 3}


@pytest.mark.lasting
@pytest.mark.slow
def test_a_request_is_given_up_after_its_last_attempt_and_the_feed_keeps_the_matches(
    own: tuple[Collection, Path], receiver: Receiver, options: dict[str, Any]
) -> None:
    receiver.answer = 503
    with serving(own[1], **options) as client:
        watch_id = watch_of(client, 5)
        arrive(*own, one=Twin(100, like=5))
        eventually(lambda: len(receiver.received) == 5)
        eventually(lambda: not _waiting(own[1]))
        (match,) = matches_of(client, watch_id)
        assert match["face_id"] == face_id_of(100, 0)
        measures = client.get("/metrics").text
        assert 'facetrove_hook_requests_total{outcome="given up"} 1.0' in measures
        receiver.answer = 200
        arrive(*own, two=Twin(101, like=5))
        eventually(lambda: len(receiver.received) == 6)
        assert receiver.told[-1]["match_ids"] == [2]


@pytest.mark.slow
def test_what_was_deleted_is_not_told(
    own: tuple[Collection, Path], receiver: Receiver, options: dict[str, Any]
) -> None:
    receiver.answer = 503
    with serving(own[1], **options | {"watch_hook": "http://127.0.0.1:1/"}) as client:
        watch_id = watch_of(client, 5)
        arrive(*own, one=Twin(100, like=5))
        eventually(lambda: matches_of(client, watch_id))
        client.delete(f"/v1/watches/{watch_id}")
        assert not _waiting(own[1])
    state = own[1].with_name("faces.index.service")
    assert files_with(state, [watch_id.encode(), SECRET.encode(), receiver.url.encode()]) == {}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/", "no address"),
        ("https://", "no address"),
        ("//host/", "no address"),
        ("http://[::1", "no address"),
        ("http://host:99999/", "no address"),
        ("http://host/\nX: 1", "no address"),
        ("http://ann:word@host/", "leave these out"),
        ("http://host/#part", "leave these out"),
    ],
)
def test_an_address_that_is_none_is_refused_at_the_start(
    own: tuple[Collection, Path], secret: Path, url: str, says: str
) -> None:
    with pytest.raises(WrongUsageError, match=says):
        Service.open(ServiceOptions(own[1], watch_hook=url, watch_hook_secret=secret))


def test_a_secret_that_others_may_read_or_that_is_short_is_refused(
    secret: Path, tmp_path: Path
) -> None:
    url = "https://host/"
    assert Hook.of(url, secret).secret == SECRET.encode() and SECRET not in repr(
        Hook.of(url, secret)
    )
    with pytest.raises(WrongUsageError, match="--watch-hook-secret"):
        Hook.of(url, None)
    with pytest.raises(WrongUsageError, match="openssl rand"):
        Hook.of(url, tmp_path / "missing")
    secret.chmod(0o640)
    with pytest.raises(WrongUsageError, match="chmod 600"):
        Hook.of(url, secret)
    secret.chmod(0o600)
    secret.write_text("short")
    with pytest.raises(WrongUsageError, match="5 bytes instead of 16"):
        Hook.of(url, secret)
