"""Check every byte of an index, and that what it says agrees with its dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from faces.core.contract import require_same_contract
from faces.core.errors import CorruptFileError, FaceTroveError
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.vectors import has_unit_length
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from indexer.faces_file import FACES_SCHEMA
from indexer.folder import open_segments
from indexer.layout import segment_dir
from indexer.manifest import Manifest, read_current
from indexer.segment import Segment
from indexer.segment_files import read_photos


@dataclass(frozen=True)
class Verified:
    """What a check found.

    Attributes:
        index, dataset: what was compared; the dataset only if it was named.
        version: of the index.
        num_files, num_bytes: read and digested.
        num_faces: that can be found.
        problems: what is wrong, one line each; empty: nothing is.
    """

    index: str
    dataset: str | None
    version: int
    num_files: int
    num_bytes: int
    num_faces: int
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its fields, for machines."""
        return asdict(self)


def verify_index(
    index: str | Path,
    dataset: str | Path | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Verified:
    """Check an index: the digest of every file, its rows, and that they agree.

    Args:
        index: the index; it may be in use.
        dataset: if named, that the index holds just its faces, with the same embeddings.
        on_progress: called with what is being done.

    Raises:
        WrongUsageError: there is no index, or no dataset, at that path.
        CorruptFileError: the manifest cannot be read, so that nothing else can be checked.
    """
    path = Path(index)
    manifest = read_current(path)
    problems = list(_corrupt_files(path, manifest, on_progress))
    if not problems:
        problems += _check(lambda: _contradictions(path, manifest, on_progress))
    if not problems and dataset is not None:
        on_progress(Progress("comparing with the dataset"))
        source = Dataset.open(Path(dataset))
        problems += _check(lambda: _differences(path, manifest, source))
    files = [digest for entry in manifest.segments for digest in entry.files.values()]
    return Verified(
        index=str(path),
        dataset=None if dataset is None else str(dataset),
        version=manifest.version,
        num_files=len(files) + (manifest.deletions is not None),
        num_bytes=sum(digest.num_bytes for digest in files),
        num_faces=manifest.num_faces,
        problems=tuple(problems),
    )


def _check(find: Callable[[], Iterator[str]]) -> list[str]:
    try:
        return list(find())
    except FaceTroveError as error:
        return [str(error)]


def _corrupt_files(index_dir: Path, manifest: Manifest, on_progress: OnProgress) -> Iterator[str]:
    """Files that are not what was written."""
    for entry in manifest.segments:
        for name, digest in entry.files.items():
            path = segment_dir(index_dir, entry.segment_id) / name
            on_progress(Progress(f"reading {path.name} of segment {entry.segment_id}"))
            try:
                digest.require(path)
            except CorruptFileError as error:
                yield str(error)


def _contradictions(index_dir: Path, manifest: Manifest, on_progress: OnProgress) -> Iterator[str]:
    """Where whole files do not agree with each other."""
    seen = [pa.array([], pa.string())]
    for segment in open_segments(index_dir, manifest):
        on_progress(Progress(f"checking the rows of segment {segment.path.name}"))
        for batch, vectors in segment.rows():
            if not has_unit_length(vectors).all():
                yield f"{segment.path} holds an embedding that does not have length 1"
            if len(vectors) != len(batch):
                yield f"{segment.path} has a face without an embedding"
        live = pa.array(segment.live())
        seen.append(segment.faces.table["face_id"].filter(live).combine_chunks())
        if segment.codes is not None and segment.codes.ntotal != len(segment.vectors):
            yield f"{segment.path} proposes candidates among other rows than it has"
        if len(read_photos(index_dir, segment.entry)) != segment.entry.num_photos:
            yield f"{segment.path} has another number of photos than its manifest says"
    face_ids = pa.concat_arrays(seen)
    if len(face_ids) != manifest.num_faces:
        yield f"{index_dir} holds {len(face_ids)} faces, its manifest says {manifest.num_faces}"
    if len(face_ids.unique()) != len(face_ids):
        yield f"{index_dir} holds a face twice"


def _equal(one: Any, other: Any) -> bool:
    """Landmarks that a detector did not find are NaN, which is equal to nothing."""
    if isinstance(one, list) and isinstance(other, list) and one and isinstance(one[0], float):
        return np.array_equal(one, other, equal_nan=True)
    return bool(one == other)


def _differences(index_dir: Path, manifest: Manifest, source: Dataset) -> Iterator[str]:
    """Where an index and its dataset do not hold the same."""
    require_same_contract(
        source.contract,
        manifest.contract,
        ours_name=f"dataset {source.path}",
        theirs_name=f"index {index_dir}",
        remedy="name the dataset it was built from",
    )
    columns = [*FACES_SCHEMA.names, *source.metadata.names]
    where: dict[str, tuple[Segment, int]] = {}
    for segment in open_segments(index_dir, manifest):
        ids = segment.faces.table["face_id"].to_pylist()
        where |= {ids[row]: (segment, row) for row in np.flatnonzero(segment.live()).tolist()}
    missing = others = 0
    for table in source.faces([*columns, "embedding"]):
        vectors = embedding_matrix(table)
        places = [where.pop(face_id, None) for face_id in table["face_id"].to_pylist()]
        missing += places.count(None)
        rows = table.select(columns).to_pylist()
        for place, row, vector in zip(places, rows, vectors, strict=True):
            if place is not None:
                segment, number = place
                face = segment.faces.row(number, columns)
                same = all(_equal(face.get(name), value) for name, value in row.items())
                others += not (same and np.array_equal(segment.vectors[number], vector))
    update = f"`facetrove index {source.path} {index_dir}` brings it up to date"
    if missing:
        yield f"{index_dir} lacks {missing} faces of {source.path}; {update}"
    if where:
        yield f"{index_dir} holds {len(where)} faces that {source.path} does not; {update}"
    if others:
        yield (
            f"{index_dir} holds {others} faces with other values than {source.path}; {update}, and "
            "if it does not, add --rebuild"
        )
