"""Purge a dataset and its indexes: remove every byte of deleted faces, check that, and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.dataset.deleted_pictures import drop_released_pictures, read_deleted_pictures
from faces.dataset.deletions import face_digests, read_deletions
from faces.dataset.layout import is_dataset_file
from faces.dataset.rewrite import (
    Leftovers,
    embedding_digests,
    purge_dataset,
    remove_deleted_faces,
)
from faces.dataset.schema import PHOTO_SCHEMA, embedding_matrix, face_schema, read_table
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.compact import rewrite_index
from indexer.delete import open_all
from indexer.folder import open_segments
from indexer.layout import LOCK
from indexer.manifest import read_current
from indexer.segment_files import PHOTOS_FILE, VECTORS_FILE, read_photos


@dataclass(frozen=True)
class PurgeReport:
    """The record of a purge: what was removed, and how the absence of it was checked.

    Attributes:
        dataset: path of the dataset that was purged.
        indexes: paths of the indexes that were purged.
        started, finished: times in UTC, ISO 8601.
        num_faces_removed: number of rows of faces removed from the dataset's files.
        num_photos_removed: number of rows of photos removed from the dataset's files.
        num_index_rows_removed: number of rows of faces removed from each index's files, by the
            index's path.
        deleted_face_digests: digests of all faces ever deleted from this dataset on request. No
            face can be identified from them; one whose face id is at hand is recognised by
            sha256("facetrove deleted " + face_id).
        kept: one line for each kind of data that is kept on purpose, so that deleted faces stay
            away, with its amount. No face can be identified, searched for or rebuilt from it.
        files_checked: number of files that were read again after the removal.
        faces_checked: number of rows of faces in these files, each compared with what was removed.
        not_found: one line for each kind of removed data that these files were searched for.
        unknown_files: paths of files in these folders that are not facetrove's; not searched.
        limits: one line for each kind of copy that a purge cannot reach.
    """

    dataset: str
    indexes: tuple[str, ...]
    started: str
    finished: str
    num_faces_removed: int
    num_photos_removed: int
    num_index_rows_removed: dict[str, int]
    deleted_face_digests: tuple[str, ...]
    kept: tuple[str, ...]
    files_checked: int
    faces_checked: int
    not_found: tuple[str, ...]
    unknown_files: tuple[str, ...]
    limits: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


LIMITS = (
    "Backups, file-system snapshots and other copies of these folders are not reached.",
    "Disk blocks of the removed files are released, and may not be overwritten yet; that is up to "
    "the file system.",
    "The photos themselves are untouched, and so are indexes that were not named.",
)
"""The copies of faces that a purge cannot reach, for `PurgeReport.limits`."""


def purge(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    on_progress: OnProgress = ignore_progress,
) -> PurgeReport:
    """Remove deleted and superseded faces and photos from all files of a dataset and its indexes.

    The indexes are updated first. Their older versions are removed at once; a reader that is just
    opening one opens the new version instead. If this is interrupted, the same call finishes it.

    Args:
        dataset: path of the dataset's folder.
        indexes: paths of indexes built from the dataset.
        on_progress: called with each step and how far it is.

    Returns:
        The record of what was removed and checked.

    Raises:
        WrongUsageError: the dataset or an index does not exist.
        ContractMismatchError: an index holds embeddings of another model than the dataset.
        BusyError: another process is writing the dataset or an index.
        CorruptFileError: a file is corrupt, or still holds removed data when it is checked.
    """
    started = _now()
    source, opened = open_all(dataset, indexes)

    def on_part(step: str, number: int, count: int) -> None:
        on_progress(Progress(step, number, count))

    remove_deleted_faces(source, on_part)
    for index_dir, _ in opened:
        build_index(source.path, index_dir, on_progress=on_progress)
    dead = [_dead_faces(index_dir) for index_dir, _ in opened]
    leftovers = purge_dataset(source, on_part)
    drop_released_pictures(source.path)
    source = Dataset.open(source.path)
    removed = {}
    for index_dir, _ in opened:
        removed[str(index_dir)] = rewrite_index(index_dir, source, on_progress=on_progress)
    on_progress(Progress("checking that nothing is left"))
    search = _search_for_traces(source, [path for path, _ in opened], leftovers, dead)
    return PurgeReport(
        dataset=str(source.path),
        indexes=tuple(str(path) for path, _ in opened),
        started=started,
        finished=_now(),
        num_faces_removed=leftovers.num_faces,
        num_photos_removed=leftovers.num_photos,
        num_index_rows_removed=removed,
        deleted_face_digests=tuple(search.traces.face_digests.to_pylist()),
        kept=_kept(source),
        files_checked=search.num_files,
        faces_checked=search.num_faces,
        not_found=search.traces.named(),
        unknown_files=tuple(search.unknown_files),
        limits=LIMITS,
    )


def _kept(dataset: Dataset) -> tuple[str, ...]:
    """Describe what a dataset keeps so that deleted faces stay away, see `PurgeReport.kept`."""
    deletions, pictures = read_deletions(dataset.path), read_deleted_pictures(dataset.path)
    return (
        f"a digest of each of the {len(deletions.digests)} faces deleted so far, of the "
        f"{len(deletions.emptied)} photos that lost all faces, and of the "
        f"{len(deletions.allowed)} faces that were let in again",
        f"of {len(pictures)} deleted faces the place in the photo, and a hash of what is around "
        "the photo's faces",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _dead_faces(index_dir: Path) -> tuple[pa.Array, pa.Array]:
    """Return ids and embedding digests of faces that are only in deleted rows of an index."""
    ids, embeddings, live = [pa.array([], pa.string())], [pa.array([], pa.binary())], []
    for segment in open_segments(index_dir, read_current(index_dir)):
        is_live, column = segment.live(), segment.faces.table["face_id"]
        ids.append(column.filter(pa.array(~is_live)).combine_chunks())
        embeddings.append(embedding_digests(segment.vectors[~is_live]))
        live.append(column.filter(pa.array(is_live)).combine_chunks())
    dead = pa.table({"face_id": pa.concat_arrays(ids), "embedding": pa.concat_arrays(embeddings)})
    # A face whose photo was moved has a live row in a newer segment.
    alive = pc.is_in(dead["face_id"], value_set=pa.concat_arrays([ids[0], *live]))
    dead = dead.filter(pc.invert(alive))
    return dead["face_id"].combine_chunks(), dead["embedding"].combine_chunks()


@dataclass(frozen=True)
class _Traces:
    """The removed data that no file may hold any more.

    Attributes:
        face_digests: (n,) string, digests of all faces ever deleted on request.
        face_ids: (n,) string, ids of the faces that this purge removed.
        photo_ids: (n,) string, ids of the photos that this purge removed.
        uris: (n,) string, uris of the photos that this purge removed.
        embeddings: (n,) binary, digests of the embeddings that this purge removed.
    """

    face_digests: pa.Array
    face_ids: pa.Array
    photo_ids: pa.Array
    uris: pa.Array
    embeddings: pa.Array

    def named(self) -> tuple[str, ...]:
        """Describe each kind of removed data and its amount in a line that identifies nobody."""
        return (
            f"a face_id of any of the {len(self.face_digests)} faces deleted so far, by its digest",
            f"a face_id removed now ({len(self.face_ids)} of them)",
            f"an embedding removed now, byte for byte ({len(self.embeddings)})",
            f"a photo_id removed now ({len(self.photo_ids)})",
            f"the name of a photo removed now ({len(self.uris)})",
        )


@dataclass
class _Search:
    """A search for removed data in all files as they are stored.

    Attributes:
        traces: the removed data.
        num_files: number of files searched so far.
        num_faces: number of rows of faces searched so far.
        unknown_files: paths of files that are not facetrove's.
    """

    traces: _Traces
    num_files: int = 0
    num_faces: int = 0
    unknown_files: list[str] = field(default_factory=list)

    def look_in_dataset(self, dataset: Dataset) -> None:
        """Search every part of a dataset; raise CorruptFileError where removed data is found."""
        for part in dataset.committed_parts():
            path = dataset.part_path("photos", part)
            photos = read_table(path, PHOTO_SCHEMA)
            self._look(path, "photo_id", photos["photo_id"], self.traces.photo_ids)
            self._look(path, "uri", photos["uri"], self.traces.uris)
            path = dataset.part_path("faces", part)
            faces = read_table(path, face_schema(dataset.contract.dimension))
            self._look_at_faces(path, faces)
            self._look_at_embeddings(path, embedding_matrix(faces))
            self.num_files += 2
        self._note_unknown(dataset.path, is_dataset_file)

    def look_in_index(self, index_dir: Path) -> None:
        """Search every file of an index; raise CorruptFileError where removed data is found."""
        manifest = read_current(index_dir)
        for segment in open_segments(index_dir, manifest):
            for batch, vectors in segment.rows():
                table = pa.Table.from_batches([batch])
                self._look_at_faces(segment.faces.path, table)
                also_at = pc.list_flatten(table["also_at"])
                self._look(segment.faces.path, "also_at", also_at, self.traces.uris)
                self._look_at_embeddings(segment.path / VECTORS_FILE, vectors)
            photos = read_photos(index_dir, segment.entry)
            path = segment.path / PHOTOS_FILE
            self._look(path, "photo_id", photos["photo_id"], self.traces.photo_ids)
            self._look(path, "uri", photos["uri"], self.traces.uris)
            self.num_files += len(segment.entry.files)
        used = {LOCK, *(path.as_posix() for path in manifest.files())}
        self._note_unknown(index_dir, used.__contains__)

    def _look_at_faces(self, path: Path, faces: pa.Table) -> None:
        self.num_faces += len(faces)
        if len(self.traces.face_digests):
            digests = face_digests(faces["face_id"])
            self._look(path, "face_id", digests, self.traces.face_digests)
        self._look(path, "face_id", faces["face_id"], self.traces.face_ids)
        self._look(path, "photo_id", faces["photo_id"], self.traces.photo_ids)
        self._look(path, "uri", faces["uri"], self.traces.uris)

    def _look_at_embeddings(self, path: Path, vectors: NDArray[np.float32]) -> None:
        if len(self.traces.embeddings):
            self._look(path, "embedding", embedding_digests(vectors), self.traces.embeddings)

    def _look(
        self, path: Path, column: str, values: pa.Array | pa.ChunkedArray, traces: pa.Array
    ) -> None:
        if len(traces) and pc.any(pc.is_in(values, value_set=traces)).as_py():
            raise CorruptFileError(
                f"{path} still holds removed data in its column {column}; run "
                "`facetrove purge` again, and if that does not help, build the index again"
            )

    def _note_unknown(self, folder: Path, is_ours: Callable[[str], bool]) -> None:
        for path in sorted(folder.rglob("*")):
            if not path.is_dir() and not is_ours(path.relative_to(folder).as_posix()):
                self.unknown_files.append(str(path))


def _search_for_traces(
    source: Dataset,
    index_dirs: Sequence[Path],
    leftovers: Leftovers,
    dead: Sequence[tuple[pa.Array, pa.Array]],
) -> _Search:
    """Search a dataset and its indexes for removed data.

    Args:
        source: the purged dataset.
        index_dirs: paths of the purged indexes.
        leftovers: what was removed from the dataset.
        dead: what was removed from each index, as from `_dead_faces`.

    Raises:
        CorruptFileError: a file still holds removed data.
    """
    traces = _Traces(
        face_digests=read_deletions(source.path).digests,
        face_ids=pa.concat_arrays([leftovers.face_ids, *(ids for ids, _ in dead)]).unique(),
        photo_ids=leftovers.photo_ids,
        uris=leftovers.uris,
        embeddings=pa.concat_arrays([leftovers.embeddings, *(found for _, found in dead)]).unique(),
    )
    search = _Search(traces)
    search.look_in_dataset(source)
    for index_dir in index_dirs:
        search.look_in_index(index_dir)
    return search
