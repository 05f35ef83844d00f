"""Purge: remove what was deleted from every byte of a dataset and its indexes, and report it."""

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
from faces.dataset.deletions import face_digests, read_deletions
from faces.dataset.layout import is_dataset_file
from faces.dataset.rewrite import embedding_digests, purge_dataset, take_out_deleted
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
    """What a purge removed and how it was checked, to be filed.

    Attributes:
        dataset, indexes: folders purged.
        started, finished: in UTC, ISO 8601.
        num_faces_removed: rows of faces taken out of the dataset's files.
        num_photos_removed: likewise of photos.
        num_index_rows_removed: by index, rows of faces that its files held and hold no more.
        deleted_face_digests: of all faces deleted from this dataset on request so far. They name
            nobody; a face_id known from elsewhere is recognised by
            sha256("facetrove deleted " + face_id).
        files_checked: files read again afterwards.
        faces_checked: rows of faces in them, each compared with what was removed.
        not_found: what was looked for in them.
        unknown_files: files in the folders that facetrove does not know, and did not look into.
        limits: what a purge cannot reach.
    """

    dataset: str
    indexes: tuple[str, ...]
    started: str
    finished: str
    num_faces_removed: int
    num_photos_removed: int
    num_index_rows_removed: dict[str, int]
    deleted_face_digests: tuple[str, ...]
    files_checked: int
    faces_checked: int
    not_found: tuple[str, ...]
    unknown_files: tuple[str, ...]
    limits: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its fields, for machines."""
        return asdict(self)


LIMITS = (
    "Backups, snapshots of the file system and copies of these folders are not reached.",
    "Blocks that the files occupied are released to the file system; overwriting them is its "
    "matter.",
    "The photos themselves are untouched, and so are indexes that were not named.",
)


def purge(
    dataset: str | Path,
    indexes: str | Path | Sequence[str | Path],
    *,
    on_progress: OnProgress = ignore_progress,
) -> PurgeReport:
    """Remove what was deleted, superseded or dropped from every file of a dataset and its indexes.

    Brings the indexes up to date first. Older versions of them are removed at once: a search that
    is just being opened looks again. Stopped at any point, the same call finishes it.

    Raises: as `delete_faces`; CorruptFileError where something is found afterwards that should not
        be there.
    """
    started = _now()
    source, opened = open_all(dataset, indexes)

    def on_part(step: str, number: int, count: int) -> None:
        on_progress(Progress(step, number, count))

    take_out_deleted(source, on_part)
    for index_dir, _ in opened:
        build_index(source.path, index_dir, on_progress=on_progress)
    dead = [_dead_faces(index_dir) for index_dir, _ in opened]
    leftovers = purge_dataset(source, on_part)
    source = Dataset.open(source.path)
    removed = {}
    for index_dir, _ in opened:
        removed[str(index_dir)] = rewrite_index(index_dir, source, on_progress=on_progress)
    on_progress(Progress("checking that nothing is left"))
    traces = _Traces(
        face_digests=read_deletions(source.path).digests,
        face_ids=pa.concat_arrays([leftovers.face_ids, *(ids for ids, _ in dead)]).unique(),
        photo_ids=leftovers.photo_ids,
        uris=leftovers.uris,
        embeddings=pa.concat_arrays([leftovers.embeddings, *(found for _, found in dead)]).unique(),
    )
    search = _Search(traces)
    search.look_in_dataset(source)
    for index_dir, _ in opened:
        search.look_in_index(index_dir)
    return PurgeReport(
        dataset=str(source.path),
        indexes=tuple(str(path) for path, _ in opened),
        started=started,
        finished=_now(),
        num_faces_removed=leftovers.num_faces,
        num_photos_removed=leftovers.num_photos,
        num_index_rows_removed=removed,
        deleted_face_digests=tuple(traces.face_digests.to_pylist()),
        files_checked=search.num_files,
        faces_checked=search.num_faces,
        not_found=traces.named(),
        unknown_files=tuple(search.unknown_files),
        limits=LIMITS,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _dead_faces(index_dir: Path) -> tuple[pa.Array, pa.Array]:
    """Ids and embeddings of faces that an index's files hold, and that it never returns."""
    ids, embeddings, live = [pa.array([], pa.string())], [pa.array([], pa.binary())], []
    for segment in open_segments(index_dir, read_current(index_dir)):
        is_live, column = segment.live(), segment.faces.table["face_id"]
        ids.append(column.filter(pa.array(~is_live)).combine_chunks())
        embeddings.append(embedding_digests(segment.vectors[~is_live]))
        live.append(column.filter(pa.array(is_live)).combine_chunks())
    dead = pa.table({"face_id": pa.concat_arrays(ids), "embedding": pa.concat_arrays(embeddings)})
    # A face whose photo was given another name is there again, in a newer segment.
    alive = pc.is_in(dead["face_id"], value_set=pa.concat_arrays([ids[0], *live]))
    dead = dead.filter(pc.invert(alive))
    return dead["face_id"].combine_chunks(), dead["embedding"].combine_chunks()


@dataclass(frozen=True)
class _Traces:
    """What must not be found any more."""

    face_digests: pa.Array
    face_ids: pa.Array
    photo_ids: pa.Array
    uris: pa.Array
    embeddings: pa.Array

    def named(self) -> tuple[str, ...]:
        """A line for each kind of trace, with the number of them; it names nobody."""
        return (
            f"a face_id of any of the {len(self.face_digests)} faces deleted so far, by its digest",
            f"a face_id removed now ({len(self.face_ids)} of them)",
            f"an embedding removed now, byte for byte ({len(self.embeddings)})",
            f"a photo_id removed now ({len(self.photo_ids)})",
            f"the name of a photo removed now ({len(self.uris)})",
        )


@dataclass
class _Search:
    """Looks for traces in every file, as it is stored."""

    traces: _Traces
    num_files: int = 0
    num_faces: int = 0
    unknown_files: list[str] = field(default_factory=list)

    def look_in_dataset(self, dataset: Dataset) -> None:
        """Read every part again."""
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
        """Read every file of the version in force again."""
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
                f"{path} still holds, in its column {column}, what was to be purged; run "
                "`facetrove purge` again, and if that does not help, build the index anew"
            )

    def _note_unknown(self, folder: Path, is_known: Callable[[str], bool]) -> None:
        for path in sorted(folder.rglob("*")):
            if not path.is_dir() and not is_known(path.relative_to(folder).as_posix()):
                self.unknown_files.append(str(path))
