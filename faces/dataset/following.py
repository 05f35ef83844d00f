"""The deletions of another dataset, as a dataset that follows it takes them over.

Faces that both datasets have are deleted from both by their face_ids. A dataset that was begun
without the other one may have given the same face another id, and the same id to another face, if
its detector is another one. So a deleted face is first looked for in its place in its photo.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.deleted_pictures import (
    add_deleted_pictures,
    read_deleted_pictures,
    relative_boxes,
)
from faces.dataset.deletion_steps import follow_source
from faces.dataset.deletions import (
    DeletionRow,
    Deletions,
    content_digest,
    deletions_of_rows,
    face_digest,
    face_digests,
    read_deletions,
)
from faces.dataset.rewrite import remove_deleted_faces
from faces.dataset.schema import matrix_of, with_column
from faces.dataset.store import Dataset, FaceTables
from faces.dataset.withholding import face_at


@dataclass(frozen=True, eq=False)
class FollowedDeletions:
    """The deletions of a dataset, with the face_ids that the faces have in another one.

    Attributes:
        deletions: the deletions.
        pictures: what recognises the faces in copies of their photos, rows of `PICTURES_SCHEMA`.
    """

    deletions: Deletions
    pictures: pa.Table

    @classmethod
    def of(cls, source_dir: Path, dataset: Dataset | None) -> FollowedDeletions:
        """Read the deletions of a dataset for another one that follows it.

        Args:
            source_dir: folder of the dataset whose deletions are followed.
            dataset: the dataset that follows; None: it is new, and has no faces yet.
        """
        deletions = read_deletions(source_dir)
        pictures = read_deleted_pictures(source_dir, deletions)
        if dataset is None or not len(pictures):
            return cls(deletions, pictures)
        found = _found_by_place(pictures, dataset)
        rows = [_as_found(row, found) for row in deletions.rows]
        digests = [
            found[digest].digest if digest in found else digest
            for digest in pictures["digest"].to_pylist()
        ]
        pictures = with_column(pictures, "digest", pa.array(digests, pa.string()))
        return cls(deletions_of_rows(rows), pictures)

    def apply_to(self, dataset: Dataset) -> None:
        """Withhold from a dataset what is withheld from the one that it follows.

        Faces that the other dataset has taken back are seen again, and those that it has purged are
        removed. If it is stopped at any point, the next call finishes it.

        Args:
            dataset: the dataset to delete from.

        Raises:
            BusyError: another process is writing the dataset.
        """
        final = self.deletions.final_digests
        contents: dict[str, str] = {}
        if len(final):
            for table in dataset.faces(["face_id", "photo_id"]):
                faces = table.filter(pc.is_in(face_digests(table["face_id"]), value_set=final))
                contents |= dict(zip(*faces.to_pydict().values(), strict=True))
        follow_source(dataset.path, self.deletions, contents)
        remove_deleted_faces(dataset)

    def withhold_from(self, dataset_dir: Path) -> None:
        """Withhold these faces from all parts of a dataset that are written from now on.

        They are withheld wherever they are found, in edited copies too. Faces that the other
        dataset has taken back are taken back.
        """
        add_deleted_pictures(dataset_dir, self.pictures)
        follow_source(dataset_dir, self.deletions, {})


class _Found(NamedTuple):
    """What a deleted face is in the dataset that follows.

    Attributes:
        face_id: the face's id there; None: the dataset does not have the face, but another one
            with its id.
        photo_id: sha256 of the photo's content.
        digest: `face_digest` of the id, or one that no face has.
    """

    face_id: str | None
    photo_id: str
    digest: str


def _as_found(row: DeletionRow, found: dict[str, _Found]) -> DeletionRow:
    if not row.is_face or row.digest not in found:
        return row
    face = found[row.digest]
    return row._replace(face_id=face.face_id, digest=face.digest, content=face.photo_id)


def _found_by_place(pictures: pa.Table, dataset: Dataset) -> dict[str, _Found]:
    """Return, by `face_digest`, the deleted faces that have another id in a dataset.

    Args:
        pictures: rows of `PICTURES_SCHEMA`.
        dataset: the dataset.
    """
    faces = _faces_of_contents(dataset, pictures["content"].combine_chunks())
    found = {}
    digests, contents = pictures["digest"].to_pylist(), pictures["content"].to_pylist()
    for digest, content, box in zip(digests, contents, matrix_of(pictures["box"]), strict=True):
        if content not in faces:
            continue
        photo_id, face_ids, boxes = faces[content]
        of_id = [face_digest(face_id) == digest for face_id in face_ids]
        row = face_at(box, boxes)
        if row is None:
            if any(of_id):
                found[digest] = _Found(None, photo_id, face_digest(f"elsewhere {digest}"))
        elif not any(of_id) or face_at(box, boxes[of_id]) is None:
            found[digest] = _Found(face_ids[row], photo_id, face_digest(face_ids[row]))
    return found


def _faces_of_contents(
    dataset: Dataset, contents: pa.Array
) -> dict[str, tuple[str, list[str], NDArray[np.float32]]]:
    """Return the photo_id, face_ids and relative boxes of contents, by `content_digest`.

    Args:
        dataset: the dataset, of which withheld faces count, too.
        contents: digests of contents, which the dataset may have or not.
    """
    photos = dataset.photos_in_parts(["width", "height"])
    by_photo = {i: content_digest(i) for i in photos["photo_id"].drop_null().unique().to_pylist()}
    wanted = set(contents.to_pylist())
    here = pa.array([i for i, content in by_photo.items() if content in wanted], pa.string())
    photos = photos.filter(pc.is_in(photos["photo_id"], value_set=here))
    names = ["face_id", "photo_id", "box"]
    tables = list(FaceTables(dataset, names, photos, with_withheld=True))
    if not tables:
        return {}
    faces = pa.concat_tables(tables)
    row = pc.index_in(faces["photo_id"], value_set=photos["photo_id"].combine_chunks())
    boxes = relative_boxes(faces["box"], photos["width"].take(row), photos["height"].take(row))
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, photo_id in enumerate(faces["photo_id"].to_pylist()):
        rows[photo_id].append(number)
    face_ids = faces["face_id"].to_pylist()
    return {
        by_photo[photo_id]: (photo_id, [face_ids[n] for n in numbers], boxes[numbers])
        for photo_id, numbers in rows.items()
    }
