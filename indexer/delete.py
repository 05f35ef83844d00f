"""Delete faces from a dataset and its indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError, WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.dataset.deletions import add_deletions, face_digest
from faces.dataset.rewrite import take_out_deleted
from faces.dataset.store import Dataset
from faces.photos.uris import is_url, photo_uri
from indexer.changes import rows_in
from indexer.filters import any_of, in_photo, passing_rows
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, read_current
from indexer.segment import FACES_SCHEMA, metadata_of


@dataclass(frozen=True)
class Deleted:
    """What a deletion did.

    Attributes:
        num_faces: faces deleted from the dataset.
        face_digests: of each, `faces.dataset.deletions.face_digest`, which names nobody.
        num_faces_of_index: by index, how many of them it held.
        still_in_dataset: a job was writing the dataset, so the rows are withheld and not taken
            out yet; `purge` does.
    """

    num_faces: int
    face_digests: tuple[str, ...]
    num_faces_of_index: dict[str, int]
    still_in_dataset: bool


def matching(faces: Sequence[str], photos: Sequence[str], where: str | None) -> str:
    """A filter for faces by face_id, by photo (path, uri or photo_id), or by another filter.

    Raises:
        WrongUsageError: nothing is named: that would be every face.
    """
    conditions = [] if where is None else [f"({where})"]
    if faces:
        conditions.append(any_of("face_id", faces))
    if photos:
        uris = [name if is_url(name) else photo_uri(Path(name).absolute()) for name in photos]
        conditions.append(in_photo([*uris, *photos]))
    if not conditions:
        raise WrongUsageError("say which faces: by --face, --photo or --where")
    return " OR ".join(conditions)


def find_faces(dataset: str | Path, indexes: Sequence[str | Path], where: str) -> int:
    """How many faces a filter lets pass, in a dataset and its indexes.

    Raises: as `delete_faces`.
    """
    source, opened = open_all(dataset, indexes)
    in_indexes = _matching_in_indexes(opened, where, source, lambda _: None)
    return len(pa.concat_arrays([in_indexes, _matching_in_dataset(source, where)]).unique())


def delete_faces(
    dataset: str | Path,
    indexes: Sequence[str | Path],
    where: str,
    *,
    on_progress: OnProgress = lambda _: None,
) -> Deleted:
    """Delete the faces that a filter lets pass: no search finds them from now on.

    They leave the dataset's parts too, and should their photos be embedded again, they are
    withheld. Bytes of them stay in the indexes' files, and may in older files of the dataset, until
    `purge`. Stopped at any point, the same call finishes it.

    Args:
        dataset: the dataset.
        indexes: built from it; one that is not named forgets the faces when it is next
            brought up to date.
        where: as in SQL's WHERE, over the columns of faces and the photos' metadata.
        on_progress: called with what is being done.

    Raises:
        WrongUsageError: no such dataset or index, or the filter is wrong.
        ContractMismatchError: an index is of another model.
        BusyError: an index is being written.
    """
    source, opened = open_all(dataset, indexes)
    # The indexes first: they are asked in a moment, the dataset's files take longer.
    in_indexes = _matching_in_indexes(opened, where, source, on_progress)
    counts = _delete(source, [path for path, _ in opened], in_indexes)
    on_progress(Progress("looking through the dataset"))
    in_dataset = _matching_in_dataset(source, where)
    others = in_dataset.filter(pc.invert(pc.is_in(in_dataset, value_set=in_indexes)))
    more = _delete(source, [path for path, _ in opened], others)
    try:
        take_out_deleted(source, lambda step, n, of: on_progress(Progress(step, n, of)))
    except BusyError:
        still_in_dataset = True
    else:
        still_in_dataset = False
    ids = pa.concat_arrays([in_indexes, others])
    return Deleted(
        num_faces=len(ids),
        face_digests=tuple(map(face_digest, ids.to_pylist())),
        num_faces_of_index={name: counts[name] + more[name] for name in counts},
        still_in_dataset=still_in_dataset,
    )


def open_all(
    dataset: str | Path, indexes: Sequence[str | Path]
) -> tuple[Dataset, list[tuple[Path, Manifest]]]:
    """A dataset and the manifests of its indexes; refuses those of other models."""
    source = Dataset.open(Path(dataset))
    opened = [(Path(index), read_current(Path(index))) for index in indexes]
    for path, manifest in opened:
        require_same_contract(
            source.contract,
            manifest.contract,
            ours_name=f"dataset {source.path}",
            theirs_name=f"index {path}",
            remedy="name the indexes that were built from the dataset",
        )
    return source, opened


def _matching_in_indexes(
    opened: Sequence[tuple[Path, Manifest]], where: str, source: Dataset, on_progress: OnProgress
) -> pa.Array:
    """Ids of the faces of indexes that pass; what the dataset alone knows of them is null there."""
    found = [pa.array([], pa.string())]
    for index_dir, manifest in opened:
        on_progress(Progress(f"looking through {index_dir}"))
        segments = open_segments(index_dir, manifest)
        metadata = pa.unify_schemas([metadata_of(segments), source.metadata])
        for segment in segments:
            rows = pa.array(segment.passing(where, metadata))
            found.append(segment.faces.table["face_id"].filter(rows).combine_chunks())
    return pa.concat_arrays(found).unique()


def _matching_in_dataset(source: Dataset, where: str) -> pa.Array:
    columns = [*FACES_SCHEMA.names, *source.metadata.names]
    tables = list(source.faces(columns))
    if not tables:
        return pa.array([], pa.string())
    faces = pa.concat_tables(tables)
    return faces["face_id"].filter(pa.array(passing_rows(faces, where))).combine_chunks()


def _delete(source: Dataset, indexes: Sequence[Path], face_ids: pa.Array) -> dict[str, int]:
    """Withhold faces from the dataset's readers, then from the indexes; gives counts of these."""
    counts = {str(index): 0 for index in indexes}
    if len(face_ids) == 0:
        return counts
    before, after = add_deletions(source.path, face_ids.to_pylist())
    for index in indexes:
        with IndexWriter.open(index) as writer:
            previous = writer.require_previous()
            segments = []
            for segment in open_segments(index, previous):
                rows = rows_in(segment, "face_id", face_ids)
                counts[str(index)] += int((rows & segment.live()).sum())
                segments.append(replace(segment, deleted=rows | ~segment.live()))
            known = previous.dataset_deletions
            writer.publish(
                replace(
                    previous,
                    deletions=writer.write_deletions(segments),
                    dataset_deletions=after if known == before else known,
                )
            )
    return counts
