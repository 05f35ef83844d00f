"""Clients of databases send nothing to anybody but the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.build import build_index
from tests.support.command import facetrove_command
from tests.support.databases import NEEDED, database
from tests.support.network_watch import Watch
from tests.support.small_collections import Collection, many_photos


@pytest.mark.slow
@pytest.mark.lasting
@pytest.mark.parametrize("kind", NEEDED)
def test_an_export_looks_up_no_name_and_makes_no_file_elsewhere(kind: str, tmp_path: Path) -> None:
    collection, index = Collection(tmp_path / "d"), tmp_path / "i"
    collection.embed(many_photos(5))
    build_index(collection.path, index)
    watch = Watch.make(tmp_path / "watch")
    (tmp_path / "db").mkdir()
    with database(kind, tmp_path / "db") as db:
        process = watch.start(facetrove_command("export", index, db.address, "--verify"))
        printed = process.communicate(timeout=200)[0]
        assert process.returncode == 0, printed
        assert "15 sent" in printed
    assert watch.log() == []
    assert watch.files() == []
