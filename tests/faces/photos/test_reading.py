from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from faces.core.errors import WrongUsageError
from faces.photos.archives import open_archive, split_member_url
from faces.photos.limited import open_photo
from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason
from faces.photos.uris import is_url, photo_path, photo_uri
from tests.support.photo_files import reason_for, write_tar


def test_a_photo_is_named_by_its_absolute_path_or_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert photo_uri(Path("a/../b.jpg")) == photo_uri("b.jpg") == f"{tmp_path}/b.jpg"
    assert photo_uri("s3://bucket/a//b.jpg") == "s3://bucket/a//b.jpg"
    odd = tmp_path / os.fsdecode(b"\xff.jpg")
    assert photo_uri(odd) == f"file://{tmp_path}/%FF.jpg"
    assert photo_path(photo_uri(photo_uri(odd))) == odd
    assert photo_uri(f"tar://{os.fsdecode(bytes([255]))}.jpg::/x.tar").startswith("escaped:tar%3A")
    assert [is_url(name) for name in ("s3://a", "/a://b", "file:///a", "a:b", "tar://a::/b")] == [
        *(True, False, False, False, True)
    ]


def test_a_members_url_is_split_at_its_last_double_colon() -> None:
    assert split_member_url("tar://a::b.jpg::/x.tar") == ("tar", "a::b.jpg", "/x.tar")
    assert split_member_url("zip://::s3://b/x.zip") == ("zip", "", "s3://b/x.zip")
    for other in ("s3://b/a::b.jpg", "tar://a.jpg", "tar://a.jpg::", "/x::/y"):
        assert split_member_url(other) is None


def test_a_missing_photo_is_a_read_error(tmp_path: Path) -> None:
    for uri in (f"{tmp_path}/gone.jpg", f"{tmp_path}/nul\0.jpg", "memory://gone.jpg"):
        assert reason_for(uri) is RejectReason.READ_ERROR


def test_a_photo_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    assert read_photo(f"{tmp_path}/a.jpg") == b"12345"
    assert read_photo(f"{tmp_path}/a.jpg", 5) == b"12345"
    assert reason_for(f"{tmp_path}/a.jpg", 4) is RejectReason.TOO_LARGE
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert read_photo(f"{tmp_path}/empty.jpg", 0) == b""


@pytest.mark.parametrize("change", ["shrink", "grow", "rewrite"])
def test_a_photo_written_to_while_it_is_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    examined: list[int] = []
    fstat = os.fstat

    def write_after_first_fstat(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if not examined:
            examined.append(descriptor)
            if change == "rewrite":
                os.utime(path, ns=(0, status.st_mtime_ns + 1))
            else:
                os.truncate(path, 3 if change == "shrink" else 8)
                os.utime(path, ns=(0, status.st_mtime_ns))
        return status

    monkeypatch.setattr("faces.photos.reading.os.fstat", write_after_first_fstat)
    assert reason_for(str(path)) is RejectReason.CHANGED
    assert len(read_photo(str(path))) in (3, 5, 8)  # nobody writes to it any more


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(PhotoRejectedError, match="not a regular file"):
            read_photo(str(tmp_path / name))
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        assert reason_for(str(tmp_path)) is RejectReason.READ_ERROR
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


def test_a_named_file_that_is_not_a_photo_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(WrongUsageError, match="unsupported_format"):
        open_photo(tmp_path / "text.jpg")
    with pytest.raises(WrongUsageError, match="does not exist; name a photo"):
        open_photo(tmp_path / "nowhere.jpg")


# Members of archives


def test_a_member_is_read_up_to_the_limit(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"a.jpg": b"12345", "b.jpg": b"678"})
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"12345")
    for uri in (f"tar://a.jpg::{tar}", f"zip://a.jpg::{tmp_path}/a.zip"):
        assert read_photo(uri, 5) == b"12345"
        assert reason_for(uri, 4) is RejectReason.TOO_LARGE


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the archives that were opened, in order."""
    opened: list[str] = []

    def count(*args: Any, name: str) -> Any:
        opened.append(name)
        return open_archive(*args, name=name)

    monkeypatch.setattr("faces.photos.reading.open_archive", count)
    return opened


def test_an_archives_table_is_read_once_and_again_when_it_changes(
    tmp_path: Path, opened: list[str]
) -> None:
    path = write_tar(tmp_path / "a.tgz", {f"{n}.jpg": bytes([n]) for n in range(20)}, "w:gz")
    for number in (*range(20), 3, 0):
        assert read_photo(f"tar://{number}.jpg::{path}") == bytes([number])
    assert opened == [str(path)]
    write_tar(path, {"0.jpg": b"new"}, "w:gz")
    assert read_photo(f"tar://0.jpg::{path}") == b"new"
    assert reason_for(f"tar://1.jpg::{path}") is RejectReason.READ_ERROR
    assert opened == [str(path)] * 2


def test_a_corrupt_archive_is_opened_once(tmp_path: Path, opened: list[str]) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1" * 5_000})
    path.write_bytes(path.read_bytes()[:3_000])
    for _ in range(3):
        with pytest.raises(PhotoRejectedError, match=r"read_error: .*a\.tar is corrupt"):
            read_photo(f"tar://a.jpg::{path}")
    assert opened == [str(path)]


def test_a_process_that_forks_does_not_share_archives(tmp_path: Path) -> None:
    """Parent and child would share one file position."""
    path = write_tar(tmp_path / "a.tar", {f"{n}.jpg": bytes([n]) * 3_000 for n in range(20)})
    assert len(read_photo(f"tar://0.jpg::{path}")) == 3_000
    child = os.fork()
    if child == 0:
        read_photo(f"tar://15.jpg::{path}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for number in range(20):
        assert read_photo(f"tar://{number}.jpg::{path}") == bytes([number]) * 3_000


def corrupt(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


def test_a_member_that_cannot_be_read_is_a_read_error(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("altered.jpg", b"as it was")
        archive.writestr("fine.jpg", b"fine")
    corrupt(path, b"as it was", b"as it is!")
    assert reason_for(f"zip://altered.jpg::{path}") is RejectReason.READ_ERROR  # wrong checksum
    assert read_photo(f"zip://fine.jpg::{path}") == b"fine"
    for uri in (
        *(f"zip://gone.jpg::{path}", f"tar://fine.jpg::{path}", "zip://fine.jpg::a.zip"),
        *(f"zip://a.jpg::{tmp_path}/gone.zip", f"zip://a.jpg::{tmp_path}", f"zip://::{path}"),
        "zip://a.jpg::memory://gone.zip",
    ):
        assert reason_for(uri) is RejectReason.READ_ERROR


def test_an_encrypted_member_is_a_read_error(tmp_path: Path) -> None:
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"12345")
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1  # marked as encrypted
    path.write_bytes(content)
    with pytest.raises(PhotoRejectedError, match=r"read_error: .*encrypted"):
        read_photo(f"zip://a.jpg::{path}")


def test_a_zip_member_larger_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(50_000_000))
    content = path.read_bytes().replace((50_000_000).to_bytes(4, "little"), b"\5\0\0\0")
    path.write_bytes(content)
    assert reason_for(f"zip://a.jpg::{path}") is RejectReason.READ_ERROR


def test_a_sparse_member_is_a_read_error(tmp_path: Path) -> None:
    """The content of a sparse member is not contiguous in the archive."""
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"GNU.sparse.map": "0,2,4,3", "GNU.sparse.size": "7"}
    info.size = 5
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"abcde"))
    with pytest.raises(PhotoRejectedError, match="sparse"):
        read_photo(f"tar://a.jpg::{tmp_path}/a.tar")


# URLs


class LyingFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A filesystem whose objects hold ten bytes, whatever size they announce."""

    protocol = "lying"
    size: int | None = None
    error: Exception | None = None
    requested: list[int]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if LyingFileSystem.error is not None:
            raise LyingFileSystem.error

        class Content(io.BytesIO):
            size = LyingFileSystem.size

            def read(self, count: int | None = -1, /) -> bytes:
                LyingFileSystem.requested.append(-1 if count is None else count)
                return super().read(count)

        return Content(b"0123456789")


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(LyingFileSystem, "requested", [], raising=False)
    fsspec.register_implementation("lying", LyingFileSystem, clobber=True)

    def announce(size: int | None = None, error: Exception | None = None) -> None:
        monkeypatch.setattr(LyingFileSystem, "size", size)
        monkeypatch.setattr(LyingFileSystem, "error", error)

    return announce


def test_an_object_is_never_read_beyond_the_limit(lying: Callable[..., None]) -> None:
    for size in (10, None, 3):
        lying(size)
        assert read_photo("lying://a/b::c.jpg", 10) == b"0123456789"
        assert set(LyingFileSystem.requested) == {11}
    LyingFileSystem.requested.clear()
    for size in (3, None):
        lying(size)
        assert reason_for("lying://a.jpg", 9) is RejectReason.TOO_LARGE
    assert LyingFileSystem.requested == [10, 10]
    lying(10)
    assert reason_for("lying://a.jpg", 9) is RejectReason.TOO_LARGE
    assert LyingFileSystem.requested == [10, 10]  # not read at all
    lying(11)
    assert reason_for("lying://a.jpg") is RejectReason.CHANGED


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(5, "I/O error"), FileNotFoundError("a.jpg"), TimeoutError(), KeyError("a")),
        *(RuntimeError("no\ncredentials"), ValueError()),
    ],
)
def test_any_error_of_a_remote_filesystem_is_a_read_error(
    lying: Callable[..., None], error: Exception
) -> None:
    lying(error=error)
    assert reason_for("lying://a.jpg") is RejectReason.READ_ERROR


def test_a_missing_package_is_a_usage_error_not_a_rejection() -> None:
    with pytest.raises(WrongUsageError, match="run `pip install s3fs`"):
        read_photo("s3://bucket/a.jpg")
