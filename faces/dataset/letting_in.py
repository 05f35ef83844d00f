"""Letting faces in again that were kept away because they were deleted before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.named import as_list
from faces.dataset.deletion_steps import allow_faces as allow_digests
from faces.dataset.store import Dataset
from faces.photos.uris import names_of

_SHORTEST = 8
"""Minimum number of characters of a digest that name a face."""


def allow_faces(
    dataset: str | Path,
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
) -> list[str]:
    """Let faces into a dataset again that were kept away; see `Dataset.kept_away`.

    The next run over their photos embeds them. Deleting them again keeps them away again.

    Args:
        dataset: path of the dataset's folder.
        faces: digests of faces, or the first 8 characters or more.
        photos: paths, uris or photo ids of photos, of which all faces are let in.

    Returns:
        The digests of the faces, each once.

    Raises:
        WrongUsageError: there is no such dataset, or no such face or photo in `Dataset.kept_away`.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is deleting faces.
    """
    source = Dataset.open(dataset)
    named = [*map(str, as_list(faces)), *map(str, as_list(photos))]
    if not named:
        raise WrongUsageError("no faces are named; name some by --face or --photo")
    kept = source.kept_away()
    found: list[str] = []
    for face in map(str, as_list(faces)):
        if len(face) < _SHORTEST:
            raise WrongUsageError(f"{face!r} is too short; give {_SHORTEST} characters or more")
        rows = pc.starts_with(kept["digest"], os.fsencode(face))
        found += _digests(kept, rows, face, source)
    for photo in map(str, as_list(photos)):
        names = pa.array(names_of(photo), pa.string())
        in_photo = pc.or_(
            pc.is_in(kept["uri"], value_set=names), pc.is_in(kept["photo_id"], value_set=names)
        )
        found += _digests(kept, in_photo, photo, source)
    digests = list(dict.fromkeys(found))
    allow_digests(source.path, digests)
    return digests


def _digests(kept: pa.Table, rows: pa.Array, name: str, source: Dataset) -> list[str]:
    """Return the digests in some rows; raise WrongUsageError if there are none."""
    digests: list[str] = kept["digest"].filter(rows).to_pylist()
    if not digests:
        raise WrongUsageError(
            f"no face of {name} was kept away; `facetrove info {source.path} --kept-away` lists "
            "those that were"
        )
    return digests
