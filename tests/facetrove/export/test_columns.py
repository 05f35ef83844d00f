"""Columns of photo lists in databases: every type, odd names, and columns that come and go."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import facetrove as ft
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import faces_table
from faces.dataset.writing import DatasetWriter
from indexer.build import build_index
from tests.support.databases import NEEDED, Database, database
from tests.support.parts import QUALITY
from tests.support.small_collections import CONTRACT, DIMENSION, NO_FACES, face_id_of, photo_id_of
from tests.support.vectors import unit_vectors

DAY = datetime.date(1999, 12, 31)
TIME = datetime.datetime(2031, 5, 6, 7, 8, 9, 123456)

VALUES: dict[str, list[Any]] = {
    "Ort der Aufnahme": ["Köln", None, "O'Hare"],
    'a"b; DROP TABLE faces; --': ["x", 'y"', None],
    "a.b": [1.5, None, -1e300],
    "day": [DAY, None, datetime.date(1850, 1, 2)],
    "taken": [TIME, datetime.datetime(1901, 1, 1), None],
    "printed": [True, False, None],
    "embedding_2": [2**62, None, -5],
}

TYPES = {
    "a.b": pa.float64(),
    "day": pa.date32(),
    "taken": pa.timestamp("us"),
    "printed": pa.bool_(),
    "embedding_2": pa.int64(),
}


@pytest.fixture(params=NEEDED)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database(request.param, tmp_path) as found:
        yield found


def embed(folder: Path, values: dict[str, list[Any]]) -> None:
    """Embed three photos of one face each, with columns of a photo list."""
    metadata = pa.schema([(name, TYPES.get(name, pa.string())) for name in values])
    photos, faces = [], []
    for number in range(3):
        uri = f"/{number}.jpg"
        photo_id = photo_id_of(number)
        size = {"num_bytes": 1, "mtime_ns": 1, "width": 9, "height": 9, "num_faces": 1}
        own = {name: column[number] for name, column in values.items()}
        ids = {"uri": uri, "photo_id": photo_id}
        photos.append({**NO_FACES, **size, **ids, **own, "status": "embedded"})
        place = {"box": [0, 0, 1, 1], "landmarks": [0] * 10, "score": 0.5}
        quality = dict.fromkeys(QUALITY, 0.5)
        faces.append({"face_id": face_id_of(number, 0), **ids, **place, **quality})
    with DatasetWriter.open(folder, DatasetSettings(CONTRACT, metadata=metadata)) as writer:
        table = pa.Table.from_pylist(photos, schema=writer.dataset.photo_schema)
        vectors = np.asarray(unit_vectors(3, DIMENSION, seed=0), np.float32)
        writer.write_part(writer.part_name(0), table, faces_table(faces, vectors, DIMENSION), {})
        writer.finish(None)


def stored(db: Database, result: ft.ExportResult, name: str) -> list[Any]:
    """Return a column of the three faces as a database has it."""
    rows = db.rows()
    return [rows[face_id_of(n, 0)][result.renamed.get(name, name)] for n in range(3)]


def test_values_of_every_type_arrive(db: Database, tmp_path: Path) -> None:
    embed(tmp_path / "d", VALUES)
    build_index(tmp_path / "d", tmp_path / "i")
    result = ft.export_index(tmp_path / "i", db.address)
    for name, values in VALUES.items():
        expected = values
        if db.kind in ("milvus", "qdrant") and isinstance(values[0], datetime.date):
            expected = [None if value is None else value.isoformat() for value in values]
        assert stored(db, result, name) == expected, name
    assert result.renamed == ({"a.b": "a_b"} if db.kind == "lancedb" else {})
    assert ft.export_index(tmp_path / "i", db.address).num_changed == 0


def test_columns_that_are_renamed_or_removed_follow(db: Database, tmp_path: Path) -> None:
    embed(tmp_path / "d", VALUES)
    build_index(tmp_path / "d", tmp_path / "i")
    ft.export_index(tmp_path / "i", db.address)
    ft.remove_column(tmp_path / "d", "Ort der Aufnahme")
    ft.rename_column(tmp_path / "d", "day", "printed on")
    build_index(tmp_path / "d", tmp_path / "i")
    result = ft.export_index(tmp_path / "i", db.address)
    # The second face has no value in either column.
    assert (result.num_sent, result.num_changed, result.num_removed) == (0, 2, 0)
    row = db.rows()[face_id_of(0, 0)]
    assert "Ort der Aufnahme" not in row and "day" not in row
    assert str(row["printed on"]) == str(DAY)
    ft.rename_column(tmp_path / "d", "printed on", "day of print")
    build_index(tmp_path / "d", tmp_path / "i")
    ft.export_index(tmp_path / "i", db.address)
    row = db.rows()[face_id_of(0, 0)]
    assert "printed on" not in row and str(row["day of print"]) == str(DAY)
