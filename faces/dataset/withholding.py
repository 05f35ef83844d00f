"""Keeping deleted faces away when their photos are embedded again, edited or not.

A face is withheld

- by its face_id, or by its photo's content if that lost all its faces: the very same file;
- by its place in a photo of the same content, where another detector found it and its box does not
  overlap the deleted one enough for `faces.dataset.face_ids` to know its face_id;
- by its place in a photo that agrees with the hash of the photo that it was deleted from. From
  `SURE` on that is an edited copy; from `POSSIBLE` on it may be one, or a photo of the same moment.
  It is withheld in both cases, and the summary of the run asks to look at the uncertain ones.

A face of the very same file whose deletion can be taken back stays in the part: its readers do not
see it until then, and a purge removes it. All others are kept away from the part.

What was kept away stands in the row of the photo, so that it can be counted, listed and let in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.dataset.deleted_pictures import relative_boxes
from faces.dataset.deletions import (
    Deletions,
    content_digest,
    face_digests,
    faces_among,
)
from faces.dataset.earlier_faces import AssignedIds
from faces.dataset.face_counts import without_faces
from faces.dataset.picture_hash import (
    MIN_BITS,
    WHOLE,
    box_in_window,
    compare_pictures,
    num_compared,
    unpack_hashes,
)
from faces.dataset.schema import Certainty, matrix_of, with_column

SURE, POSSIBLE = 0.9, 0.8
"""Minimum agreement of a photo with a hash that makes it an edited copy for certain, and possibly.
Measured by `python -m benchmarks.kept_away` on LFW with 1,000 photos deleted: 99.8% of the copies
that are a stop brighter, and 99.9% of the other kinds, reach `POSSIBLE`; of 4,035 others three
do, of which two show the same moment. They were chosen on another draw of the deleted photos."""

POSITION_TOLERANCE = 0.015
"""Distance from the deleted face's box within which a face's centre counts as in its place, as a
share of the photo's width and height."""

MAX_SIZE_RATIO = 2.5
"""Maximum ratio of the sizes of two faces in the same place. Detectors draw boxes of other sizes:
dlib's, which are smallest, have three quarters of YuNet's side."""

Thumbnails = Mapping[str, NDArray[np.uint8]]
"""(64, 64) grey images of photos, by photo_id; see `faces.photos.thumbnails`."""


NO_THUMBNAILS: Thumbnails = MappingProxyType({})


class _Reason(NamedTuple):
    """Why a face is withheld: the digest of the deletion, and how sure it is."""

    deletion: str
    certainty: Certainty


def withhold_deleted(
    photos: pa.Table,
    assigned: AssignedIds,
    deletions: Deletions,
    pictures: pa.Table,
    thumbnails: Thumbnails = NO_THUMBNAILS,
) -> tuple[pa.Table, pa.Table]:
    """Return a part's photos and faces without the faces that were deleted on request.

    The column kept_away of the photos says which faces these were.

    Args:
        photos: rows of the dataset's `photo_schema`.
        assigned: all faces of these photos, rows of `face_schema`. Those that a part has already
            are withheld by their face_ids alone.
        deletions: the dataset's deletions.
        pictures: the pictures of the deleted faces, from `read_deleted_pictures`.
        thumbnails: the photos as small images. Faces of a photo without one are withheld by their
            face_ids and by its content alone: they are known by these already.
    """
    faces = assigned.faces
    if not (len(deletions.digests) or len(deletions.emptied)) or not len(faces):
        return photos, faces
    digests, photo_ids = face_digests(faces["face_id"]).to_pylist(), faces["photo_id"].to_pylist()
    reasons = _by_digest(deletions, digests, photo_ids)
    hidden = _hidden_in_part(deletions, faces)
    if len(pictures) and thumbnails:
        reasons = {**_by_picture(pictures, photos, assigned, thumbnails), **reasons}
    allowed = set(deletions.allowed.to_pylist())
    reasons = {
        row: reason
        for row, reason in reasons.items()
        if digests[row] not in allowed and row not in hidden
    }
    if not reasons:
        return photos, faces
    withheld = np.zeros(len(faces), dtype=bool)
    withheld[list(reasons)] = True
    kept_away: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    boxes = matrix_of(faces["box"])
    for row, reason in sorted(reasons.items()):
        kept_away[photo_ids[row]].append(
            {"digest": digests[row], **reason._asdict(), "box": boxes[row].tolist()}
        )
    lists = [kept_away.get(photo_id) for photo_id in photos["photo_id"].to_pylist()]
    kept_type = photos.schema.field("kept_away").type
    photos = with_column(photos, "kept_away", pa.array(lists, kept_type))
    return without_faces(photos, faces, pa.array(withheld))


def _by_digest(
    deletions: Deletions, digests: Sequence[str], photo_ids: Sequence[str]
) -> dict[int, _Reason]:
    """Return the rows of faces that were purged by their face_ids, or with all of their photo."""
    purged = {*deletions.final_digests.to_pylist(), *deletions.final_contents.to_pylist()}
    reasons: dict[int, _Reason] = {}
    for row, (digest, photo_id) in enumerate(zip(digests, photo_ids, strict=True)):
        for candidate in (digest, content_digest(photo_id)):
            if candidate in purged:
                reasons.setdefault(row, _Reason(candidate, Certainty.SAME_BYTES))
    return reasons


def _hidden_in_part(deletions: Deletions, faces: pa.Table) -> set[int]:
    """Return the rows of faces that readers do not see, and that can be taken back."""
    hidden = faces_among(faces, deletions.withheld, deletions.withheld_contents)
    return set(pc.indices_nonzero(hidden).to_pylist())


def _by_picture(
    pictures: pa.Table, photos: pa.Table, assigned: AssignedIds, thumbnails: Thumbnails
) -> dict[int, _Reason]:
    """Return the rows of faces that are in the place of a deleted face, in the same picture."""
    faces = assigned.faces
    of_face = pc.index_in(faces["photo_id"], value_set=photos["photo_id"].combine_chunks())
    boxes = relative_boxes(
        faces["box"], photos["width"].take(of_face), photos["height"].take(of_face)
    )
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, photo_id in enumerate(faces["photo_id"].to_pylist()):
        if row not in assigned.stored:
            rows[photo_id].append(row)
    digests, deleted_boxes = pictures["digest"].to_pylist(), matrix_of(pictures["box"])
    contents = pictures["content"].to_pylist()
    reasons: dict[int, _Reason] = {}
    for photo_id, deleted, window, agreement in _same_pictures(pictures, list(rows), thumbnails):
        found_again = digests[deleted] in assigned.digests
        if found_again and contents[deleted] == content_digest(photo_id):
            continue
        expected = box_in_window(deleted_boxes[deleted], window)
        face = face_at(expected, boxes[rows[photo_id]])
        if face is None:
            continue
        certainty = Certainty.SAME_PICTURE if agreement >= SURE else Certainty.UNCERTAIN
        reason = _Reason(digests[deleted], certainty)
        row = rows[photo_id][face]
        if row not in reasons or reasons[row].certainty is Certainty.UNCERTAIN:
            reasons[row] = reason
    return reasons


def _same_pictures(
    pictures: pa.Table, photo_ids: list[str], thumbnails: Thumbnails
) -> list[tuple[str, int, int, float]]:
    """Return which photos may be copies of which deleted pictures.

    Returns:
        For each pair the photo_id, the row of `pictures`, the number of the window and the
        agreement; 1 for photos of the same content.
    """
    found = []
    by_content: defaultdict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(pictures["content"].to_pylist()):
        by_content[content].append(row)
    seen = [photo_id for photo_id in photo_ids if photo_id in thumbnails]
    for photo_id in seen:
        found += [(photo_id, row, WHOLE, 1.0) for row in by_content[content_digest(photo_id)]]
    hashes = unpack_hashes(pictures["picture_hash"].to_pylist())
    usable = np.flatnonzero(num_compared(hashes) >= MIN_BITS)
    if seen and len(usable):
        images = np.stack([thumbnails[photo_id] for photo_id in seen])
        compared = compare_pictures(images, hashes[usable])
        for photo, column in np.argwhere(compared.agreement >= POSSIBLE).tolist():
            window, agreement = compared.window[photo, column], compared.agreement[photo, column]
            found.append((seen[photo], int(usable[column]), int(window), float(agreement)))
    return found


def face_at(expected: NDArray[np.float32], boxes: NDArray[np.float32]) -> int | None:
    """Return which of a photo's faces is in the place of a deleted face, None if none is.

    Args:
        expected: (4,) where the deleted face would be in this photo, as shares of the photo.
        boxes: (f, 4) the boxes of the photo's faces, likewise.
    """
    centres, centre = boxes[:, :2] + boxes[:, 2:] / 2, expected[:2] + expected[2:] / 2
    away = np.abs(centres - centre)
    near = (away <= expected[2:] / 2 + POSITION_TOLERANCE).all(axis=1)
    size = np.sqrt(boxes[:, 2:].prod(axis=1) / max(float(expected[2:].prod()), 1e-12))
    near &= (size >= 1 / MAX_SIZE_RATIO) & (size <= MAX_SIZE_RATIO)
    if not near.any():
        return None
    distance = np.where(near, np.square(away).sum(axis=1), np.inf)
    return int(distance.argmin())
