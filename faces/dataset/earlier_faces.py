"""The earlier faces of photos that are embedded again, for the workers that give out face_ids.

A worker knows a photo's content only when it has read it, so it looks the content up: two files in
the dataset's work folder say, for each dataset with earlier faces, which part has the faces of a
content, and which faces were kept away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.storage import Folder
from faces.dataset.deletions import content_digest, face_digest
from faces.dataset.face_ids import EarlierFace, face_ids, possible_face_ids
from faces.dataset.layout import part_file
from faces.dataset.schema import face_schema, faces_parts, matrix_of, read_table, with_column
from faces.dataset.store import Dataset

_KEY_DIGITS = 16
"""Hexadecimal digits of a photo_id by which a content is looked up; 64 bits."""

_FACE_COLUMNS = pa.schema([face_schema(1).field(n) for n in ("face_id", "photo_id", "box")])


class ContentLookup(NamedTuple):
    """Where the earlier faces of a dataset's contents are.

    Attributes:
        parts: key, uint64 and ascending, of each content that ever had faces, and part, the name of
            the newest part that has them.
        kept_away: photo_id and the list kept_away of the contents of which faces were kept away.
    """

    parts: pa.Table
    kept_away: pa.Table


def content_lookup(rows: pa.Table) -> ContentLookup:
    """Return where the earlier faces are, by rows of `Dataset.photo_rows` with kept_away."""
    owners = faces_parts(rows)
    keys = _keys(owners["photo_id"].to_pylist())
    order = np.argsort(keys, kind="stable")
    part = owners["part"].combine_chunks().dictionary_encode().take(pa.array(order))
    kept_away = rows.filter(pc.is_valid(rows["kept_away"])).select(["photo_id", "kept_away"])
    return ContentLookup(pa.table({"key": keys[order], "part": part}), kept_away)


def _keys(photo_ids: Sequence[str]) -> NDArray[np.uint64]:
    digits = "".join(photo_id[:_KEY_DIGITS] for photo_id in photo_ids)
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


class AssignedIds(NamedTuple):
    """Faces with their final ids.

    Attributes:
        faces: the faces.
        stored: numbers of the rows whose ids a part has already: nobody deleted these faces, or
            their deletion is known by the id.
        digests: `face_digest` of the faces that were found again, which are to be looked for
            nowhere else.
    """

    faces: pa.Table
    stored: frozenset[int] = frozenset()
    digests: frozenset[str] = frozenset()


class _DigestOnly(NamedTuple):
    """A face of which the id is not kept, but its `face_digest` and its box in pixels."""

    digest: str
    box: NDArray[np.float32]


@dataclass(frozen=True)
class EarlierFaces:
    """The earlier faces of contents. It is sent to workers.

    Attributes:
        datasets: the dataset that is written, and the dataset that it follows, if any.
        work: folder with the files that say where their faces are.
    """

    datasets: tuple[Dataset, ...]
    work: Folder

    @classmethod
    def prepared(
        cls, work: Folder, dataset: Dataset, lookup: ContentLookup, follows: Dataset | None
    ) -> EarlierFaces:
        """Write the files that workers need.

        Args:
            work: folder for files that all workers can read.
            dataset: the dataset that is written.
            lookup: where its faces are, as of the beginning of the run.
            follows: another dataset, whose face_ids are kept too.

        Raises:
            CorruptFileError: a part of the other dataset cannot be read.
        """
        lookups = [lookup]
        if follows is not None:
            lookups.append(content_lookup(follows.photo_rows(["kept_away"])))
        for number, found in enumerate(lookups):
            for name, table in zip(_names(number), found, strict=True):
                write_arrow(work, name, table.combine_chunks())
        return cls((dataset, follows) if follows else (dataset,), work)

    def assign(
        self, photos: pa.Table, faces: pa.Table, detected: Collection[str], pictures: pa.Table
    ) -> AssignedIds:
        """Give the faces of a part their ids: those that they had, or new ones.

        Args:
            photos: rows of the dataset's `photo_schema`.
            faces: all faces of these photos, rows of `face_schema`.
            detected: photo_ids of the contents whose faces were detected now. Others keep the ids
                that they have.
            pictures: the pictures of the dataset's deleted faces, from `read_deleted_pictures`.

        Raises:
            CorruptFileError: a part with earlier faces cannot be read.
        """
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, photo_id in enumerate(faces["photo_id"].to_pylist()):
            if photo_id in detected:
                rows[photo_id].append(row)
        if not rows:
            return AssignedIds(faces)
        known = [self._known(number, list(rows)) for number in range(len(self.datasets))]
        for photo_id, deleted in _deleted(pictures, photos, rows):
            known[0].digests[photo_id].append(deleted)
        boxes = matrix_of(faces["box"])
        ids, stored, digests = faces["face_id"].to_pylist(), set(), set()
        own = self.datasets[0]
        detection = own.settings.detection
        for photo_id, here in rows.items():
            earlier = self._of_content(photo_id, known)
            begins = not own.settings.salted_ids
            found = face_ids(photo_id, boxes[here], earlier, detection, begins=begins)
            for row, face in zip(here, found, strict=True):
                ids[row] = face.face_id
                if face.earlier is not None:
                    digests.add(face_digest(face.face_id))
                    if face.earlier.is_stored:
                        stored.add(row)
        faces = with_column(faces, "face_id", pa.array(ids, pa.string()))
        return AssignedIds(faces, frozenset(stored), frozenset(digests))

    def _known(self, number: int, photo_ids: Sequence[str]) -> _Known:
        """Read what one of the datasets knows of contents."""
        known = _Known(defaultdict(list), defaultdict(list))
        parts_name, kept_name = _names(number)
        dataset = self.datasets[number]
        wanted = _parts_of(self.work, parts_name, photo_ids)
        for part in sorted({part for parts in wanted.values() for part in parts}):
            table = read_table(dataset.folder, part_file("faces", part), _FACE_COLUMNS)
            table = table.filter(pc.is_in(table["photo_id"], value_set=pa.array(photo_ids)))
            columns = (table["face_id"].to_pylist(), table["photo_id"].to_pylist())
            for face_id, photo_id, box in zip(*columns, matrix_of(table["box"]), strict=True):
                if part in wanted[photo_id]:
                    known.faces[photo_id].append(EarlierFace(face_id, box, is_stored=True))
        kept = read_arrow(self.work.mapped(kept_name))
        kept = kept.filter(pc.is_in(kept["photo_id"], value_set=pa.array(photo_ids)))
        for row in kept.to_pylist():
            for face in row["kept_away"]:
                box = np.array(face["box"], np.float32)
                known.digests[row["photo_id"]].append(_DigestOnly(face["digest"], box))
        return known

    def _of_content(self, photo_id: str, known: Sequence[_Known]) -> list[EarlierFace]:
        """Return the earlier faces of a content, the ids of deleted ones found by their digests.

        A deleted face whose id is not found is left out: it is withheld by its place alone.
        """
        faces = [face for each in known for face in each.faces[photo_id]]
        wanted = {face.digest: face.box for each in known for face in each.digests[photo_id]}
        if not wanted:
            return faces
        wanted = {d: wanted[d] for d in wanted.keys() - {face_digest(f.face_id) for f in faces}}
        detections = dict.fromkeys(dataset.settings.detection for dataset in self.datasets)
        for face_id in possible_face_ids(photo_id, detections):
            if not wanted:
                break
            box = wanted.pop(face_digest(face_id), None)
            if box is not None:
                faces = [*faces, EarlierFace(face_id, box, is_stored=False)]
        return faces


def _names(number: int) -> tuple[str, str]:
    """Return the names of the files of one of the datasets, by its number."""
    return f"earlier-{number}.parts", f"earlier-{number}.kept"


class _Known(NamedTuple):
    """What a dataset knows of contents, by photo_id."""

    faces: Mapping[str, list[EarlierFace]]
    digests: Mapping[str, list[_DigestOnly]]


def _deleted(
    pictures: pa.Table, photos: pa.Table, photo_ids: Iterable[str]
) -> Iterator[tuple[str, _DigestOnly]]:
    """Yield the deleted faces of contents as pairs of photo_id and face."""
    if not len(pictures):
        return
    content_of = {content_digest(photo_id): photo_id for photo_id in photo_ids}
    pictures = pictures.filter(
        pc.is_in(pictures["content"], value_set=pa.array(list(content_of), pa.string()))
    )
    columns = [photos[name].to_pylist() for name in ("photo_id", "width", "height")]
    size = {photo_id: size for photo_id, *size in zip(*columns, strict=True) if size[0]}
    rows = zip(pictures["digest"].to_pylist(), pictures["content"].to_pylist(), strict=True)
    for (digest, content), box in zip(rows, matrix_of(pictures["box"]), strict=True):
        photo_id = content_of[content]
        if photo_id in size:
            yield photo_id, _DigestOnly(digest, box * np.array(size[photo_id] * 2, np.float32))


def _parts_of(work: Folder, name: str, photo_ids: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of the parts that may have the faces of contents.

    Args:
        work: folder of the file.
        name: name of a file of `ContentLookup.parts`.
        photo_ids: the contents.
    """
    table = read_arrow(work.mapped(name))
    keys = table["key"].to_numpy()
    wanted = _keys(photo_ids)
    starts = np.searchsorted(keys, wanted).tolist()
    ends = np.searchsorted(keys, wanted, side="right").tolist()
    return {
        photo_id: set(table["part"].slice(start, end - start).to_pylist())
        for photo_id, start, end in zip(photo_ids, starts, ends, strict=True)
    }
