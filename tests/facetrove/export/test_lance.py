"""LanceDB's vector index: it is made from many faces on, follows, and reaches the recall."""

from __future__ import annotations

from pathlib import Path

import pytest

import facetrove as ft
from indexer.build import build_index
from tests.support.databases import database, require_client
from tests.support.small_collections import Collection, files_with, many_photos, traces_of


@pytest.mark.slow
@pytest.mark.lasting
def test_the_index_reaches_the_recall_and_forgets_removed_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_client("lancedb")
    monkeypatch.setattr("facetrove.export.lance.INDEXED_ROWS", 500)
    collection, index = Collection(tmp_path / "d"), tmp_path / "i"
    collection.embed(many_photos(300))
    build_index(collection.path, index)
    with database("lancedb", tmp_path) as db:
        result = ft.export_index(index, db.address, verify=True)
        assert result.settings.index == "IVF_SQ"
        assert result.settings.effort["nprobes"] < 30  # of as many partitions
        assert result.recall_at_10 is not None and result.recall_at_10 >= 0.99
        assert result.verification is not None and result.verification.recall_at_10 >= 0.97
        gone = [f for f in collection.faces().values() if f.uri == "/photos/000001.jpg"]
        collection.embed(many_photos(30, first=900), gone=["/photos/000001.jpg"])
        build_index(collection.path, index)
        result = ft.export_index(index, db.address)
        assert (result.num_sent, result.num_removed) == (90, 3)
        assert result.settings.index == "IVF_SQ"
        assert result.recall_at_10 is not None and result.recall_at_10 >= 0.99
        assert db.rows().keys() == collection.faces().keys()
    assert files_with(tmp_path / "faces.lancedb", traces_of(gone)) == {}
