from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import filelock
import pytest

from faces.core.errors import FaceTroveError
from faces.core.locks import file_lock
from faces.core.storage import Folder


@pytest.fixture(params=["ENOLCK", "ENOSYS", "ENOTSUP"])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, request.param)

    def flock(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "lock"),
        pytest.raises(filelock.Timeout),
        file_lock(tmp_path / "lock", timeout=0),
    ):
        pass
    with file_lock(tmp_path / "lock", timeout=0):
        pass


@pytest.mark.usefixtures("no_locks")
def test_a_file_system_without_locks_is_named_where_a_lock_is_needed(tmp_path: Path) -> None:
    with (
        pytest.raises(FaceTroveError, match=f"{tmp_path} lies on a file system without locks"),
        Folder(tmp_path).lease(what="dataset d"),
    ):
        pass


@pytest.mark.usefixtures("no_locks")
def test_work_goes_on_without_a_lock_where_none_is_needed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()  # left behind by a process that had locks
    with file_lock(tmp_path / "lock", needed=False):
        pass
