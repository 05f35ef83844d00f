"""Files appear whole, also where folders cannot be synced."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from faces.core.files import atomic_write


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
    with atomic_write(folder / "file") as temporary:
        temporary.write_text("whole")


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
