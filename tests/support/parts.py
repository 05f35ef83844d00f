"""Parts of a dataset, written without an embed job."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faces.core.contract import ModelContract
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import PHOTO_SCHEMA, faces_table
from faces.dataset.writing import DatasetWriter
from faces.models.face import FaceQuality
from tests.support.vectors import unit_vectors

QUALITY = [*(field.name for field in fields(FaceQuality)), "embedding_norm"]
"""Columns of faces that are quality measures."""


def part_tables(uris: dict[str, int], *, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Make the tables of photos and of their faces, with random embeddings of 8 dimensions.

    Args:
        uris: number of faces of each photo, by its uri; a photo without faces is rejected.
        seed: makes other photo contents and embeddings.
    """
    photos = [
        {
            "uri": uri,
            "num_bytes": 1,
            "mtime_ns": seed,
            "photo_id": f"{seed}{uri}",
            "width": 1,
            "height": 1,
            "num_faces": count,
            "status": "embedded" if count else "rejected",
            "reason": None if count else "corrupt",
            "is_copy": False,
        }
        for uri, count in uris.items()
    ]
    faces = [
        {
            "face_id": f"{uri}-{number}-{seed}",
            "photo_id": f"{seed}{uri}",
            "uri": uri,
            "box": [0, 0, 1, 1],
            "landmarks": [0] * 10,
            "score": 1,
            **dict.fromkeys(QUALITY, 0.5),
        }
        for uri, count in uris.items()
        for number in range(count)
    ]
    vectors = unit_vectors(len(faces), 8, seed)
    return pa.Table.from_pylist(photos, schema=PHOTO_SCHEMA), faces_table(faces, vectors, 8)


def write(path: Path, contract: ModelContract, *parts: dict[str, int], seed: int = 0) -> None:
    """Write a finished run of parts, each given as for `part_tables`, into a dataset."""
    with DatasetWriter.open(path, DatasetSettings(contract)) as writer:
        for number, uris in enumerate(parts):
            writer.write_part(writer.part_name(number), *part_tables(uris, seed=seed), {})


def without_columns(folder: Path, *names: str) -> None:
    """Drop columns from the Parquet files of a folder, as if an older version had written them."""
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(list(names)), path)
