"""Carrying a dataset of an older format over to the format that is written now.

Parts are rewritten one by one, each file whole or not at all, and dataset.json last: a call that is
stopped at any point is finished by the next one. Nothing is read but the dataset itself.

    format 1    had no quality measures of faces, no columns of photo lists, and no copies: photos
                of one content had faces, and face_ids, of their own. The first one's are kept.
    format 2    had no embedding norm

What was not measured then is NaN now. The embeddings stay what they are, with their contract: they
can be compared with new ones if the contract is that of this program, and the faces of a dataset
of another contract can be embedded anew with their face_ids, see `beam_jobs.reembed`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import PREPROCESSING_VERSION
from faces.core.errors import CorruptFileError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deletions import read_deletions
from faces.dataset.header import (
    FORMAT_VERSION,
    read_header,
    settings_of,
    write_header,
)
from faces.dataset.layout import HEADER_FILE, PART_KINDS, dataset_folder, part_file
from faces.dataset.picture_reading import hash_photos
from faces.dataset.rewrite import replace_faces, replace_photos
from faces.dataset.schema import (
    ADDED_COLUMNS,
    PHOTO_SCHEMA,
    PhotoStatus,
    current_photos,
    face_schema,
    matrix_of,
    owns_faces,
    present_columns,
    read_report,
    read_table,
    with_column,
    with_report,
    write_table,
)
from faces.dataset.store import Dataset
from faces.photos.rejection import RejectReason

_RENAMED_REASONS = {"damaged": RejectReason.CORRUPT.value}
"""Reasons of rejected photos that have another name now, by the old one."""


@dataclass(frozen=True)
class DatasetUpgrade:
    """The result of carrying a dataset over to the current format.

    Attributes:
        dataset: path of the dataset's folder.
        format_before: format version that it had.
        format_version: format version that it has now.
        num_photos, num_faces: numbers of photos and faces, as of `Dataset.counts`.
        num_deleted: number of faces that are deleted, and stay so.
        num_rewritten: number of parts that were rewritten.
        num_hashed: number of photos that were read to recognise edited copies of them.
        num_without_hash: number of photos with faces of which edited copies are not recognised
            when a face is deleted after the photo is gone: an older version embedded them.
        preprocessing_version: version of the preprocessing that made the embeddings.
        is_current: whether these embeddings can be compared with embeddings made now. If not,
            embed the dataset into a new one, which keeps face_ids, columns and deletions.
    """

    dataset: str
    format_before: int
    format_version: int
    num_photos: int
    num_faces: int
    num_deleted: int
    num_rewritten: int
    num_hashed: int
    num_without_hash: int
    preprocessing_version: int
    is_current: bool

    @property
    def has_changed(self) -> bool:
        """Whether anything was to be done."""
        return self.num_rewritten > 0 or self.format_before != self.format_version

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def upgrade_dataset(
    path: Path,
    *,
    read_photos: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> DatasetUpgrade:
    """Carry a dataset over to the current format, in place.

    Args:
        path: path of the dataset's folder.
        read_photos: whether to read photos, for the picture hashes that they lack.
        on_progress: called before each part.

    Raises:
        WrongUsageError: a newer facetrove wrote the dataset.
        CorruptFileError: a file of the dataset cannot be read.
        BusyError: another process is writing the dataset.
    """
    folder = dataset_folder(path)
    with folder.lease(what=f"dataset {path}"):
        folder.remove_temporary_files(of=HEADER_FILE)  # of a call that was killed
        for kind in PART_KINDS:
            folder.remove_temporary_files(kind)
        header = read_header(path)
        settings = settings_of(header, path)
        dataset = Dataset(path, settings)
        num_rewritten = _upgrade_parts(dataset, on_progress)
        if header.format_version != FORMAT_VERSION:
            write_header(path, settings, header.run)
        num_hashed = hash_photos(dataset, on_progress) if read_photos else 0
        counts = dataset.counts()
        return DatasetUpgrade(
            dataset=str(path),
            format_before=header.format_version,
            format_version=FORMAT_VERSION,
            num_photos=counts.num_photos,
            num_faces=counts.num_faces,
            num_deleted=len(read_deletions(path).digests),
            num_rewritten=num_rewritten,
            num_hashed=num_hashed,
            num_without_hash=_num_without_hash(dataset),
            preprocessing_version=settings.contract.preprocessing_version,
            is_current=settings.contract.preprocessing_version == PREPROCESSING_VERSION,
        )


def _upgrade_parts(dataset: Dataset, on_progress: OnProgress) -> int:
    """Rewrite the parts that lack something; return their number."""
    num_rewritten = 0
    with_faces: set[str] = set()
    parts = dataset.committed_parts()
    for number, part in enumerate(parts):
        on_progress(Progress("upgrading the dataset", number, len(parts)))
        photos, photos_changed = _upgraded_photos(dataset, part, with_faces)
        owners = photos.filter(owns_faces(photos))
        faces = _upgraded_faces(dataset, part, owners)
        with_faces.update(owners["photo_id"].to_pylist())
        if photos_changed:
            _write_photos(dataset, part, photos, faces)
        if faces is not None:
            replace_faces(dataset.folder, part_file("faces", part), faces)
        num_rewritten += photos_changed or faces is not None
    return num_rewritten


def _upgraded_photos(dataset: Dataset, part: str, with_faces: set[str]) -> tuple[pa.Table, bool]:
    """Return a part's photos as they are to be, and whether they differ from the file's.

    Args:
        dataset: the dataset.
        part: name of the part.
        with_faces: photo_ids of the contents that have faces in older parts.
    """
    name = part_file("photos", part)
    present = present_columns(dataset.folder, name, dataset.photo_schema)
    came_later = {"is_copy", *ADDED_COLUMNS, *dataset.metadata.names}
    _require_columns(dataset, name, {*dataset.photo_schema.names} - came_later, present)
    photos = read_table(dataset.folder, name, present)
    changed = False
    if "is_copy" not in present.names:
        changed = True
        is_copy, seen = [], set(with_faces)
        for photo_id, status in zip(*photos.select(["photo_id", "status"]), strict=True):
            embedded = status.as_py() == PhotoStatus.EMBEDDED.value
            is_copy.append(embedded and photo_id.as_py() in seen)
            if embedded:
                seen.add(photo_id.as_py())
        photos = photos.append_column(PHOTO_SCHEMA.field("is_copy"), pa.array(is_copy, pa.bool_()))
    renamed = pc.is_in(photos["reason"], value_set=pa.array(list(_RENAMED_REASONS)))
    if pc.any(renamed).as_py():
        changed = True
        reasons = [_RENAMED_REASONS.get(r, r) for r in photos["reason"].to_pylist()]
        photos = with_column(photos, "reason", pa.array(reasons, pa.string()))
    for field in dataset.photo_schema:
        if field.name not in photos.column_names:
            photos = photos.append_column(field, pa.nulls(len(photos), field.type))
    return photos.select(dataset.photo_schema.names), changed


def _upgraded_faces(dataset: Dataset, part: str, owners: pa.Table) -> pa.Table | None:
    """Return a part's faces as they are to be; None if the file has them so.

    Args:
        dataset: the dataset.
        part: name of the part.
        owners: the part's rows of photos that own faces.
    """
    name = part_file("faces", part)
    schema = face_schema(dataset.contract.dimension)
    present = present_columns(dataset.folder, name, schema)
    if present == schema:
        return None
    measured = {field.name for field in schema if field.type == pa.float32()}
    _require_columns(dataset, name, {*schema.names} - measured, present)
    faces = read_table(dataset.folder, name, present)
    if "face_size" not in present.names:  # format 1, in which copies had faces, too
        owner = pa.array(map("\0".join, zip(*_keys(owners), strict=True)), pa.string())
        face = pa.array(map("\0".join, zip(*_keys(faces), strict=True)), pa.string())
        faces = faces.filter(pc.is_in(face, value_set=owner))
        size = np.array(matrix_of(faces["box"])[:, 2:].min(axis=1, initial=np.inf), np.float32)
        faces = faces.append_column(schema.field("face_size"), pa.array(size))
    for field in schema:
        if field.name not in faces.column_names:
            unknown = np.full(len(faces), np.nan, dtype=np.float32)
            faces = faces.append_column(field, pa.array(unknown))
    return faces.select(schema.names).cast(schema)


def _require_columns(dataset: Dataset, name: str, needed: set[str], present: pa.Schema) -> None:
    for column in sorted(needed - {*present.names}):
        raise CorruptFileError(
            f"{dataset.folder.at(name)} lacks the column {column!r}: it is corrupt; restore it "
            "from a backup, or embed the photos into a new dataset"
        )


def _keys(rows: pa.Table) -> tuple[list[str], list[str]]:
    return rows["uri"].to_pylist(), rows["photo_id"].to_pylist()


def _write_photos(dataset: Dataset, part: str, photos: pa.Table, faces: pa.Table | None) -> None:
    folder, name = dataset.folder, part_file("photos", part)
    try:
        read_report(folder, name)
        replace_photos(folder, name, photos)
    except CorruptFileError:  # format 1 had no reports
        num_faces = 0 if faces is None else len(faces)
        with folder.put(name) as file:
            write_table(with_report(photos, num_faces, {}), file)


def _num_without_hash(dataset: Dataset) -> int:
    """Return the number of contents with faces that have no picture hash."""
    rows = dataset.photo_rows(["picture_hash"])
    photos = rows.filter(owns_faces(rows))
    hashed = pc.is_valid(photos["picture_hash"])
    contents = photos["photo_id"].filter(pc.invert(hashed)).unique()
    known = photos["photo_id"].filter(hashed).combine_chunks()
    current = current_photos(rows)["photo_id"].combine_chunks()
    lacking = pc.and_not(pc.is_in(contents, value_set=current), pc.is_in(contents, value_set=known))
    return int(pc.sum(lacking).as_py() or 0)
