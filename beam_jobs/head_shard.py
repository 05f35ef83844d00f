"""A shard of photos whose faces are stored: only a head is computed, and no photo is read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.photo_columns import is_news, taken_columns
from beam_jobs.shard import ShardResult
from faces.dataset.reembedding import STORED_COLUMNS, STORED_PREFIX, StoredFaces
from faces.dataset.schema import PhotoStatus, column_of, embedding_matrix, face_schema
from faces.models.heads import HeadEmbedder
from faces.models.pipeline import StageSeconds


def has_stored_result(to_do: pa.Table) -> pa.Array:
    """Return (n,) bool: which photos to do need not be read; see `StoredFaces.prepared`."""
    return pc.is_valid(to_do[f"{STORED_PREFIX}status"]).combine_chunks()


def apply_head(
    head: HeadEmbedder,
    source: StoredFaces,
    to_do: pa.Table,
    schema: pa.Schema,
    *,
    stored: pa.Table,
) -> ShardResult:
    """Compute a head's embeddings of stored faces, and the photos' rows from the stored ones.

    Faces keep everything but their embeddings, embedding_norm included: a head says nothing of
    how much the network made of a face.

    Args:
        head: the head.
        source: the dataset with the faces.
        to_do: photos to do, all of which `has_stored_result`.
        schema: the new dataset's `photo_schema`.
        stored: contents whose faces the new dataset has already, see `beam_jobs.plan.Plan.stored`.

    Raises:
        CorruptFileError: a part of the source dataset cannot be read.
        ValueError: the head returned a vector that is zero or not finite.
    """
    seconds = StageSeconds()
    columns = {name: to_do[name] for name in to_do.column_names}
    for name in STORED_COLUMNS:
        columns[name] = columns.pop(STORED_PREFIX + name)
    owners, columns["is_copy"] = _owners(to_do, stored)
    taken = dict(enumerate(columns["exif_taken"].to_pylist()))
    columns |= taken_columns(taken, columns.get("taken"), schema)
    photos = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    if "result_before" in to_do.column_names:
        photos = photos.filter(is_news(photos["reason"], to_do["result_before"]))
    with seconds.spent_on("read"):
        found = source.faces(to_do.filter(owners))
    with seconds.spent_on("embed"):
        embeddings = head.apply(embedding_matrix(found))
    faces = found.drop_columns(["embedding"])
    # A face's uri is that of the row that owns it, where another place had it in the source.
    owned = to_do.filter(owners)
    row = pc.index_in(found["photo_id"], value_set=owned["stored_photo_id"].combine_chunks())
    position = faces.schema.get_field_index("uri")
    faces = faces.set_column(position, faces.schema.field(position), owned["uri"].take(row))
    new = face_schema(head.dimension)
    faces = faces.append_column(new.field("embedding"), column_of(embeddings)).cast(new)
    return ShardResult(photos, faces, dict(seconds), {})


def _owners(to_do: pa.Table, stored: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return which rows have their content's faces in this shard's part, and which are copies."""
    embedded = PhotoStatus.EMBEDDED.value
    known = stored.filter(pc.equal(stored["status"], embedded))["photo_id"].to_pylist()
    seen = set(known)
    owners, copies = [], []
    contents, statuses = (to_do[STORED_PREFIX + n].to_pylist() for n in ("photo_id", "status"))
    for photo_id, status in zip(contents, statuses, strict=True):
        has_faces = status == embedded
        owners.append(has_faces and photo_id not in seen)
        copies.append(has_faces and photo_id in seen)
        if has_faces:
            seen.add(photo_id)
    return pa.array(owners, pa.bool_()), pa.array(copies, pa.bool_())
