"""Hashing photos that were embedded before photos had hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.progress import OnProgress, Progress
from faces.dataset.deleted_pictures import as_pictures, read_deleted_pictures, relative_boxes
from faces.dataset.deletions import content_digest, face_digest, read_deletions
from faces.dataset.face_ids import possible_face_ids
from faces.dataset.layout import part_file
from faces.dataset.picture_hash import hash_pictures
from faces.dataset.rewrite import replace_photos
from faces.dataset.schema import (
    face_schema,
    matrix_of,
    owns_faces,
    read_table,
    with_column,
)
from faces.dataset.store import Dataset
from faces.photos.thumbnails import Thumbnail, read_thumbnail


def pictures_read(faces: pa.Table, on_progress: OnProgress) -> pa.Table:
    """Return what is kept of the photos of faces, from the photos as far as they can be read.

    Args:
        faces: the second result of `faces.dataset.deleted_pictures.pictures_of`.
        on_progress: called before each photo.

    Returns:
        Rows of `PICTURES_SCHEMA`.
    """
    boxes = relative_boxes(faces["box"], faces["width"], faces["height"])
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    keys = zip(faces["uri"].to_pylist(), faces["photo_id"].to_pylist(), strict=True)
    for row, key in enumerate(keys):
        rows[key].append(row)
    hashes: list[bytes | None] = [None] * len(faces)
    for number, ((uri, photo_id), of_photo) in enumerate(rows.items()):
        on_progress(Progress("reading the photos of deleted faces", number, len(rows)))
        image = read_thumbnail(uri, photo_id)
        if image is not None:
            (picture_hash,) = hash_pictures([image], [boxes[of_photo]])
            for row in of_photo:
                hashes[row] = picture_hash
    faces = faces.append_column("picture_hash", pa.array(hashes, pa.binary()))
    return as_pictures(faces.filter(pc.is_valid(faces["picture_hash"])))


def hash_photos(dataset: Dataset, on_progress: OnProgress) -> int:
    """Add the picture hashes that photos with faces lack, as far as the photos can be read.

    Nothing of a face may be in a hash, so deleted faces are left out of it, too. A photo that lost
    a face whose place is not known any more gets no hash. The caller holds the dataset's lock.
    Parts are rewritten one by one.

    Args:
        dataset: the dataset.
        on_progress: called before each part.

    Returns:
        The number of photos that got a hash.
    """
    num_hashed = 0
    parts = dataset.committed_parts()
    places = _places(dataset)
    deleted = _DeletedFaces.of(dataset)
    for number, part in enumerate(parts):
        on_progress(Progress("reading photos without a hash", number, len(parts)))
        name = part_file("photos", part)
        photos = read_table(dataset.folder, name, dataset.photo_schema)
        lacking = pc.and_(owns_faces(photos), pc.is_null(photos["picture_hash"]))
        if not pc.any(lacking).as_py():
            continue
        hashes = photos["picture_hash"].to_pylist()
        faces = _relative_faces(dataset, part, photos)
        for row in pc.indices_nonzero(lacking).to_pylist():
            photo_id = photos["photo_id"][row].as_py()
            image = _first_image(places.get(photo_id, ()), photo_id)
            if image is not None and photo_id in faces and not deleted.is_unplaced(photo_id):
                boxes = np.stack([*faces[photo_id], *deleted.boxes(photo_id)])
                (hashes[row],) = hash_pictures([image], [boxes])
                num_hashed += 1
        photos = with_column(photos, "picture_hash", pa.array(hashes, pa.binary()))
        replace_photos(dataset.folder, name, photos)
    return num_hashed


@dataclass(frozen=True)
class _DeletedFaces:
    """The places of deleted faces, as far as they are known.

    Attributes:
        by_content: boxes as shares of the photo, by `content_digest`.
        unplaced: `face_digest` of the deleted faces without a place.
        detection: the dataset's way of detecting, from `DatasetSettings.detection`.
    """

    by_content: Mapping[str, Sequence[NDArray[np.float32]]]
    unplaced: frozenset[str]
    detection: str

    @classmethod
    def of(cls, dataset: Dataset) -> _DeletedFaces:
        """Read the places of the faces that were deleted from a dataset."""
        deletions = read_deletions(dataset.path)
        pictures = read_deleted_pictures(dataset.path, deletions)
        by_content: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
        boxes = matrix_of(pictures["box"])
        for content, box in zip(pictures["content"].to_pylist(), boxes, strict=True):
            by_content[content].append(box)
        digests = set(deletions.final_digests.to_pylist())
        unplaced = frozenset(digests.difference(pictures["digest"].to_pylist()))
        return cls(by_content, unplaced, dataset.settings.detection)

    def boxes(self, photo_id: str) -> Sequence[NDArray[np.float32]]:
        """Return the boxes of the faces that were deleted from a content."""
        return self.by_content.get(content_digest(photo_id), ())

    def is_unplaced(self, photo_id: str) -> bool:
        """Return whether a face was deleted from a content, nobody knows where in it."""
        if not self.unplaced:
            return False
        possible = possible_face_ids(photo_id, [self.detection])
        return any(face_digest(face_id) in self.unplaced for face_id in possible)


def _places(dataset: Dataset) -> dict[str, list[str]]:
    """Return the uris of each content."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    photos = dataset.photos_in_parts([])
    columns = (photos["photo_id"].to_pylist(), photos["uri"].to_pylist())
    for photo_id, uri in zip(*columns, strict=True):
        if photo_id is not None:
            places[photo_id].append(uri)
    return places


def _relative_faces(
    dataset: Dataset, part: str, photos: pa.Table
) -> dict[str, list[NDArray[np.float32]]]:
    """Return the boxes of a part's faces as shares of their photos, by photo_id."""
    columns = pa.schema([face_schema(1).field(name) for name in ("photo_id", "box")])
    faces = read_table(dataset.folder, part_file("faces", part), columns)
    row = pc.index_in(faces["photo_id"], value_set=photos["photo_id"].combine_chunks())
    known = pc.and_(pc.is_valid(row), pc.is_valid(photos["width"].take(row)))
    faces, row = faces.filter(known), row.filter(known)
    boxes = relative_boxes(faces["box"], photos["width"].take(row), photos["height"].take(row))
    found: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for photo_id, box in zip(faces["photo_id"].to_pylist(), boxes, strict=True):
        found[photo_id].append(box)
    return found


def _first_image(uris: Sequence[str], photo_id: str) -> Thumbnail | None:
    """Return the thumbnail of a content from the first of its places where it can be read."""
    images = (read_thumbnail(uri, photo_id) for uri in uris)
    return next((image for image in images if image is not None), None)
