"""Datasets and indexes of faces whose embeddings and labels a test chooses."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import faces_table
from faces.dataset.writing import DatasetWriter
from faces.models.face import FaceQuality
from indexer.build import build_index

METADATA = pa.schema([("person", pa.string()), ("camera", pa.string())])


def contract_of(dimension: int) -> ModelContract:
    """Return a contract of an imaginary model."""
    return ModelContract("finder", "aa" * 32, "template", "namer", "bb" * 32, dimension=dimension)


def write_labelled(
    path: Path,
    vectors: NDArray[np.floating],
    people: Sequence[str | None],
    *,
    uris: Sequence[str] | None = None,
    quality: NDArray[np.floating] | None = None,
    cameras: Sequence[str] | None = None,
    off_centre: Sequence[int] = (),
    photo_ids: Sequence[str] | None = None,
) -> Path:
    """Write a dataset of n faces at the centres of photos of 100x100 pixels, one face in each.

    Args:
        path: the dataset's folder.
        vectors: (n, d) embeddings of unit length.
        people: (n,) values of the column `person`.
        uris: (n,) uris of the photos; by default /photos/<person>/<number>.jpg.
        quality: (n,) value of all quality measures of each face, in [0, 1]; by default 0.5. The yaw
            follows from it too.
        cameras: (n,) values of the column `camera`; by default null.
        off_centre: numbers, from 0, of the photos whose face is in a corner instead.
        photo_ids: (n,) sha256 of the photos' contents; by default of their uris, since there are no
            photos. Faces with equal ones and equal uris are of one photo.
    """
    count, dimension = vectors.shape
    uris = uris or [f"/photos/{person}/{n:06d}.jpg" for n, person in enumerate(people)]
    ids = photo_ids or [hashlib.sha256(uri.encode()).hexdigest() for uri in uris]
    values = np.full(count, 0.5) if quality is None else quality
    in_photo = Counter(zip(uris, ids, strict=True))
    seen: Counter[str] = Counter()
    face_ids = []
    for photo_id in ids:  # the first face of a photo has the photo's beginning as its id
        number = f"{seen[photo_id]:x}" if seen[photo_id] else ""
        face_ids.append(photo_id[len(number) : 32] + number)
        seen[photo_id] += 1
    with DatasetWriter.open(
        path, DatasetSettings(contract_of(dimension), metadata=METADATA)
    ) as writer:
        photos = pa.Table.from_pylist(
            [
                {
                    "uri": uri,
                    "num_bytes": 1,
                    "mtime_ns": 1,
                    "photo_id": photo_id,
                    "width": 100,
                    "height": 100,
                    "num_faces": in_photo[uri, photo_id],
                    "status": "embedded",
                    "reason": None,
                    "is_copy": False,
                    "person": person,
                    "camera": camera,
                }
                for uri, photo_id, person, camera in {  # of several faces, the first one's
                    row[:2]: row
                    for row in reversed(
                        list(zip(uris, ids, people, cameras or [None] * count, strict=True))
                    )
                }.values()
            ],
            schema=writer.dataset.photo_schema,
        )
        faces = faces_table(
            [
                {
                    "face_id": face_id,
                    "photo_id": photo_id,
                    "uri": uri,
                    "box": [0, 0, 20, 20] if number in off_centre else [40, 40, 20, 20],
                    "landmarks": [45, 45, 55, 45, 50, 50, 46, 55, 54, 55],
                    **dict.fromkeys(
                        ["score", "embedding_norm", *(f.name for f in fields(FaceQuality))], value
                    ),
                    "yaw": 10 * (1 - value),
                }
                for number, (face_id, photo_id, uri, value) in enumerate(
                    zip(face_ids, ids, uris, values.tolist(), strict=True)
                )
            ],
            vectors.astype(np.float32),
            dimension,
        )
        writer.write_part(writer.part_name(0), photos, faces, {})
        writer.finish(None)
    return path


def labelled_index(
    folder: Path,
    vectors: NDArray[np.floating],
    people: Sequence[str | None],
    *,
    recipe: str = "auto",
    quality: NDArray[np.floating] | None = None,
    cameras: Sequence[str] | None = None,
    uris: Sequence[str] | None = None,
    photo_ids: Sequence[str] | None = None,
) -> Path:
    """Write such a dataset as folder/d.dataset, and build its index, folder/d.index."""
    dataset = folder / "d.dataset"
    write_labelled(
        dataset,
        vectors,
        people,
        uris=uris,
        quality=quality,
        cameras=cameras,
        photo_ids=photo_ids,
    )
    build_index(dataset, folder / "d.index", recipe=recipe, target_recall=0.9)
    return folder / "d.index"


def people_around(
    num_people: int, photos_each: int, *, spread: float, dimension: int = 32, seed: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """Draw embeddings of people: a random vector per person, and random deviations per photo.

    Args:
        num_people: number of people.
        photos_each: number of photos of each person.
        spread: size of the deviations relative to the person's vector, 0 or more. With 0 all photos
            of a person are equal, with 1000 they are noise.
        dimension: number of dimensions d.
        seed: seed of the random draws.

    Returns:
        (n, d) float32 embeddings of unit length, person by person, and the n people's names.
    """
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(num_people, dimension)) / dimension**0.5
    people = np.repeat(np.arange(num_people), photos_each)
    vectors = means[people] + spread * rng.normal(size=(len(people), dimension)) / dimension**0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"p{number:04d}" for number in people]
