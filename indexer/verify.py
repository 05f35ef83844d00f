"""Verify an index: check every byte of its files, and compare its faces with the dataset's."""

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
from indexer.layout import segment_folder
from indexer.manifest import Manifest, read_current
from indexer.segment import Segment
from indexer.segment_files import read_photos


@dataclass(frozen=True)
class VerificationResult:
    """The result of verifying an index.

    Attributes:
        index: path of the index.
        dataset: path of the dataset that the index was compared with; None: it was not compared.
        version: number of the index's version that was checked.
        num_files: number of files read; the segments' files and the file of deleted rows.
        num_bytes: total size in bytes of the segments' files.
        num_faces: number of faces in the index, deleted ones excluded.
        problems: one line for each problem; empty if the index is sound.
    """

    index: str
    dataset: str | None
    version: int
    num_files: int
    num_bytes: int
    num_faces: int
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def verify_index(
    index: str | Path,
    dataset: str | Path | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> VerificationResult:
    """Verify an index: the sha256 of every file, the files' agreement, and the dataset's faces.

    Later checks are left out if an earlier one finds a problem.

    Args:
        index: path of the index's folder; the index may be in use.
        dataset: path of the dataset that the index was built from, to check that both hold the
            same faces with the same values and embeddings; None: the index alone is checked.
        on_progress: called with each step and how far it is.

    Returns:
        The counts and problems found; problems are not raised.

    Raises:
        WrongUsageError: there is no index, or no dataset, at the given path.
        CorruptFileError: the current manifest or the dataset's header cannot be read.
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
    return VerificationResult(
        index=str(path),
        dataset=None if dataset is None else str(dataset),
        version=manifest.version,
        num_files=len(files) + (manifest.deletions is not None),
        num_bytes=sum(digest.num_bytes for digest in files),
        num_faces=manifest.num_faces,
        problems=tuple(problems),
    )


def _check(find: Callable[[], Iterator[str]]) -> list[str]:
    """Return the problems that a check finds, or the error that stops it as the only one."""
    try:
        return list(find())
    except FaceTroveError as error:
        return [str(error)]


def _corrupt_files(index_dir: Path, manifest: Manifest, on_progress: OnProgress) -> Iterator[str]:
    """Yield a line for each file that is not what was written."""
    for entry in manifest.segments:
        folder = segment_folder(index_dir, entry.segment_id)
        for name, digest in entry.files.items():
            on_progress(Progress(f"reading {name} of segment {entry.segment_id}"))
            try:
                with folder.open(name, digest):
                    pass
            except CorruptFileError as error:
                yield str(error)


def _contradictions(index_dir: Path, manifest: Manifest, on_progress: OnProgress) -> Iterator[str]:
    """Yield a line for each contradiction between files that are not corrupt."""
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
            yield (
                f"{segment.path} has codes of {segment.codes.ntotal} faces and "
                f"{len(segment.vectors)} embeddings"
            )
        if len(read_photos(index_dir, segment.entry)) != segment.entry.num_photos:
            yield (
                f"{segment.path} has another number of photos than the "
                f"{segment.entry.num_photos} that its manifest says"
            )
    face_ids = pa.concat_arrays(seen)
    if len(face_ids) != manifest.num_faces:
        yield f"{index_dir} holds {len(face_ids)} faces; its manifest says {manifest.num_faces}"
    if len(face_ids.unique()) != len(face_ids):
        yield f"{index_dir} holds a face more than once"


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal, where NaN equals NaN: what is unknown is NaN."""
    if isinstance(one, list) and isinstance(other, list) and one and isinstance(one[0], float):
        return np.array_equal(one, other, equal_nan=True)
    if isinstance(one, float) and isinstance(other, float) and np.isnan(one):
        return bool(np.isnan(other))
    return bool(one == other)


def _differences(index_dir: Path, manifest: Manifest, source: Dataset) -> Iterator[str]:
    """Yield a line for each kind of difference between an index and its dataset."""
    require_same_contract(
        source.contract,
        manifest.contract,
        ours_name=f"dataset {source.path}",
        theirs_name=f"index {index_dir}",
        remedy="name the dataset it was built from",
    )
    columns = [*FACES_SCHEMA.names, *source.face_metadata.names]
    where: dict[str, tuple[Segment, int]] = {}
    for segment in open_segments(index_dir, manifest):
        ids = segment.faces.table["face_id"].to_pylist()
        where |= {ids[row]: (segment, row) for row in np.flatnonzero(segment.live()).tolist()}
    missing = others = 0
    for table in source.faces([*columns, "embedding"]):
        vectors = embedding_matrix(table)
        stored = [where.pop(face_id, None) for face_id in table["face_id"].to_pylist()]
        missing += stored.count(None)
        rows = table.select(columns).to_pylist()
        for found, expected, vector in zip(stored, rows, vectors, strict=True):
            if found is not None:
                segment, row = found
                face = segment.faces.row(row, columns)
                same = all(_equal(face.get(name), value) for name, value in expected.items())
                others += not (same and np.array_equal(segment.vectors[row], vector))
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
