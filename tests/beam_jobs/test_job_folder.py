"""A job's folder is one that no other user can enter, or replace by another."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_jobs.runners import job_folder
from beam_jobs.runners.job_folder import SOCKET_NAME, private_job_folder
from faces.core.errors import FaceTroveError
from tests.support.other_user import NOBODY


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, in which temporary files of this process are made."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        temporary = Path(folder).resolve() / "t"
        temporary.mkdir(mode=0o700)
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        yield temporary


@pytest.fixture
def other_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for sockets, which is tried next."""
    folder = place.with_name("run")
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_the_folder_is_private_and_removed_in_the_end(place: Path) -> None:
    with private_job_folder() as folder:
        assert folder.parent == place
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def test_a_path_too_long_for_a_socket_is_not_used(
    place: Path, other_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = place / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with private_job_folder() as folder:
        assert folder.parent == other_place
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / SOCKET_NAME))
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_place_where_others_can_rename_folders_is_not_used(
    place: Path, other_place: Path, mode: int
) -> None:
    place.chmod(mode)
    with private_job_folder() as folder:
        assert folder.parent == other_place


def test_a_place_below_a_folder_of_another_user_is_not_used(
    place: Path, other_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    below = place / "below"
    below.mkdir()
    os.chown(place, NOBODY, NOBODY)
    monkeypatch.setattr(tempfile, "tempdir", str(below))
    with private_job_folder() as folder:
        assert folder.parent == other_place


def test_a_place_with_the_sticky_bit_is_used(place: Path) -> None:
    place.chmod(0o1777)
    with private_job_folder() as folder:
        assert folder.parent == place


def test_a_link_to_a_place_is_followed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = place.with_name("link")
    link.symlink_to(place)
    monkeypatch.setattr(tempfile, "tempdir", str(link))
    with private_job_folder() as folder:
        assert folder.parent == place


def test_without_any_fit_place_the_error_says_why(
    place: Path, other_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.chmod(0o777)
    other_place.rmdir()
    monkeypatch.setattr(job_folder, "_LAST_PLACE", str(place))
    with pytest.raises(FaceTroveError) as error, private_job_folder():
        pass
    assert f"{place}: other users can rename what lies in {place}" in str(error.value)
    assert f"{other_place}: No such file or directory" in str(error.value)
    assert "set TMPDIR" in str(error.value)
