"""Faces that are given before a job begins: detections, and perhaps embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.storage import Folder
from faces.dataset.layout import part_file
from faces.dataset.schema import PhotoStatus, face_schema, read_table
from faces.dataset.store import Dataset
from faces.models.face import Detection, GivenFace
from faces.photos.listed import LISTING_SCHEMA, PhotoListing

SOURCE_COLUMNS = ("known_photo_id", "known_faces_part")
"""Columns that `DatasetFaces` adds to the photos to do: a photo's photo_id in the source dataset,
and the name of the part of the source dataset that has its faces."""


@dataclass(frozen=True)
class GivenPhoto:
    """All faces of a photo in which faces were detected before.

    Attributes:
        faces: the photo's faces; empty where none was found.
        photo_id: sha256 of the content that the faces are in. If the photo's content is another
            now, faces are detected anew. None: the faces are taken whatever the content is.
    """

    faces: Sequence[GivenFace]
    photo_id: str | None = None


GivenPhotos = Mapping[str, GivenPhoto]
"""Photos with given faces, by uri. A photo that is missing has its faces detected."""


class FaceSource(Protocol):
    """A source of given faces. It is sent to workers."""

    def prepared(self, to_do: pa.Table, work: Folder) -> tuple[FaceSource, pa.Table]:
        """Return the source to send to workers, and `to_do` with the columns that it needs.

        Args:
            to_do: photos to do, see `beam_jobs.plan.Plan`.
            work: folder for files that all workers can read.
        """
        ...

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """Return the given faces of photos to do, which have the columns from `prepared`."""
        ...


@dataclass(frozen=True)
class DatasetFaces:
    """A `FaceSource` of the faces of an existing dataset, which are to be re-embedded."""

    dataset: Dataset

    def prepared(self, to_do: pa.Table, work: Folder) -> tuple[DatasetFaces, pa.Table]:
        """Add `SOURCE_COLUMNS` to the photos to do; see `FaceSource.prepared`.

        Faces that are withheld are given too, and withheld from the new dataset: they are found
        in both again when the deletion is taken back. Photos all of whose faces were purged are
        not given: their faces are detected anew, and left out when the part is written.
        """
        photos = self.dataset.photos_in_parts([])
        embedded = pc.equal(photos["status"], PhotoStatus.EMBEDDED.value)
        # Faces whose part was lost are detected anew.
        embedded = pc.and_(embedded, pc.is_valid(photos["faces_part"]))
        without = pc.equal(photos["status"], PhotoStatus.NO_FACE.value)
        photos = photos.filter(pc.or_(embedded, without))
        row = pc.index_in(to_do["uri"], value_set=photos["uri"].combine_chunks())
        for name, column in zip(SOURCE_COLUMNS, ("photo_id", "faces_part"), strict=True):
            to_do = to_do.append_column(name, photos[column].take(row))
        return self, to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """Read the given faces of photos to do; see `FaceSource.given_photos`.

        Raises:
            CorruptFileError: a part of the source dataset cannot be read.
        """
        names = ("face_id", "photo_id", "box", "landmarks", "score")
        columns = pa.schema([face_schema(1).field(name) for name in names])
        photo_ids = to_do[SOURCE_COLUMNS[0]]
        found: defaultdict[str, list[GivenFace]] = defaultdict(list)
        for part in to_do[SOURCE_COLUMNS[1]].drop_null().unique().to_pylist():
            table = read_table(self.dataset.folder, part_file("faces", part), columns)
            asked = pc.is_in(table["photo_id"], value_set=photo_ids.combine_chunks())
            for row in table.filter(asked).to_pylist():
                detection = Detection(
                    np.array(row["box"], np.float32),
                    np.array(row["landmarks"], np.float32).reshape(5, 2),
                    row["score"],
                )
                found[row["photo_id"]].append(GivenFace(detection, row["face_id"]))
        return {
            uri: GivenPhoto(found[photo_id], photo_id)
            for uri, photo_id in zip(to_do["uri"].to_pylist(), photo_ids.to_pylist(), strict=True)
            if photo_id is not None
        }


STORED_PREFIX = "stored_"
"""Prefix of the columns that `StoredFaces` adds to the photos to do."""

STORED_COLUMNS = (
    *("photo_id", "width", "height", "num_faces", "status", "reason", "picture_hash"),
    *("kept_away", "partly_read", "exif_taken", "mount", "faces_part"),
)
"""Columns of the source dataset's photos that `StoredFaces` adds, with `STORED_PREFIX`."""


@dataclass(frozen=True)
class StoredFaces:
    """A `FaceSource` of faces whose embeddings are stored, so that no photo has to be read."""

    dataset: Dataset

    def prepared(self, to_do: pa.Table, work: Folder) -> tuple[StoredFaces, pa.Table]:
        """Add what is stored of the photos to do; see `FaceSource.prepared`.

        All stored columns of a photo are null if the part with its faces was lost: it is read, and
        its faces are detected, anew. Faces that are withheld are given too; see `DatasetFaces`.
        """
        names = [name for name in STORED_COLUMNS if name != "faces_part"]
        photos = self.dataset.photos_in_parts(names)
        lost = pc.and_(
            pc.equal(photos["status"], PhotoStatus.EMBEDDED.value), pc.is_null(photos["faces_part"])
        )
        photos = photos.filter(pc.invert(lost))
        row = pc.index_in(to_do["uri"], value_set=photos["uri"].combine_chunks())
        for name in STORED_COLUMNS:
            to_do = to_do.append_column(STORED_PREFIX + name, photos[name].take(row))
        return self, to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """Return nothing: the photos whose faces are not stored have them detected."""
        return {}

    def faces(self, to_do: pa.Table) -> pa.Table:
        """Read the stored faces of photos to do, which have the columns from `prepared`.

        Returns:
            Rows of the source's `face_schema`.

        Raises:
            CorruptFileError: a part of the source dataset cannot be read.
        """
        schema = face_schema(self.dataset.contract.dimension)
        parts = to_do[f"{STORED_PREFIX}faces_part"].drop_null().unique().to_pylist()
        photo_ids = to_do[f"{STORED_PREFIX}photo_id"].combine_chunks()
        tables = [schema.empty_table()]
        for part in parts:
            table = read_table(self.dataset.folder, part_file("faces", part), schema)
            tables.append(table.filter(pc.is_in(table["photo_id"], value_set=photo_ids)))
        return pa.concat_tables(tables)


def list_dataset(source: Dataset) -> PhotoListing:
    """Return the current photos of a dataset as the listing of a job, in the dataset's order."""
    photos = source.photos([*LISTING_SCHEMA.names, *source.metadata.names])
    listed = photos.select([*LISTING_SCHEMA.names, *source.metadata.names])
    return PhotoListing(listed, (), pa.array(np.arange(len(listed))))
