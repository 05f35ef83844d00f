"""Datasets with a people book, whose groups a test chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.dataset.header import DatasetSettings
from faces.dataset.people_book import PeopleBook
from faces.dataset.people_groups import Groups
from faces.dataset.schema import faces_table
from faces.dataset.writing import DatasetWriter
from tests.support.parts import QUALITY
from tests.support.small_collections import NO_FACES, Collection, many_photos


def groups_of(people: Mapping[str, int], listed: Mapping[str, str] | None = None) -> Groups:
    """Return a grouping by the number of each face's person, with names by lists."""
    columns = {
        "face_id": pa.array(list(people), pa.string()),
        "person": pa.array(list(people.values()), pa.int64()),
        "doubt": pa.array([0.25] * len(people), pa.float32()),
        "listed": pa.array([(listed or {}).get(face) for face in people], pa.string()),
    }
    return Groups.of(pa.table(columns))


def group(
    dataset: Path, people: Mapping[str, int], listed: Mapping[str, str] | None = None
) -> None:
    """Replace the grouping of a dataset."""
    book = PeopleBook(dataset, "machine")
    with book.writing() as view:
        book.replace_groups(groups_of(people, listed), view)


def grouped_collection(folder: Path, *, photos: int = 8, people: int = 4) -> Collection:
    """Embed photos with three faces each, and group the faces by turns into people 1, 2, ..."""
    collection = Collection(folder)
    collection.embed(many_photos(photos))
    faces = sorted(collection.faces())
    group(folder, {face: number % people + 1 for number, face in enumerate(faces)})
    return collection


SFACE = ModelContract("yunet", "aa" * 32, "arcface-112", "sface", "bb" * 32, dimension=128)
"""A contract of models whose figures are known, so that faces can be grouped."""


def face_id(photo: int, number: int = 0) -> str:
    """Return the id of a face of `album` by the numbers of its photo and its place there."""
    return hashlib.sha256(f"{photo} {number}".encode()).hexdigest()[:32]


def album(
    folder: Path, photos: Sequence[tuple[str | None, Sequence[int]]], *, seed: int = 0
) -> Path:
    """Embed photos /p/0.jpg, /p/1.jpg, ..., each with who its list says and who is really in it.

    Args:
        folder: the dataset's folder.
        photos: for each photo the value of its column `person`, and the identities of its faces.
        seed: seed of the random embeddings, which vary as those of the model do.
    """
    rng = np.random.default_rng(seed)
    count = 1 + max(who for _, faces in photos for who in faces)
    identities = rng.normal(0, 0.0049**0.5, (count, 128))
    rows, faces, vectors = [], [], []
    for number, (person, people) in enumerate(photos):
        photo_id = hashlib.sha256(f"photo {number}".encode()).hexdigest()
        rows.append(
            {
                **NO_FACES,
                "uri": f"/p/{number}.jpg",
                "num_bytes": 1,
                "mtime_ns": 1,
                "photo_id": photo_id,
                "width": 100,
                "height": 100,
                "num_faces": len(people),
                "status": "embedded",
                "person": person,
                "taken": datetime(2000 + number % 20, 1, 1),
            }
        )
        for place, who in enumerate(people):
            scatter = rng.normal(0, 0.05, 128)
            vectors.append(identities[who] + scatter)
            faces.append(
                {
                    "face_id": face_id(number, place),
                    "photo_id": photo_id,
                    "uri": f"/p/{number}.jpg",
                    "box": [10 * place, 10, 8, 8],
                    "landmarks": [0] * 10,
                    "score": 0.9,
                    **dict.fromkeys(QUALITY, 0.5),
                    "embedding_norm": 11 + number % 3 / 2,
                }
            )
    matrix = np.array(vectors, np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    columns = pa.schema([("person", pa.string()), ("taken", pa.timestamp("us"))])
    with DatasetWriter.open(folder, DatasetSettings(SFACE, metadata=columns)) as writer:
        table = pa.Table.from_pylist(rows, schema=writer.dataset.photo_schema)
        writer.write_part(writer.part_name(0), table, faces_table(faces, matrix, 128), {})
        writer.finish(None)
    return folder
