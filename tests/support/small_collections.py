"""Small datasets of random faces, with a model in plain Python of what they hold.

A photo is a uri with a content; the faces of a content have random embeddings of 8 dimensions.
Datasets are written as the embed job writes them, but without networks: a photo with a content that
the dataset already has is a row without faces, and a photo that vanished is a row with the status
`gone`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faces.core.contract import ModelContract
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import PHOTO_SCHEMA, faces_table
from faces.dataset.writing import DatasetWriter
from search.searcher import FaceSearcher
from tests.support.parts import QUALITY
from tests.support.vectors import unit_vectors

DIMENSION = 8
CONTRACT = ModelContract("finder", "aa" * 32, "template", "namer", "bb" * 32, dimension=DIMENSION)
METADATA = pa.schema([("person", pa.string()), ("year", pa.int64())])
NO_FACES = {"width": None, "height": None, "num_faces": 0, "reason": None, "is_copy": False}
"""Columns of a photo without faces."""


def photo_id_of(content: int) -> str:
    return hashlib.sha256(f"content {content}".encode()).hexdigest()


def face_id_of(content: int, number: int) -> str:
    """Return the face_id of a content's face by its number among the content's faces, from 0."""
    return hashlib.sha256(f"{photo_id_of(content)}\0{number}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Photo:
    """The photo at a uri: its content, number of faces, metadata, and hash of the picture."""

    content: int
    num_faces: int = 1
    person: str | None = None
    year: int | None = None
    picture_hash: bytes | None = None

    @property
    def photo_id(self) -> str:
        return photo_id_of(self.content)

    @property
    def face_ids(self) -> list[str]:
        return [face_id_of(self.content, number) for number in range(self.num_faces)]

    @property
    def vectors(self) -> np.ndarray:
        return unit_vectors(self.num_faces, DIMENSION, seed=self.content)


@dataclass(frozen=True)
class Face:
    """A face with the columns that a search should return.

    Attributes:
        people, years: the labels at all places of the photo; those that are missing are filled.
    """

    face_id: str
    photo_id: str
    uri: str
    also_at: tuple[str, ...]
    person: str | None
    year: int | None
    vector: np.ndarray = field(compare=False)
    people: tuple[str | None, ...] = field(default=(), compare=False)
    years: tuple[int | None, ...] = field(default=(), compare=False)


@dataclass
class Collection:
    """A dataset, and a model of what it should hold.

    Attributes:
        path: the dataset's folder.
        photos: the photos that the dataset should hold, by uri.
        deleted: face_ids of the faces that were deleted.
    """

    path: Path
    photos: dict[str, Photo] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def faces(self) -> dict[str, Face]:
        """Return every face that the dataset should hold, by its face_id."""
        uris_of: dict[int, list[str]] = {}
        for uri in sorted(self.photos):
            uris_of.setdefault(self.photos[uri].content, []).append(uri)
        found = {}
        for uri, *others in uris_of.values():
            photo = self.photos[uri]
            places = [self.photos[place] for place in (uri, *others)]
            person = next((place.person for place in places if place.person is not None), None)
            year = next((place.year for place in places if place.year is not None), None)
            for face_id, vector in zip(photo.face_ids, photo.vectors, strict=True):
                if face_id not in self.deleted:
                    found[face_id] = Face(
                        face_id,
                        photo.photo_id,
                        uri,
                        tuple(others),
                        person,
                        year,
                        vector,
                        tuple(place.person or person for place in places),
                        tuple(place.year or year for place in places),
                    )
        return found

    def embed(
        self,
        photos: Mapping[str, Photo],
        *,
        gone: Iterable[str] = (),
        again: bool = False,
        photos_per_part: int = 1_000_000,
    ) -> None:
        """Write new photos, and photos whose content has changed, as a run of the embed job.

        Args:
            photos: the photos, by uri.
            gone: uris of photos that have vanished.
            again: write faces even of contents that the dataset has, as the job does where it
                cannot recognise copies.
            photos_per_part: maximum number of photos in a part.
        """
        rows = list(photos.items())
        starts = range(0, len(rows), photos_per_part)
        batches = [rows[start : start + photos_per_part] for start in starts]
        stored = set() if again else self._contents_with_faces()
        with DatasetWriter.open(self.path, DatasetSettings(CONTRACT, metadata=METADATA)) as writer:
            for number, batch in enumerate(batches):
                tables = part_tables(batch, writer.dataset.photo_schema, stored)
                writer.write_part(writer.part_name(number), *tables, {})
            if gone := list(gone):
                table = _gone_photos(gone, writer.dataset.photo_schema)
                no_faces = faces_table([], np.empty((0, DIMENSION), np.float32), DIMENSION)
                writer.write_part(writer.part_name(len(batches)), table, no_faces, {})
            writer.finish(None)
        self.photos |= photos
        for uri in gone:
            del self.photos[uri]

    def _contents_with_faces(self) -> set[int]:
        return {
            photo.content
            for photo in self.photos.values()
            if not self.deleted.issuperset(photo.face_ids)
        }


def part_tables(
    photos: Iterable[tuple[str, Photo]], schema: pa.Schema, stored: set[int]
) -> tuple[pa.Table, pa.Table]:
    """Make the tables of photos and faces of a part.

    Args:
        photos: uris and photos.
        schema: the schema of the table of photos.
        stored: contents whose faces the dataset has. Photos with one of these, or with a content
            that another photo of the part has, are copies: their faces are not written.
    """
    stored = set(stored)
    rows, faces, vectors = [], [], [np.empty((0, DIMENSION), np.float32)]
    for uri, photo in photos:
        is_copy = photo.content in stored
        rows.append(
            {
                **NO_FACES,
                "uri": uri,
                "num_bytes": 1,
                "mtime_ns": 1,
                "photo_id": photo.photo_id,
                "width": 100,
                "height": 100,
                "num_faces": photo.num_faces,
                "status": "embedded" if photo.num_faces else "no_face",
                "is_copy": is_copy,
                "picture_hash": photo.picture_hash,
                "person": photo.person,
                "year": photo.year,
            }
        )
        if photo.num_faces and not is_copy:
            stored.add(photo.content)
            vectors.append(photo.vectors)
            faces += [_face_row(uri, photo, number) for number in range(photo.num_faces)]
    table = pa.Table.from_pylist(rows, schema=schema)
    return table, faces_table(faces, np.concatenate(vectors), DIMENSION)


def _face_row(uri: str, photo: Photo, number: int) -> dict[str, Any]:
    return {
        "face_id": face_id_of(photo.content, number),
        "photo_id": photo.photo_id,
        "uri": uri,
        "box": [number, 0, 1, 1],
        "landmarks": [0] * 10,
        "score": 0.5,
        **dict.fromkeys(QUALITY, 0.5),
    }


def _gone_photos(uris: Iterable[str], schema: pa.Schema) -> pa.Table:
    unknown = {"num_bytes": -1, "mtime_ns": -1, "photo_id": None, "status": "gone"}
    rows = [{**NO_FACES, **unknown, "uri": uri} for uri in uris]
    return pa.Table.from_pylist(rows, schema=pa.schema([*PHOTO_SCHEMA, *METADATA])).cast(schema)


def many_photos(count: int, *, first: int = 0, faces: int = 3) -> dict[str, Photo]:
    """Return `count` photos with `faces` faces each, numbered from `first`, of ten people."""
    return {
        f"/photos/{number:06d}.jpg": Photo(
            number, num_faces=faces, person=f"person {number % 10}", year=number % 50
        )
        for number in range(first, first + count)
    }


def found_ids(index: Path, **query: Any) -> set[str]:
    """Return the face_ids of all matches of a search, whatever their similarity."""
    searcher = FaceSearcher.open(index)
    (matches,) = searcher.search_embeddings(
        unit_vectors(1, DIMENSION, seed=9), min_similarity=-1.0, **query
    )
    assert len(matches.face_ids) == len(set(matches.face_ids))
    return set(matches.face_ids)


def traces_of(faces: Iterable[Face]) -> list[bytes]:
    """Return the bytes by which faces are recognised: ids, embeddings, photo_ids and uris."""
    found: set[bytes] = set()
    for face in faces:
        found |= {face.face_id.encode(), face.photo_id.encode(), face.vector.tobytes()}
        found |= {uri.encode() for uri in (face.uri, *face.also_at)}
    return sorted(found)


def files_with(folder: Path, traces: Iterable[bytes]) -> dict[str, bytes]:
    """Find the files of a folder that contain a trace, as stored or after decompression.

    Returns:
        One of the traces in each such file, by the file's path.
    """
    found = {}
    for directory, _, names in os.walk(folder):  # which passes over folders that are just removed
        for path in (Path(directory) / name for name in sorted(names)):
            if not path.is_file():
                continue
            content = path.name.encode() + path.read_bytes() + _decompressed(path)
            found |= {str(path): trace for trace in traces if trace in content}
    return found


def _decompressed(path: Path) -> bytes:
    """Return all columns and the schema of a Parquet or Arrow file, without compression."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    elif path.suffix == ".arrow":
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    else:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
