"""Which faces a deletion selects: by face id, by photo, or by a condition on their columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.named import as_list
from faces.core.progress import OnProgress, Progress
from faces.dataset.schema import PhotoStatus
from faces.dataset.store import Dataset
from faces.photos.uris import is_url, photo_uri
from indexer.faces_file import FACES_SCHEMA
from indexer.filters import any_of, in_photo, rows_matching
from indexer.folder import open_segments
from indexer.manifest import Manifest
from indexer.segment import metadata_of


def matching(
    faces: str | Sequence[str], photos: str | Path | Sequence[str | Path], where: str | None
) -> str:
    """Return a filter for faces by face id, by photo (path, uri or photo id), or by condition.

    Args:
        faces: face ids.
        photos: paths, uris or photo ids of photos.
        where: a condition as in SQL's WHERE; None: no further faces.

    Raises:
        WrongUsageError: nothing is given, which would select every face.
    """
    conditions = [] if where is None else [f"({where})"]
    if face_ids := list(map(str, as_list(faces))):
        conditions.append(any_of("face_id", face_ids))
    if names := [str(photo) for photo in as_list(photos)]:
        uris = [name if is_url(name) else photo_uri(Path(name).absolute()) for name in names]
        conditions.append(in_photo([*uris, *names]))
    if not conditions:
        raise WrongUsageError("say which faces: by --face, --photo or --where")
    return " OR ".join(conditions)


def faces_in_indexes(
    opened: Sequence[tuple[Path, Manifest]], where: str, source: Dataset, on_progress: OnProgress
) -> pa.Array:
    """Return the ids of the live faces in indexes that match a filter.

    Columns that the dataset has and an index does not have yet are null in that index.
    """
    found = [pa.array([], pa.string())]
    for index_dir, manifest in opened:
        on_progress(Progress(f"looking through {index_dir}"))
        segments = open_segments(index_dir, manifest)
        metadata = pa.unify_schemas([metadata_of(segments), source.metadata])
        for segment in segments:
            rows = pa.array(segment.mask(where, metadata))
            found.append(segment.faces.table["face_id"].filter(rows).combine_chunks())
    return pa.concat_arrays(found).unique()


def faces_in_dataset(source: Dataset, where: str) -> pa.Array:
    """Return the ids of the faces of a dataset that match a filter, (n,) string.

    A photo's content may be at several places, with other metadata at each. The filter is asked
    about the metadata of every place: whoever is named at one of them is found.
    """
    metadata = source.metadata.names
    photos = source.photos(metadata)
    faces = source.faces([*FACES_SCHEMA.names, *metadata], photos=photos).to_arrow()
    tables = [faces]
    if metadata:
        tables.append(_at_other_places(faces, photos, metadata))
    found = [
        table["face_id"].filter(pa.array(rows_matching(table, where))).combine_chunks()
        for table in tables
        if len(table)
    ]
    return pa.concat_arrays([pa.array([], pa.string()), *found]).unique()


def _at_other_places(faces: pa.Table, photos: pa.Table, metadata: Sequence[str]) -> pa.Table:
    """Return a row for each face and each further place of its photo that has other metadata.

    Args:
        faces: faces, with the metadata of the first place of their photos.
        photos: the photos that the faces are in.
        metadata: names of the metadata columns.

    Returns:
        Rows of faces with the metadata of the other place. Where that has no value, the face keeps
        its own, so that `person IS NULL` is true of a face only if no place of it has a person.
    """
    several = pc.greater(pc.list_value_length(faces["also_at"]), 0)
    numbered = pa.table({"photo_id": faces["photo_id"], "face": np.arange(len(faces))})
    embedded = pc.equal(photos["status"], PhotoStatus.EMBEDDED.value)
    places = photos.filter(embedded)
    rows = pa.table({"photo_id": places["photo_id"], "place": np.arange(len(places))})
    pairs = numbered.filter(several).join(rows, "photo_id", join_type="inner")
    others, at = faces.take(pairs["face"]), places.take(pairs["place"])
    for name in metadata:
        position = others.schema.get_field_index(name)
        values = pc.coalesce(at[name], others[name])
        others = others.set_column(position, others.schema.field(position), values)
    return others
