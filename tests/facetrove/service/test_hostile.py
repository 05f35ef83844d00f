"""A hostile client: whatever it sends, it is refused, and the next request is answered."""

from __future__ import annotations

import io
import json
import select
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from faces.core.settings import PhotoLimits
from facetrove.service import connections
from facetrove.service.options import ServiceLimits
from tests.support.service import error_of, eventually, index_of_contract, serving
from tests.support.small_collections import DIMENSION, Collection, face_id_of
from tests.support.vectors import unit_vectors

TIGHT = ServiceLimits(
    photo=PhotoLimits(
        max_bytes=300_000, max_pixels=1_000_000, max_memory=100_000_000, photo_timeout=1.0
    ),
    max_request_bytes=1_000_000,
    max_buffered_bytes=1_500_000,
    max_photos=3,
    max_k=5,
    max_embeddings=50,
    max_matches=100,
    max_connections=20,
    request_timeout=1.0,
    answer_timeout=1.0,
)


@pytest.fixture(scope="module")
def tight(small: tuple[Collection, Path], folder: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEADER_SECONDS", 1.0)
        with serving(small[1], limits=TIGHT, state=folder / "tight") as client:
            yield client


@pytest.fixture(autouse=True)
def still_answers(tight: httpx.Client) -> Iterator[None]:
    yield
    found = tight.get(f"/v1/faces/{face_id_of(1, 1)}/similar", params={"k": 2})
    assert len(found.json()["probes"][0]["matches"]) == 2


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=30)


def answer_to(client: httpx.Client, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send raw bytes, and return all that the server sends until it ends the connection."""
    with connected(client) as raw:
        for piece in pieces:
            time.sleep(pause)
            try:
                raw.sendall(piece)
            except OSError:
                break
        found = b""
        try:
            while piece := raw.recv(65536):
                found += piece
        except ConnectionError:
            pass
        return found


def picture(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    sink = io.BytesIO()
    PIL.Image.new(mode, size).save(sink, kind, **options)
    return sink.getvalue()


def png_bomb(side: int) -> bytes:
    """Return a small PNG that says it is `side` pixels wide and high."""
    whole = bytearray(picture("PNG", (8, 8)))
    whole[16:24] = side.to_bytes(4, "big") * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    return bytes(whole)


def noise_jpeg() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    sink = io.BytesIO()
    PIL.Image.fromarray(pixels).save(sink, "JPEG", quality=90)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png_bomb(60_000), (413, "over_photo_limits")),
        (picture("PNG", (3000, 3000), "1"), (413, "over_photo_limits")),
        (noise_jpeg(), (413, "over_photo_limits")),
        (picture("JPEG", (400, 400))[:300], (422, "unusable_photo")),
        (b"\xff\xd8\xff" + bytes(1000), (422, "unusable_photo")),
        (b"GIF89a" + bytes(100), (422, "unusable_photo")),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", (422, "unusable_photo")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", (422, "unusable_photo")),
    ],
)
def test_bombs_and_damaged_photos_are_refused(
    photo_client: httpx.Client, content: bytes, expected: tuple[int, str]
) -> None:
    for path in ("/v1/search", "/v1/detect", "/v1/embed"):
        assert error_of(photo_client.post(path, files={"photo": content})) == expected


@pytest.fixture(scope="module")
def photo_client(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Iterator[httpx.Client]:
    """A service whose index was made by the real networks, of one generated face."""
    folder = tmp_path_factory.mktemp("hostile")
    with serving(index_of_contract(folder, pipeline.contract), limits=TIGHT) as client:
        yield client


@pytest.mark.parametrize(
    ("request_of", "expected"),
    [
        ({"content": b"x" * 1_000_001}, (413, "over_max_request_bytes")),
        ({"content": iter([b"x" * 600_000] * 2)}, (413, "over_max_request_bytes")),
        ({"json": {"face_id": "ab"}, "params": {"k": 6}}, (404, "no_such_face")),
        ({"json": {"face_id": face_id_of(1, 1)}, "params": {"k": 6}}, (413, "over_max_k")),
        (
            {"json": {"embeddings": unit_vectors(51, DIMENSION, seed=1).tolist()}},
            (413, "over_max_embeddings"),
        ),
        (
            {"json": {"embeddings": unit_vectors(30, DIMENSION, seed=1).tolist()}},
            (413, "over_max_matches"),
        ),
        ({"files": [("photo", b"x")] * 4}, (413, "over_max_photos")),
        ({"files": [("photo", b"x")] * 400}, (413, "over_max_photos")),
    ],
)
def test_what_is_over_a_limit_is_refused_with_its_name(
    tight: httpx.Client, request_of: dict[str, Any], expected: tuple[int, str]
) -> None:
    headers = {"Content-Type": "application/json"} if "content" in request_of else {}
    assert error_of(tight.post("/v1/search", headers=headers, **request_of)) == expected


def test_a_slow_body_and_slow_headers_are_given_up(tight: httpx.Client) -> None:
    head = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    kind = b"Content-Type: application/json\r\n\r\n"
    answer = answer_to(tight, head, kind, *[b"x"] * 3, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408") and b"over_request_timeout" in answer
    assert answer_to(tight, head, *[b"X-A: b\r\n"] * 20, pause=0.1) == b""
    assert answer_to(tight, b"") == b""


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x00\xf1\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 100 + b"nonsense\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%00/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/index HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: upgrade, close\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(tight: httpx.Client, raw: bytes) -> None:
    answer = answer_to(tight, raw)
    assert not answer or answer.split(b" ")[1] in (b"200", b"400", b"404", b"408", b"415")
    assert b"Traceback" not in answer and b"root:" not in answer


def test_endless_headers_are_given_up(tight: httpx.Client) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(100))
    assert answer_to(tight, b"GET /v1/index HTTP/1.1\r\nHost: localhost\r\n", lines, b"\r\n") == b""
    assert answer_to(tight, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_idle_connections_do_not_keep_others_out(tight: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(100):  # five times as many as may be open
            stack.enter_context(connected(tight))
        assert tight.get("/livez").status_code == 200
        tight.get("/v1/index").raise_for_status()


def test_unfinished_bodies_do_not_keep_others_out(tight: httpx.Client) -> None:
    head = (
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connected(tight)).sendall(head + b"x" * 60_000)
        assert tight.get("/v1/index").status_code == 200


def test_more_bytes_than_the_server_holds_at_a_time_are_refused(
    small: tuple[Collection, Path],
) -> None:
    head = (
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    limits = ServiceLimits(max_buffered_bytes=1_500_000)
    with (
        serving(small[1], limits=limits, read_only=True) as client,
        connected(client) as first,
        connected(client) as second,
    ):
        for raw in (first, second):  # neither of which ends; one of them is too much
            raw.sendall(head + b"x" * 899_000)
        told, _, _ = select.select([first, second], [], [], 30)
        assert len(told) == 1
        answer = told[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 503") and b"receiving too much" in answer


def test_requests_beyond_the_limits_of_rate_and_number_are_told_to_wait(
    small: tuple[Collection, Path], folder: Path
) -> None:
    limits = ServiceLimits(max_rate=5, max_concurrent=1)
    with serving(small[1], limits=limits, state=folder / "rate") as client:
        answers = [client.get("/livez") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and error_of(refused[0]) == (429, "over_max_rate")
        assert refused[0].headers["retry-after"] == "1"
        eventually(lambda: client.get("/livez").status_code == 200)


def test_a_client_that_takes_no_answer_is_given_up(tight: httpx.Client) -> None:
    probes = unit_vectors(20, DIMENSION, seed=1).tolist()
    body = json.dumps({"embeddings": probes}).encode()
    head = b"POST /v1/search?k=5 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connected(tight) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        thread = threading.Thread(target=lambda: _send_quietly(raw, one * 400), daemon=True)
        thread.start()
        assert tight.get("/v1/index").status_code == 200
        thread.join(20)
        assert not thread.is_alive()


def _send_quietly(raw: socket.socket, content: bytes) -> None:
    with suppress(OSError):
        raw.sendall(content)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/faces/../../etc/passwd",
        "/v1/faces/..%2f..%2fetc%2fpasswd/thumbnail",
        "/v1/faces/%00/thumbnail",
        "/v1/photos//etc/passwd/image",
        "/v1/jobs/../index",
        "//v1/index",
        "/v1/index/",
    ],
)
def test_paths_lead_nowhere_else(tight: httpx.Client, path: str) -> None:
    raw = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = answer_to(tight, raw)
    assert answer.split(b" ")[1] in (b"404", b"422"), answer
    assert b"root:" not in answer


def test_silent_connections_are_closed_before_those_that_are_used(tight: httpx.Client) -> None:
    """A client that keeps its connection keeps it, however many say nothing."""
    with connected(tight) as used, ExitStack() as stack:
        request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        used.sendall(request)
        assert used.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(60):
            stack.enter_context(connected(tight))
        tight.get("/livez").raise_for_status()
        used.sendall(request)
        assert used.recv(65536).startswith(b"HTTP/1.1 200")
