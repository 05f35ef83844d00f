"""Search all files of a purged dataset and its indexes for what the purge removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError
from faces.core.storage import Folder
from faces.dataset.deletions import face_digests, read_deletions
from faces.dataset.layout import book_folder, is_dataset_file, part_file
from faces.dataset.names import PersonName, person_names
from faces.dataset.people_decisions import book_files, read_decision
from faces.dataset.people_groups import read_groups
from faces.dataset.rewrite import Leftovers, embedding_digests
from faces.dataset.schema import embedding_matrix, face_schema, read_table
from faces.dataset.store import Dataset
from indexer.faces_file import FACES_SCHEMA
from indexer.folder import open_segments
from indexer.layout import LOCK, index_folder
from indexer.manifest import read_current
from indexer.segment_files import PHOTO_COLUMNS, PHOTOS_FILE, VECTORS_FILE, read_photos


@dataclass(frozen=True)
class Traces:
    """The removed data that no file may hold any more.

    Attributes:
        face_digests: (n,) string, digests of all faces ever deleted on request.
        face_ids: (n,) string, ids of the faces that this purge removed.
        photo_ids: (n,) string, ids of the photos that this purge removed.
        uris: (n,) string, uris of the photos that this purge removed.
        embeddings: (n,) binary, digests of the embeddings that this purge removed.
        names: names of people that this purge removed from text columns.
    """

    face_digests: pa.Array
    face_ids: pa.Array
    photo_ids: pa.Array
    uris: pa.Array
    embeddings: pa.Array
    names: list[PersonName]

    def named(self) -> tuple[str, ...]:
        """Describe each kind of removed data and its amount in a line that identifies nobody."""
        return (
            f"a face_id of any of the {len(self.face_digests)} faces purged so far, by its digest",
            f"a face_id removed now ({len(self.face_ids)} of them)",
            f"an embedding removed now, byte for byte ({len(self.embeddings)})",
            f"a photo_id removed now ({len(self.photo_ids)})",
            f"the name of a photo removed now ({len(self.uris)})",
            f"a person's name to be removed, in a text column or the people book "
            f"({len(self.names)})",
        )


@dataclass
class TraceSearch:
    """A search for removed data in all files as they are stored.

    Attributes:
        traces: the removed data.
        num_files: number of files searched so far.
        num_faces: number of rows of faces searched so far.
        unknown_files: paths of files that are not facetrove's.
    """

    traces: Traces
    num_files: int = 0
    num_faces: int = 0
    unknown_files: list[str] = field(default_factory=list)

    def look_in_dataset(self, dataset: Dataset) -> None:
        """Search every part of a dataset; raise CorruptFileError where removed data is found."""
        folder = dataset.folder
        for part in dataset.committed_parts():
            name = part_file("photos", part)
            path, photos = folder.at(name), read_table(folder, name, dataset.photo_schema)
            self._look_for_names(path, photos.select(dataset.metadata.names))
            self._look(path, "photo_id", photos["photo_id"], self.traces.photo_ids)
            self._look(path, "uri", photos["uri"], self.traces.uris)
            name = part_file("faces", part)
            faces = read_table(folder, name, face_schema(dataset.contract.dimension))
            path = folder.at(name)
            self._look_at_faces(path, faces)
            self._look_at_embeddings(path, embedding_matrix(faces))
            self.num_files += 2
        self._note_unknown(folder, is_dataset_file)

    def look_in_book(self, dataset_dir: Path) -> None:
        """Search the people book of a dataset; raise CorruptFileError where removed data is."""
        folder = book_folder(dataset_dir)
        decisions, groups = book_files(folder.names())
        for file in decisions.values():
            path, decision = folder.at(file.name), read_decision(folder, file)
            self._look_at_book(path, pa.array(decision.faces, pa.string()))
            texts = (decision.author, decision.name, *decision.names)
            if any(name.is_in(text) for name in self.traces.names for text in texts if text):
                self._raise_for(path, "name")
            self.num_files += 1
        if groups is not None:
            path, table = folder.at(groups.name), read_groups(folder, groups).table
            self._look_at_book(path, table["face_id"].combine_chunks())
            self._look_for_names(path, table.select(["listed"]))
            self.num_files += 1

    def _look_at_book(self, path: Path, face_ids: pa.Array) -> None:
        if len(self.traces.face_digests) and len(face_ids):
            self._look(path, "face_id", face_digests(face_ids), self.traces.face_digests)
        self._look(path, "face_id", face_ids, self.traces.face_ids)

    def look_in_index(self, index_dir: Path) -> None:
        """Search every file of an index; raise CorruptFileError where removed data is found."""
        manifest = read_current(index_dir)
        for segment in open_segments(index_dir, manifest):
            for batch, vectors in segment.rows():
                table = pa.Table.from_batches([batch])
                self._look_at_faces(segment.faces.path, table)
                self._look_for_names(segment.faces.path, table.drop_columns(FACES_SCHEMA.names))
                also_at = pc.list_flatten(table["also_at"])
                self._look(segment.faces.path, "also_at", also_at, self.traces.uris)
                self._look_at_embeddings(segment.path / VECTORS_FILE, vectors)
            photos = read_photos(index_dir, segment.entry)
            path = segment.path / PHOTOS_FILE
            self._look(path, "photo_id", photos["photo_id"], self.traces.photo_ids)
            self._look(path, "uri", photos["uri"], self.traces.uris)
            self._look_for_names(path, photos.drop_columns([*PHOTO_COLUMNS]))
            self.num_files += len(segment.entry.files)
        used = {LOCK, *manifest.files()}
        self._note_unknown(index_folder(index_dir), used.__contains__)

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

    def _look_for_names(self, path: Path, metadata: pa.Table) -> None:
        for column in metadata.column_names if self.traces.names else ():
            values = metadata[column]
            if pa.types.is_list(values.type):  # the values at several places
                values = pc.list_flatten(values)
            if pa.types.is_string(values.type):
                texts = values.unique().drop_null().to_pylist()
                if any(name.is_in(text) for name in self.traces.names for text in texts):
                    self._raise_for(path, column)

    def _look(
        self, path: Path, column: str, values: pa.Array | pa.ChunkedArray, traces: pa.Array
    ) -> None:
        if len(traces) and pc.any(pc.is_in(values, value_set=traces)).as_py():
            self._raise_for(path, column)

    def _raise_for(self, path: Path, column: str) -> NoReturn:
        raise CorruptFileError(
            f"{path} still holds removed data in its column {column}; run "
            "`facetrove purge` again, and if that does not help, build the index again"
        )

    def _note_unknown(self, folder: Folder, is_ours: Callable[[str], bool]) -> None:
        unknown = [name for name in folder.files() if not is_ours(name)]
        self.unknown_files += [str(folder.at(name)) for name in unknown]


def search_for_traces(
    source: Dataset,
    index_dirs: Sequence[Path],
    *,
    leftovers: Leftovers,
    dead: Sequence[tuple[pa.Array, pa.Array]],
    deletion_ids: Sequence[str] | None,
    names: Sequence[str],
) -> TraceSearch:
    """Search a dataset and its indexes for removed data.

    Args:
        source: the purged dataset.
        index_dirs: paths of the purged indexes.
        leftovers: what was removed from the dataset.
        dead: what was removed from each index: face_ids, and digests of embeddings.
        deletion_ids: ids of the deletions whose faces are looked for; None: of all.
        names: names of people that were removed.

    Raises:
        CorruptFileError: a file still holds removed data.
    """
    deletions = read_deletions(source.path)
    final = deletions.final_digests
    traces = Traces(
        face_digests=final if deletion_ids is None else deletions.digests_of(deletion_ids),
        face_ids=pa.concat_arrays([leftovers.face_ids, *(ids for ids, _ in dead)]).unique(),
        photo_ids=leftovers.photo_ids,
        uris=leftovers.uris,
        embeddings=pa.concat_arrays([leftovers.embeddings, *(found for _, found in dead)]).unique(),
        names=person_names(names),
    )
    search = TraceSearch(traces)
    search.look_in_dataset(source)
    search.look_in_book(source.path)
    for index_dir in index_dirs:
        search.look_in_index(index_dir)
    return search
