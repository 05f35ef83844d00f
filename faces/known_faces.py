"""The faces of an existing dataset, to be embedded again without looking for them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.contract import ModelContract, require_same_contract
from faces.dataset import Dataset
from faces.parts import PhotoStatus, face_schema, read_table
from faces.pipeline import Detection
from faces.sources import LISTING_SCHEMA, PhotoListing

PLACE_COLUMNS = ("known_photo_id", "known_faces_part")
"""Columns of a photo to do that say where its faces are."""


@dataclass(frozen=True)
class KnownFace:
    """A face that was found before."""

    face_id: str
    detection: Detection


KnownFaces = Mapping[str, Sequence[KnownFace]]
"""By photo_id, all faces of a content that was searched before; none where it has none."""


def list_dataset(source: Dataset) -> PhotoListing:
    """The photos of a dataset as a job's photos, in the order of its parts."""
    photos = source.photos([*LISTING_SCHEMA.names, *source.metadata.names])
    listed = photos.select([*LISTING_SCHEMA.names, *source.metadata.names])
    return PhotoListing(listed, (), pa.array(np.arange(len(listed))))


def with_places(source: Dataset, to_do: pa.Table) -> pa.Table:
    """Photos to do with `PLACE_COLUMNS`: null where the faces are to be looked for.

    That is so too for photos all of whose faces were deleted: found again, they are withheld.
    """
    photos = source.photos([])
    searched = pa.array([PhotoStatus.EMBEDDED.value, PhotoStatus.NO_FACE.value])
    photos = photos.filter(pc.is_in(photos["status"], value_set=searched))
    place = pc.index_in(to_do["uri"], value_set=photos["uri"].combine_chunks())
    for name, column in zip(PLACE_COLUMNS, ("photo_id", "faces_part"), strict=True):
        to_do = to_do.append_column(name, photos[column].take(place))
    return to_do


def known_faces(source: Dataset, to_do: pa.Table) -> KnownFaces:
    """The faces of photos with `PLACE_COLUMNS`.

    Raises:
        DamagedFileError: a part of the dataset cannot be read.
    """
    if PLACE_COLUMNS[0] not in to_do.column_names:
        return {}
    found: defaultdict[str, list[KnownFace]] = defaultdict(list)
    for photo_id in to_do[PLACE_COLUMNS[0]].drop_null().unique().to_pylist():
        found[photo_id] = []
    names = ("face_id", "photo_id", "box", "landmarks", "score")
    columns = pa.schema([face_schema(1).field(name) for name in names])
    wanted = to_do[PLACE_COLUMNS[0]].combine_chunks()
    for part in to_do[PLACE_COLUMNS[1]].drop_null().unique().to_pylist():
        table = read_table(source.part_path("faces", part), columns)
        for row in table.filter(pc.is_in(table["photo_id"], value_set=wanted)).to_pylist():
            detection = Detection(
                np.array(row["box"], np.float32),
                np.array(row["landmarks"], np.float32).reshape(5, 2),
                row["score"],
            )
            found[row["photo_id"]].append(KnownFace(row["face_id"], detection))
    return dict(found)


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
