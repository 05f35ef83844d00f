"""The plan of a join: what is joined, in which pieces, and how many inverted lists are probed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.contract import require_same_contract
from faces.core.errors import CorruptFileError, FaceTroveError
from faces.core.kinds import is_dataset
from faces.core.named import absolute
from faces.core.progress import OnProgress, Progress
from faces.core.storage import Folder
from faces.dataset.deletions import read_deletions
from faces.dataset.schema import embedding_matrix, last_rows
from faces.dataset.store import Dataset
from indexer.join_files import (
    JoinOptions,
    JoinPiece,
    JoinPlan,
    JoinRequest,
    photos_name,
    piece_name,
)
from indexer.knn import NearestFaces
from indexer.manifest import current_line, read_current
from indexer.model_rates import OPERATING_FPIR
from indexer.snapshot import Snapshot
from indexer.stranger_rates import StrangerRates
from indexer.vectors import Vectors

PIECE_FACES = 1 << 16
"""Largest number of faces in a piece: with a million faces in B, a hundred or more of them are
compared with each inverted list at a time, and a piece takes some 200 MB of memory."""

MIN_PIECE_FACES = 1 << 13
"""Number of faces up to which there is one piece: starting workers takes longer than that."""


@dataclass(frozen=True)
class ProbeFaces:
    """Faces of A.

    Attributes:
        face_ids: (n,) string.
        vectors: (n, d) embeddings of unit length.
        own: (n,) positions of the same faces in B, or `indexer.knn.NOT_IN_INDEX`.
    """

    face_ids: pa.Array
    vectors: Vectors
    own: NDArray[np.int64]


def request_of(a: str | Path, b: str | Path, options: JoinOptions) -> JoinRequest:
    """Return what a join is about: the collections as they are now.

    Raises:
        WrongUsageError: there is no dataset or index A, or no index B.
    """
    a_path, b_path = absolute(a), absolute(b)
    if is_dataset(a_path):
        source = Dataset.open(a_path)
        source.require_whole()
        state = "\n".join([*source.committed_parts(), source.purged, read_deletions(a_path).state])
        a_state = hashlib.sha256(state.encode()).hexdigest()
    else:
        a_state = _state_of(a_path)
    return JoinRequest(str(a_path), a_state, str(b_path), _state_of(b_path), options)


def make_plan(
    folder: Folder, request: JoinRequest, min_pieces: int, on_progress: OnProgress
) -> JoinPlan:
    """Cut a join into pieces, and choose how many inverted lists to probe."""
    target = open_target(request.b, request.b_state)
    on_progress(Progress("reading what to compare"))
    if is_dataset(request.a):
        dataset = Dataset.open(request.a)
        contract, pieces = dataset.contract, _pieces_of_dataset(folder, dataset, min_pieces)
    else:
        source = target if _is_self(request) else open_target(request.a, request.a_state)
        contract = source.snapshot.manifest.contract
        pieces = _pieces_of_index(len(source.live_positions), min_pieces)
    manifest = target.snapshot.manifest
    require_same_contract(
        contract,
        manifest.contract,
        ours_name=request.a,
        theirs_name=f"index {request.b}",
        remedy="embed one of them again with the other's models",
    )
    options = request.options
    threshold = options.min_similarity
    if threshold is None:
        threshold = _operating_threshold(StrangerRates(manifest))
    on_progress(Progress("choosing how many inverted lists to compare"))
    either = _is_self(request) and options.min_similarity is not None
    nprobes = target.effort(
        options.k, target_recall=options.target_recall, threshold=threshold, either=either
    )
    return JoinPlan(request, threshold, nprobes, pieces, mutual=either and bool(nprobes))


def _pieces_of_index(num_faces: int, min_pieces: int) -> tuple[JoinPiece, ...]:
    limits = np.linspace(0, num_faces, _num_pieces(num_faces, min_pieces) + 1).astype(int).tolist()
    return tuple(
        JoinPiece(piece_name(number), limits[number + 1] - start, start)
        for number, start in enumerate(limits[:-1])
    )


def _pieces_of_dataset(folder: Folder, source: Dataset, min_pieces: int) -> tuple[JoinPiece, ...]:
    """Cut a dataset into pieces of whole parts, and write the photos of each piece."""
    photos = source.photos(["num_faces"])
    photos = photos.filter(pc.is_valid(photos["faces_part"]))
    contents = photos.take(last_rows(photos, "photo_id"))
    counts = contents.group_by("faces_part").aggregate([("num_faces", "sum")])
    counts = counts.sort_by("faces_part")
    ends = np.cumsum(counts["num_faces_sum"].to_numpy())
    total = int(ends[-1]) if len(ends) else 0
    numbers = (ends - 1) * _num_pieces(total, min_pieces) // max(1, total)
    pieces: list[JoinPiece] = []
    for number in np.unique(numbers).tolist():
        in_piece = counts.filter(pa.array(numbers == number))
        name = piece_name(len(pieces))
        parts = in_piece["faces_part"].combine_chunks()
        write_arrow(folder, photos_name(name), photos.filter(pc.is_in(photos["faces_part"], parts)))
        pieces.append(JoinPiece(name, pc.sum(in_piece["num_faces_sum"]).as_py(), None))
    return tuple(pieces)


def _num_pieces(num_faces: int, min_pieces: int) -> int:
    if num_faces <= MIN_PIECE_FACES:
        return 1
    return max(min_pieces, -(-num_faces // PIECE_FACES))


def _operating_threshold(rates: StrangerRates) -> float | None:
    """Return the similarity from which on faces of an index are told to be one person's."""
    lowest = rates.min_fpir
    return None if lowest is None else rates.threshold(max(lowest, OPERATING_FPIR))


def _is_self(request: JoinRequest) -> bool:
    return request.a == request.b


def faces_of_piece(
    request: JoinRequest, piece: JoinPiece, work: Folder, target: NearestFaces
) -> ProbeFaces:
    """Return the faces of a piece."""
    if piece.start is None:
        photos = read_arrow(work.mapped(photos_name(piece.name)))
        found = Dataset.open(request.a).faces(["face_id", "embedding"], photos=photos).to_arrow()
        vectors = embedding_matrix(found)
        face_ids = pa.concat_arrays([pa.array([], pa.string()), *found["face_id"].chunks])
    else:
        source = target if _is_self(request) else open_target(request.a, request.a_state)
        positions = source.live_positions[piece.start : piece.start + piece.num_faces]
        vectors = source.snapshot.embeddings(positions)
        face_ids = source.face_ids.take(pa.array(positions))
        if source is target:
            return ProbeFaces(face_ids, vectors, positions)
    if not np.allclose(np.einsum("nd,nd->n", vectors, vectors), 1, atol=1e-2):
        raise CorruptFileError(
            f"{request.a} is corrupt: it holds embeddings that do not have length 1; make it anew"
        )
    return ProbeFaces(face_ids, vectors, target.positions_of(face_ids))


def _state_of(index: Path) -> str:
    """Return the content of an index's CURRENT, which names its version.

    Raises:
        WrongUsageError: there is no index.
        CorruptFileError: it cannot be read.
    """
    read_current(index)
    return _as_text(current_line(index))


def _as_text(line: bytes | None) -> str:
    """Return the content of CURRENT as text; empty if the file is gone."""
    return (line or b"").decode(errors="replace")


@lru_cache(2)
def open_target(index: str, state: str, nprobes: tuple[tuple[str, int], ...] = ()) -> NearestFaces:
    """Open the version of an index that a join was planned for; a worker opens it once.

    Raises:
        FaceTroveError: the index has another version by now.
    """
    snapshot = Snapshot.open(index, "cpu")
    if _as_text(snapshot.line) != state:
        raise FaceTroveError(
            f"index {index} has changed since the join began; run the same command again, which "
            "begins anew with the index as it is now"
        )
    return NearestFaces(snapshot, dict(nprobes))
