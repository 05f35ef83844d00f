from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faces.core.errors import WrongUsageError
from faces.core.settings import Access
from faces.photos.access import (
    allowing_sources,
    has_credentials,
    is_public,
    redacted,
    require_allowed,
)
from faces.photos.limited import ReadingRules, read_limited
from faces.photos.listing import list_photos
from faces.photos.rejection import PhotoRejectedError, RejectReason
from tests.support.command import ROOT

SECRETS = [
    "ftp://user:s3cret@host/a.jpg",
    "https://s3cret@host/a.jpg",
    "https://user%3As3cret@host/a.jpg",
    "https://host/a.jpg?token=s3cret",
    "https://host/a.jpg?x=1&X-Amz-Signature=s3cret",
    "https://host/a.jpg?sv=1&sig=s3cret",
    "https://host/a.jpg?api_key=s3cret",
    "https://host/a.jpg#access_token=s3cret",
    "s3://key:s3cret@bucket/a.jpg",
    "az://container:s3cret@account/a.jpg",
    "tar://a.jpg::https://user:s3cret@host/a.tar",
    "zip://a.jpg::https://host/a.zip?sig=s3cret",
]

NO_SECRETS = [
    "https://host/a.jpg",
    "https://host/@ann/a.jpg?size=3&page=2",
    "abfs://container@account.dfs.core.windows.net/a.jpg",
    "sftp://ann@host/a.jpg",
    "s3://bucket/key=1/token=2/a.jpg",
    "tar://ann:b@c.jpg::/archive.tar",
    "zip://a.jpg?token=1::/archive.zip",
]


@pytest.mark.parametrize("url", SECRETS)
def test_addresses_with_credentials_are_refused_and_never_shown(tmp_path: Path, url: str) -> None:
    assert has_credentials(url)
    assert "s3cret" not in redacted(url)
    assert "host" in redacted(url) or "bucket" in redacted(url) or "account" in redacted(url)
    anything = Access(("ftp", "az", "s3"))
    (tmp_path / "list.txt").write_text(f"{url}\n")
    for refuse in (
        lambda: require_allowed(url, anything),
        lambda: list_photos([url], access=anything),
        lambda: list_photos([tmp_path / "list.txt"], access=anything),
    ):
        with pytest.raises(WrongUsageError, match="has credentials in it") as caught:
            refuse()
        assert "s3cret" not in str(caught.value)
    with pytest.raises(PhotoRejectedError) as rejected:
        read_limited(url, ReadingRules(access=anything))
    assert "s3cret" not in str(rejected.value)


@pytest.mark.parametrize("url", NO_SECRETS)
def test_other_addresses_have_no_credentials(url: str) -> None:
    assert not has_credentials(url)
    assert redacted(url) == url


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        *((f"{scheme}://host/a.jpg", True) for scheme in ("s3", "gs", "az", "https")),
        *((f"{scheme}://host/a.jpg", False) for scheme in ("http", "ftp", "webhdfs", "jupyter")),
        ("tar://a.jpg::https://host/a.tar", True),
        ("tar://a.jpg::/a.tar", True),
        ("tar://a.jpg::http://host/a.tar", False),
        ("zip://tar://a.jpg::ftp://host/a.zip", False),
        ("local:///etc/passwd", False),
        ("reference://a.jpg", False),
    ],
)
def test_schemes_are_allowed_by_name(url: str, is_allowed: bool) -> None:
    if is_allowed:
        require_allowed(url, Access())
        return
    with pytest.raises(WrongUsageError, match=r"not allowed|is a local file"):
        require_allowed(url, Access())


def test_a_scheme_may_be_allowed_but_local_files_have_paths() -> None:
    require_allowed("ftp://host/a.jpg", Access(("ftp",)))
    with pytest.raises(WrongUsageError, match="name its path"):
        require_allowed("local:///a.jpg", Access(("local",)))


def test_what_a_user_names_is_allowed() -> None:
    access = allowing_sources(
        Access(("sftp",)), ["http://intranet:80/x", "/a.jpg", Path("b"), "zip://::ftp://nas/a.zip"]
    )
    assert access == Access(("sftp", "http", "ftp"), ("intranet", "nas"))


@pytest.mark.parametrize(
    ("host", "public"),
    [
        *(("8.8.8.8", True), ("2606:4700::1111", True)),
        *((host, False) for host in ("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1")),
        *((host, False) for host in ("169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1")),
        *((host, False) for host in ("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1")),
        *((host, False) for host in ("64:ff9b::7f00:1", "2002:7f00:1::", "localhost", "")),
    ],
)
def test_private_and_local_addresses_are_not_public(host: str, public: bool) -> None:
    assert is_public(host) is public


class _Redirecting(http.server.BaseHTTPRequestHandler):
    """Answers each request by a redirection to the other server."""

    asked: list[str] = []  # noqa: RUF012
    to = ""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.to else 200)
        self.send_header("Location", self.to)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[int]:
    _Redirecting.asked.clear()
    server = http.server.HTTPServer(("127.0.0.1", 0), _Redirecting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(url: str, allowed: str) -> str:
    """Open an address under the rule in a process of its own, which the rule stays in."""
    program = (
        "import sys, urllib.request\n"
        "from faces.core.settings import Access\n"
        "from faces.photos.access import connecting_only_to\n"
        "with connecting_only_to(Access((), tuple(sys.argv[2:]))):\n"
        "    try: print(urllib.request.urlopen(sys.argv[1], timeout=5).read())\n"
        "    except OSError as error: print(error)\n"
    )
    arguments = [sys.executable, "-c", program, url, *([allowed] if allowed else [])]
    return subprocess.run(
        arguments, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    ).stdout


def test_connections_to_this_machine_are_refused_whatever_its_name(server: int) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"):
        assert "private or local network" in fetch(f"http://{host}:{server}/", "")
    assert not _Redirecting.asked
    assert "ok" in fetch(f"http://127.0.0.1:{server}/", "127.0.0.1")
    assert "ok" in fetch(f"http://localhost:{server}/", "localhost")
    assert len(_Redirecting.asked) == 2


def test_a_redirection_to_another_host_is_refused(
    server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Redirecting, "to", f"http://127.0.0.2:{server}/inner")
    assert "127.0.0.2 is in a private or local network" in fetch(
        f"http://127.0.0.1:{server}/outer", "127.0.0.1"
    )
    assert _Redirecting.asked == ["/outer"]


def test_a_listed_address_of_this_machine_is_not_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"ftp://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
        with pytest.raises(PhotoRejectedError, match="private or local") as caught:
            read_limited(url, ReadingRules(access=Access(("ftp",))))
        assert caught.value.reason is RejectReason.READ_ERROR
        with pytest.raises(TimeoutError):
            listener.accept()
    (tmp_path / "list.txt").write_text(f"{url}\n")
    with pytest.raises(WrongUsageError, match="--allow-scheme ftp"):
        list_photos([tmp_path / "list.txt"])
