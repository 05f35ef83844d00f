"""Stored files are opened, written and removed inside their folder alone, and never by a link."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from faces.core.descriptors import open_folder
from faces.core.errors import BusyError, CorruptFileError, LinkFoundError, MissingFileError
from faces.core.storage import FileDigest, Folder, put_file


def put(folder: Folder, name: str, content: bytes) -> None:
    with folder.put(name) as file:
        file.write(content)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A new folder, with a file "a/file" that holds "whole"."""
    folder = Folder(tmp_path / "folder")
    folder.make()
    folder.make_folder("a")
    put(folder, "a/file", b"whole")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another folder, with a file of somebody else's, and a folder with one."""
    path = tmp_path / "elsewhere"
    (path / "inner").mkdir(parents=True)
    (path / "theirs").write_text("theirs")
    (path / "inner" / "file").write_text("theirs")
    return path


def content_of(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_a_file_is_read_in_every_way(folder: Folder) -> None:
    digest = folder.digest("a/file")
    assert digest.num_bytes == 5
    with folder.open("a/file", digest) as file:
        assert file.read() == b"whole"
    assert folder.read("a/file", digest) == b"whole"
    assert bytes(folder.mapped("a/file", digest)) == b"whole"
    assert folder.folder("a").read("file") == b"whole"
    assert sorted(folder.files()) == ["a/file"]
    assert folder.names("a") == ["file"]
    assert folder.names("b") == []


def test_files_are_listed_with_each_folder_opened_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("z", "b", "a/second"):
        put(folder, name, b"")
    opened = []

    def counting(path: Path, parts: list[str], *, remedy: str) -> int:
        opened.append("/".join(parts))
        return open_folder(path, parts, remedy=remedy)

    monkeypatch.setattr("faces.core.storage.open_folder", counting)
    assert list(folder.files()) == ["a/file", "a/second", "b", "z"]
    assert opened == ["", "a"]
    assert list(folder.folder("missing").files()) == []


def test_a_map_outlives_its_file(folder: Folder) -> None:
    content = folder.mapped("a/file")
    folder.remove("a/file")
    assert bytes(content) == b"whole"
    put(folder, "empty", b"")
    assert bytes(folder.mapped("empty")) == b""


@pytest.mark.parametrize("change", [{"num_bytes": 4}, {"sha256": "0" * 64}])
def test_another_digest_is_refused_by_the_file_s_name(folder: Folder, change: dict) -> None:
    wrong = FileDigest(**{**vars(folder.digest("a/file")), **change})
    with pytest.raises(CorruptFileError, match=r"a/file (has 5 bytes|differs)"):
        folder.read("a/file", wrong)
    if "sha256" in change:
        with folder.open("a/file", wrong, size_only=True) as file:
            assert file.read() == b"whole"


@pytest.mark.parametrize("name", ["../elsewhere/theirs", "a/../a/file", "/etc/passwd", "a//file"])
def test_a_name_that_leads_elsewhere_is_refused(folder: Folder, elsewhere: Path, name: str) -> None:
    for operation in (folder.read, folder.remove, folder.make_folder, folder.remove_folder):
        with pytest.raises(CorruptFileError, match="is no name of a file"):
            operation(name)
    with pytest.raises(CorruptFileError, match="is no name of a file"):
        put(folder, name, b"ours")
    assert len(content_of(elsewhere)) == 2


def link_to_file(folder: Folder, elsewhere: Path) -> str:
    folder.at("link").symlink_to(elsewhere / "theirs")
    return "link"


def link_on_the_way(folder: Folder, elsewhere: Path) -> str:
    folder.at("way").symlink_to(elsewhere / "inner")
    return "way/file"


def dangling_link(folder: Folder, elsewhere: Path) -> str:
    folder.at("dangling").symlink_to(elsewhere / "nothing")
    return "dangling"


@pytest.mark.parametrize("make", [link_to_file, link_on_the_way, dangling_link])
def test_a_link_is_neither_read_nor_removed(
    folder: Folder, elsewhere: Path, make: Callable[[Folder, Path], str]
) -> None:
    name, before = make(folder, elsewhere), content_of(elsewhere)
    for operation in (folder.read, folder.mapped, folder.digest, folder.remove):
        with pytest.raises(LinkFoundError, match="is a link"):
            operation(name)
    with pytest.raises(LinkFoundError):
        folder.require_no_links()
    assert content_of(elsewhere) == before
    assert folder.at(name).exists() or folder.at(name).is_symlink()


def test_nothing_is_written_through_a_link(folder: Folder, elsewhere: Path) -> None:
    before = content_of(elsewhere)
    name = link_on_the_way(folder, elsewhere)
    for operation in (lambda: put(folder, name, b"ours"), lambda: folder.create(name)):
        with pytest.raises(LinkFoundError, match="way is a link"):
            operation()
    with pytest.raises(LinkFoundError):
        folder.make_folder("way")
    # A file replaces a link of its name, and leaves alone what the link leads to.
    put(folder, link_to_file(folder, elsewhere), b"ours")
    assert folder.read("link") == b"ours"
    assert content_of(elsewhere) == before


def test_a_folder_with_a_link_in_it_is_not_removed(folder: Folder, elsewhere: Path) -> None:
    folder.make_folder("a/b")
    folder.at("a/b/link").symlink_to(elsewhere)
    with pytest.raises(LinkFoundError, match="a/b/link is a link"):
        folder.remove_folder("a")
    assert folder.read("a/file") == b"whole"
    folder.at("a/b/link").unlink()
    folder.remove_folder("a")
    assert not folder.exists("a")
    folder.remove_folder("a")  # which is not there any more
    assert len(content_of(elsewhere)) == 2


def test_a_folder_may_be_named_by_a_link(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to(folder.path)
    linked = Folder(tmp_path / "name")
    assert linked.read("a/file") == b"whole"
    put(linked, "b", b"more")
    assert folder.read("b") == b"more"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [(make_pipe, "a pipe"), (make_socket, "a socket"), (Path.mkdir, "a folder")],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make(Path("file"))
    folder = Folder(tmp_path)
    answered = threading.Event()

    def read() -> None:
        with pytest.raises(CorruptFileError, match=f"file is {kind} instead of a file"):
            folder.read("file")
        answered.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert answered.wait(10)
    with pytest.raises(CorruptFileError), folder.lease(what="it", name="file"):
        pass


def test_a_missing_file_is_named(folder: Folder) -> None:
    for name in ("b", "a/b", "c/d"):
        with pytest.raises(MissingFileError, match=f"{name} is missing; restore it"):
            folder.read(name)
        assert not folder.exists(name)
        folder.remove(name)


def test_errors_of_the_system_say_the_whole_path(folder: Folder) -> None:
    with pytest.raises(OSError, match="too long") as caught:
        put(folder, "a/" + "x" * 300, b"")
    assert str(folder.at("a")) in str(caught.value)


def test_a_file_appears_whole_or_not_at_all(folder: Folder) -> None:
    with pytest.raises(RuntimeError), folder.put("a/file") as file:
        file.write(b"half")
        file.flush()
        assert folder.read("a/file") == b"whole"
        assert len(folder.temporary_files("a", of="file")) == 1
        raise RuntimeError
    assert folder.read("a/file") == b"whole"
    assert folder.names("a") == ["file"]


def test_a_file_that_has_changed_is_not_overwritten(folder: Folder) -> None:
    folder.put_unchanged("CURRENT", b"one", previous=None)
    folder.put_unchanged("CURRENT", b"two", previous=b"one")
    for previous in (None, b"one"):
        with pytest.raises(BusyError, match="another process"):
            folder.put_unchanged("CURRENT", b"three", previous=previous)
    assert folder.read("CURRENT") == b"two"


def test_a_lease_is_held_once_and_by_no_link(folder: Folder, elsewhere: Path) -> None:
    with folder.lease(what="it"), pytest.raises(BusyError), folder.lease(what="it"):
        pass
    with folder.lease(what="it"):
        pass
    with (
        pytest.raises(LinkFoundError),
        folder.lease(what="it", name=link_to_file(folder, elsewhere)),
    ):
        pass


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_created_is_private_and_what_is_inside_takes_after_its_folder(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        folder = Folder(tmp_path / "folder")
        folder.make()
        assert mode_of(folder.at()) == 0o700
        put(folder, "private", b"")
        assert mode_of(folder.at("private")) == 0o600
        with put_file(tmp_path / "report"):
            pass
        assert mode_of(tmp_path / "report") == 0o600
        folder.at().chmod(0o750)
        folder.make_folder("shared")
        put(folder, "shared/file", b"")
        os.close(folder.create("shared/marker"))
        assert mode_of(folder.at("shared")) == 0o750
        assert mode_of(folder.at("shared/file")) == mode_of(folder.at("shared/marker")) == 0o640
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to any group")
def test_what_is_created_takes_the_group_of_its_folder(folder: Folder) -> None:
    group = 1 + os.getegid()
    os.chown(folder.at("a"), -1, group)
    for mode in (0o750, 0o2770):
        folder.at("a").chmod(mode)
        folder.make_folder(f"a/{mode}")
        put(folder, f"a/{mode}/file", b"")
        assert mode_of(folder.at(f"a/{mode}")) == mode
        assert folder.at(f"a/{mode}").stat().st_gid == group
        assert folder.at(f"a/{mode}/file").stat().st_gid == group


def test_a_replaced_report_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("old")
    path.chmod(0o644)
    with put_file(path) as file:
        file.write(b"new")
    assert (path.read_text(), mode_of(path)) == ("new", 0o644)


def write_where_folders_answer(
    code: int, folder: Path, monkeypatch: pytest.MonkeyPatch, *, files_too: bool = False
) -> None:
    """Write a file where syncing a folder fails; no file system here can be made to refuse it."""
    sync = os.fsync

    def refuse(file: int) -> None:
        if files_too or stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(code, os.strerror(code))
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    put(Folder(folder), "file", b"whole")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_folder_that_cannot_be_synced_has_nothing_to_sync(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_where_folders_answer(code, tmp_path, monkeypatch)
    assert (tmp_path / "file").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_errors_of_syncing_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        write_where_folders_answer(errno.EIO, tmp_path, monkeypatch)
    with pytest.raises(OSError, match="Invalid argument"):
        write_where_folders_answer(errno.EINVAL, tmp_path, monkeypatch, files_too=True)
