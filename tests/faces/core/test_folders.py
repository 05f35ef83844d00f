from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from faces.core.folders import make_inner_folder


def mode_of(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2750, 0o2770, 0o755])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_folder_has_the_mode_of_the_one_it_lies_in(tmp_path: Path, mode: int, umask: int) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    before = os.umask(umask)
    try:
        make_inner_folder(above / "inner")
    finally:
        os.umask(before)
    assert mode_of(above / "inner") == mode
    make_inner_folder(above / "inner", exist_ok=True)
    with pytest.raises(FileExistsError):
        make_inner_folder(above / "inner")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to another group")
def test_a_folder_has_the_group_of_the_one_it_lies_in(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, -1, 1)
    above.chmod(0o750)
    make_inner_folder(above / "inner")
    assert (above / "inner").stat().st_gid == 1
    assert mode_of(above / "inner") == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to another group")
def test_a_folder_is_closed_to_groups_where_the_group_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, -1, 1)
    above.chmod(0o770)

    def chown(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", chown)
    make_inner_folder(above / "inner")
    assert mode_of(above / "inner") == 0o700
