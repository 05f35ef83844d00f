"""Delete faces from a dataset and its indexes: a plan finds them, then is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError, WrongUsageError
from faces.core.named import each_named
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deletions import add_deletions, face_digest, read_deletions
from faces.dataset.rewrite import take_out_deleted
from faces.dataset.store import Dataset
from faces.photos.uris import is_url, photo_uri
from indexer.changes import rows_in
from indexer.faces_file import FACES_SCHEMA
from indexer.filters import any_of, in_photo, rows_matching
from indexer.folder import IndexWriter, open_segments
from indexer.manifest import Manifest, read_current
from indexer.segment import metadata_of


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


@dataclass(frozen=True)
class DeletionPlan:
    """The faces that a deletion takes, found before anything is deleted. `plan_deletion` makes it.

    Attributes:
        dataset: the dataset that the faces are deleted from.
        indexes: the folders of the indexes that they are deleted from.
        in_indexes: (n,) string, the face ids that were found in the indexes.
        in_dataset: (m,) string, the face ids that were found in the dataset.
    """

    dataset: Dataset
    indexes: tuple[Path, ...]
    in_indexes: pa.Array
    in_dataset: pa.Array

    @property
    def face_ids(self) -> pa.Array:
        """The ids of all faces to be deleted, each once."""
        return pa.concat_arrays([self.in_indexes, self.in_dataset]).unique()

    @property
    def num_faces(self) -> int:
        """The number of faces to be deleted."""
        return len(self.face_ids)

    def carry_out(self, *, on_progress: OnProgress = ignore_progress) -> Deleted:
        """Delete the planned faces: no search finds them from now on.

        Just the planned faces are deleted, also from a version of an index that was published
        after the plan was made, and from photos embedded again since. A face that has come to
        pass the plan's filter since then is left: nobody confirmed its deletion.

        The dataset withholds the faces first, then each index is opened for writing once, then
        the rows are taken out of the dataset's parts. Stopped at any point, the same plan, or a
        new one for the same faces, finishes it.

        Raises:
            WrongUsageError: an index is not there any more.
            ContractMismatchError: an index has become one of another model.
            BusyError: an index is being written.
        """
        face_ids = self.face_ids
        counts = _withhold(self.dataset, self.indexes, face_ids)
        try:
            take_out_deleted(self.dataset, lambda step, n, of: on_progress(Progress(step, n, of)))
        except BusyError:
            still_in_dataset = True
        else:
            still_in_dataset = False
        return Deleted(
            num_faces=len(face_ids),
            face_digests=tuple(map(face_digest, face_ids.to_pylist())),
            num_faces_of_index=counts,
            still_in_dataset=still_in_dataset,
        )


def plan_deletion(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    where: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> DeletionPlan:
    """Find the faces that a deletion would take from a dataset and its indexes; deletes nothing.

    Args:
        dataset: the dataset's folder.
        indexes: the folders of indexes built from it; one that is not named forgets the faces
            when it is next brought up to date.
        faces: face ids.
        photos: paths, uris or photo_ids of photos, all of whose faces are meant.
        where: a filter as in SQL's WHERE, over the columns of faces and the photos' metadata.
            A face is meant if it is named by any of the three.
        on_progress: called with what is being done.

    Raises:
        WrongUsageError: no such dataset or index, no face is named, or the filter is wrong.
        ContractMismatchError: an index is of another model.
    """
    condition = matching(faces, photos, where)
    source, opened = open_all(dataset, indexes)
    in_indexes = _matching_in_indexes(opened, condition, source, on_progress)
    on_progress(Progress("looking through the dataset"))
    return DeletionPlan(
        dataset=source,
        indexes=tuple(path for path, _ in opened),
        in_indexes=in_indexes,
        in_dataset=_matching_in_dataset(source, condition),
    )


def delete_faces(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    where: str | None = None,
    *,
    faces: str | Sequence[str] = (),
    photos: str | Path | Sequence[str | Path] = (),
    on_progress: OnProgress = ignore_progress,
) -> Deleted:
    """Delete faces from a dataset and its indexes: no search finds them from now on.

    They leave the dataset's parts too, and should their photos be embedded again, they are
    withheld. Bytes of them stay in the indexes' files, and may in older files of the dataset, until
    `purge`. Stopped at any point, the same call finishes it.

    Args:
        dataset, indexes, where, faces, photos: as in `plan_deletion`.
        on_progress: called with what is being done.

    Raises: as `plan_deletion` and `DeletionPlan.carry_out`.
    """
    plan = plan_deletion(
        dataset, indexes, faces=faces, photos=photos, where=where, on_progress=on_progress
    )
    return plan.carry_out(on_progress=on_progress)


def matching(
    faces: str | Sequence[str], photos: str | Path | Sequence[str | Path], where: str | None
) -> str:
    """A filter for faces by face_id, by photo (path, uri or photo_id), or by another filter.

    Raises:
        WrongUsageError: nothing is named: that would be every face.
    """
    conditions = [] if where is None else [f"({where})"]
    if face_ids := list(map(str, each_named(faces))):
        conditions.append(any_of("face_id", face_ids))
    if names := [str(photo) for photo in each_named(photos)]:
        uris = [name if is_url(name) else photo_uri(Path(name).absolute()) for name in names]
        conditions.append(in_photo([*uris, *names]))
    if not conditions:
        raise WrongUsageError("say which faces: by --face, --photo or --where")
    return " OR ".join(conditions)


def open_all(
    dataset: str | Path, indexes: str | Path | Sequence[str | Path]
) -> tuple[Dataset, list[tuple[Path, Manifest]]]:
    """A dataset and the manifests of its indexes; refuses those of other models."""
    source = Dataset.open(Path(dataset))
    opened = [(Path(index), read_current(index)) for index in each_named(indexes)]
    for path, manifest in opened:
        _require_its_contract(source, path, manifest)
    return source, opened


def _require_its_contract(source: Dataset, index: Path, manifest: Manifest) -> None:
    require_same_contract(
        source.contract,
        manifest.contract,
        ours_name=f"dataset {source.path}",
        theirs_name=f"index {index}",
        remedy="name the indexes that were built from the dataset",
    )


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
            rows = pa.array(segment.mask(where, metadata))
            found.append(segment.faces.table["face_id"].filter(rows).combine_chunks())
    return pa.concat_arrays(found).unique()


def _matching_in_dataset(source: Dataset, where: str) -> pa.Array:
    columns = [*FACES_SCHEMA.names, *source.metadata.names]
    tables = list(source.faces(columns))
    if not tables:
        return pa.array([], pa.string())
    faces = pa.concat_tables(tables)
    return faces["face_id"].filter(pa.array(rows_matching(faces, where))).combine_chunks()


def _withhold(source: Dataset, indexes: Sequence[Path], face_ids: pa.Array) -> dict[str, int]:
    """Withhold faces from the dataset's readers, then from the indexes.

    From the indexes go with them the faces that an earlier deletion withheld and has not taken out
    of the dataset yet: it may have been stopped before it came to the indexes, and no plan finds
    these faces in the dataset any more.

    Returns:
        By index, how many of the faces it held.
    """
    counts = {str(index): 0 for index in indexes}
    earlier = read_deletions(source.path).pending
    if len(face_ids) == len(earlier) == 0:
        return counts
    before, after = add_deletions(source.path, face_ids.to_pylist())
    for index in indexes:
        with IndexWriter.open(index) as writer:
            previous = writer.require_previous()
            _require_its_contract(source, index, previous)
            segments = []
            for segment in open_segments(index, previous):
                rows = rows_in(segment.faces, "face_id", face_ids)
                counts[str(index)] += int((rows & segment.live()).sum())
                if len(earlier):
                    rows |= rows_in(segment.faces, "face_id", earlier)
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
