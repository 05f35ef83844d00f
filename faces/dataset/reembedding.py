"""Faces known before a job begins: where they are, and perhaps their embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import ModelContract, require_same_contract
from faces.dataset.schema import PhotoStatus, face_schema, read_table
from faces.dataset.store import Dataset
from faces.models.face import Detection, GivenFace
from faces.photos.listed import LISTING_SCHEMA, PhotoListing

PLACE_COLUMNS = ("known_photo_id", "known_faces_part")
"""Columns of a photo to do that say where its faces are."""


@dataclass(frozen=True)
class GivenPhoto:
    """All faces of a photo that was searched before; none where it has none.

    Attributes:
        faces: these.
        photo_id: of the content they are in; None: of whatever is there now.
    """

    faces: Sequence[GivenFace]
    photo_id: str | None = None


GivenPhotos = Mapping[str, GivenPhoto]
"""By uri."""


class FaceSource(Protocol):
    """What knows faces of photos. Sent to workers."""

    def prepared(self, to_do: pa.Table, work_dir: Path) -> tuple[FaceSource, pa.Table]:
        """The source as workers are to have it, and the photos with columns that it wants."""
        ...

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """What is known of photos to do."""
        ...


@dataclass(frozen=True)
class DatasetFaces:
    """The faces of an existing dataset, to be embedded again: a `FaceSource`."""

    dataset: Dataset

    def prepared(self, to_do: pa.Table, work_dir: Path) -> tuple[DatasetFaces, pa.Table]:
        """See `FaceSource`.

        Photos all of whose faces were deleted are searched again; what is found is withheld.
        """
        photos = self.dataset.photos([])
        embedded = pc.equal(photos["status"], PhotoStatus.EMBEDDED.value)
        # Those whose part was lost are searched again.
        embedded = pc.and_(embedded, pc.is_valid(photos["faces_part"]))
        without = pc.equal(photos["status"], PhotoStatus.NO_FACE.value)
        photos = photos.filter(pc.or_(embedded, without))
        place = pc.index_in(to_do["uri"], value_set=photos["uri"].combine_chunks())
        for name, column in zip(PLACE_COLUMNS, ("photo_id", "faces_part"), strict=True):
            to_do = to_do.append_column(name, photos[column].take(place))
        return self, to_do

    def given_photos(self, to_do: pa.Table) -> GivenPhotos:
        """See `FaceSource`.

        Raises:
            CorruptFileError: a part of the dataset cannot be read.
        """
        names = ("face_id", "photo_id", "box", "landmarks", "score")
        columns = pa.schema([face_schema(1).field(name) for name in names])
        ids = to_do[PLACE_COLUMNS[0]]
        found: defaultdict[str, list[GivenFace]] = defaultdict(list)
        for part in to_do[PLACE_COLUMNS[1]].drop_null().unique().to_pylist():
            table = read_table(self.dataset.part_path("faces", part), columns)
            wanted = pc.is_in(table["photo_id"], value_set=ids.combine_chunks())
            for row in table.filter(wanted).to_pylist():
                detection = Detection(
                    np.array(row["box"], np.float32),
                    np.array(row["landmarks"], np.float32).reshape(5, 2),
                    row["score"],
                )
                found[row["photo_id"]].append(GivenFace(detection, row["face_id"]))
        return {
            uri: GivenPhoto(found[photo_id], photo_id)
            for uri, photo_id in zip(to_do["uri"].to_pylist(), ids.to_pylist(), strict=True)
            if photo_id is not None
        }


def list_dataset(source: Dataset) -> PhotoListing:
    """The photos of a dataset as a job's photos, in the order of its parts."""
    photos = source.photos([*LISTING_SCHEMA.names, *source.metadata.names])
    listed = photos.select([*LISTING_SCHEMA.names, *source.metadata.names])
    return PhotoListing(listed, (), pa.array(np.arange(len(listed))))


def require_same_detector(source: Dataset, ours: ModelContract) -> None:
    """Raise ContractMismatchError unless a dataset's faces are as `ours` would find them."""
    theirs = source.contract
    found_by = replace(
        ours,
        detector=theirs.detector,
        detector_digest=theirs.detector_digest,
        preprocessing_version=theirs.preprocessing_version,
    )
    require_same_contract(
        ours,
        found_by,
        ours_name="this run",
        theirs_name=f"the faces of dataset {source.path}",
        remedy="leave --detector out, or name the photos instead of the dataset",
    )
