"""One shard: some photos in, the two tables of a dataset part out. No Beam in here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.dataset import PHOTO_SCHEMA, PhotoStatus, faces_table
from faces.images import Image, PhotoRejectedError, RejectReason, decode_photo
from faces.photos import PhotoFile, read_photo
from faces.pipeline import Face, FacePipeline

BATCH_PHOTOS = 32
BATCH_PIXELS = 32_000_000
"""Photos decoded at once: at most so many, or so many pixels (one photo always goes)."""


BLANK: Image = np.full((64, 64, 3), 255, dtype=np.uint8)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _OpenedPhoto:
    file: PhotoFile
    photo_id: str | None
    image: Image | None
    reason: str | None


def embed_shard(pipeline: FacePipeline, files: Sequence[PhotoFile]) -> tuple[pa.Table, pa.Table]:
    """Read, decode, detect, align and embed.

    Returns:
        The photos (`PHOTO_SCHEMA`, a row for every file, in their order) and the faces
        (`face_schema`).
    """
    photo_rows: list[dict[str, Any]] = []
    face_rows: list[dict[str, Any]] = []
    embeddings: list[NDArray[np.float32]] = []
    for batch in _decoded_batches(files):
        for photo, faces in _find_faces(pipeline, batch):
            photo_rows.append(_photo_row(photo, len(faces)))
            face_rows.extend(_face_row(photo, place, face) for place, face in enumerate(faces))
            embeddings.extend(face.embedding for face in faces)
    dimension = pipeline.contract.dimension
    matrix = np.stack(embeddings) if embeddings else np.empty((0, dimension), dtype=np.float32)
    photos = pa.Table.from_pylist(photo_rows, schema=PHOTO_SCHEMA)
    return photos, faces_table(face_rows, matrix, dimension)


def _find_faces(
    pipeline: FacePipeline, batch: Sequence[_OpenedPhoto]
) -> list[tuple[_OpenedPhoto, list[Face]]]:
    """The faces of each photo; one on which the networks fail becomes a rejected photo.

    Raises:
        Exception: they fail on a blank image too, so it is not the photo's fault.
    """
    images = [photo.image for photo in batch if photo.image is not None]
    try:
        found = iter(pipeline.find_faces(images))
        return [(photo, [] if photo.image is None else next(found)) for photo in batch]
    except MemoryError:
        raise
    except Exception:
        if len(images) > 1:
            return [pair for photo in batch for pair in _find_faces(pipeline, [photo])]
        pipeline.find_faces([BLANK])  # raises if it is the networks that are at fault
        _log.warning("the networks fail on a photo", exc_info=True)
        reason = RejectReason.NOT_PROCESSED.value
        return [
            (photo if photo.image is None else replace(photo, image=None, reason=reason), [])
            for photo in batch
        ]


def _decoded_batches(files: Sequence[PhotoFile]) -> Iterator[list[_OpenedPhoto]]:
    batch: list[_OpenedPhoto] = []
    num_pixels = 0
    for file in files:
        photo = _open(file)
        if photo.image is not None:
            height, width = photo.image.shape[:2]
            if batch and num_pixels + height * width > BATCH_PIXELS:
                yield batch
                batch, num_pixels = [], 0
            num_pixels += height * width
        batch.append(photo)
        if len(batch) == BATCH_PHOTOS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


def _open(file: PhotoFile) -> _OpenedPhoto:
    photo_id = None
    try:
        content = read_photo(file.uri)
        photo_id = hashlib.sha256(content).hexdigest()
        return _OpenedPhoto(file, photo_id, decode_photo(content), None)
    except PhotoRejectedError as error:
        return _OpenedPhoto(file, photo_id, None, error.reason.value)


def _photo_row(photo: _OpenedPhoto, num_faces: int) -> dict[str, Any]:
    status = PhotoStatus.EMBEDDED if num_faces else PhotoStatus.NO_FACE
    height, width = (None, None) if photo.image is None else photo.image.shape[:2]
    return {
        **photo.file._asdict(),
        "photo_id": photo.photo_id,
        "width": width,
        "height": height,
        "num_faces": num_faces,
        "status": (PhotoStatus.REJECTED if photo.reason else status).value,
        "reason": photo.reason,
    }


def _face_row(photo: _OpenedPhoto, place: int, face: Face) -> dict[str, Any]:
    """The columns of a face but its embedding.

    The same face of the same photo at the same place always gets the same face_id.
    """
    name = f"{photo.file.uri}\0{photo.photo_id}\0{place}"
    return {
        "face_id": hashlib.sha256(name.encode()).hexdigest()[:32],
        "photo_id": photo.photo_id,
        "uri": photo.file.uri,
        "box": face.detection.box.tolist(),
        "landmarks": face.detection.landmarks.reshape(-1).tolist(),
        "score": face.detection.score,
    }
