"""A join of two collections: for every face of A, the most similar faces of the index B.

A join is cut into pieces of some ten thousand faces of A. One that was interrupted goes on with the
pieces that have no result yet, as long as A, B and the options are what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.core.storage import LOCK_FILE, Folder
from indexer.join_files import (
    NEIGHBOURS_SCHEMA,
    PLAN_FILE,
    JoinPlan,
    JoinRequest,
    JoinResult,
    PieceReport,
    is_join_file,
    read_piece,
    read_plan,
    remove_work,
    result_name,
    work_folder,
    write_piece,
    write_plan,
    write_result,
)
from indexer.join_plan import ProbeFaces, faces_of_piece, make_plan, open_target
from indexer.knn import NearestFaces

SAMPLE_FACES = 1_000
"""Number of faces of A with which the recall is measured."""


class JoinWork:
    """The work folder of a join, from which the join goes on after an interruption. Use `open`.

    Attributes:
        out: path of the result.
        folder: the storage of the work folder's files.
        plan: the plan.
    """

    def __init__(self, out: Path, folder: Folder, plan: JoinPlan) -> None:
        self.out = out
        self.folder = folder
        self.plan = plan

    @classmethod
    @contextmanager
    def open(
        cls, request: JoinRequest, out: Path, *, min_pieces: int, on_progress: OnProgress
    ) -> Iterator[JoinWork]:
        """Plan a join, or take up the one that was interrupted, and hold its lock.

        Args:
            request: what is joined.
            out: path of the result.
            min_pieces: number of pieces to make at least, unless there are few faces.
            on_progress: called with each step and how far it is.

        Raises:
            WrongUsageError: the work folder is a folder of something else.
            ContractMismatchError: A and B have embeddings of different models.
            BusyError: another process drives this join.
        """
        folder = work_folder(out)
        if not all(map(is_join_file, folder.names())):
            raise WrongUsageError(
                f"{folder.at()} has files of something else; name another output file"
            )
        folder.make()
        with folder.lease(what=f"join {out}"):
            folder.remove_temporary_files()
            plan = read_plan(folder)
            if plan is None or plan.request != request:
                for name in folder.names():
                    if name != LOCK_FILE:
                        folder.remove(name)
                plan = make_plan(folder, request, min_pieces, on_progress)
                write_plan(folder, plan)  # last
            yield cls(out, folder, plan)

    def pending(self) -> list[str]:
        """Return the names of the pieces that have no result yet."""
        there = set(self.folder.names())
        return [piece.name for piece in self.plan.pieces if result_name(piece.name) not in there]

    def progress(self) -> Progress:
        """Return how many faces have been looked up."""
        pending = set(self.pending())
        total = sum(piece.num_faces for piece in self.plan.pieces)
        done = sum(piece.num_faces for piece in self.plan.pieces if piece.name not in pending)
        return Progress("comparing", done, total)

    def finish(self) -> JoinResult:
        """Put the results of the pieces together as one Parquet file, and remove the work folder.

        Raises:
            CorruptFileError: the result of a piece cannot be read.
        """
        request = self.plan.request
        target = open_target(request.b, request.b_state)
        pieces = [piece.name for piece in self.plan.pieces]
        counts = sum((read_piece(self.folder, name)[1] for name in pieces), PieceReport())
        result = JoinResult(
            request,
            str(target.snapshot.manifest.contract),
            self.plan.threshold,
            counts,
            target.is_exact,
        )
        write_result(self.out, self.folder, self.plan, result)
        remove_work(self.out)
        return result


def join_piece(work: Folder, name: str) -> None:
    """Find the neighbours of the faces of a piece, and write them to the work folder.

    Args:
        work: the work folder.
        name: the piece's name.

    Raises:
        FaceTroveError: A or B have changed since the join was planned.
        CorruptFileError: a file of A or B is corrupt.
    """
    plan = read_plan(work)
    pieces = {} if plan is None else {piece.name: piece for piece in plan.pieces}
    if plan is None or name not in pieces:
        raise CorruptFileError(f"{work.at(PLAN_FILE)} has no {name}; {work.remedy}")
    target = open_target(plan.request.b, plan.request.b_state, tuple(plan.nprobes.items()))
    faces = faces_of_piece(plan.request, pieces[name], work, target)
    options = plan.request.options
    similarities, positions = target.nearest(
        faces.vectors, options.k, own=faces.own, min_similarity=options.min_similarity
    )
    seed = int(name.rpartition("-")[2])
    share = len(faces.vectors) / max(1, sum(piece.num_faces for piece in plan.pieces))
    report = _recall_of(
        target, faces, positions, plan, count=round(SAMPLE_FACES * share), seed=seed
    )
    in_face, column = np.nonzero(positions >= 0)
    neighbours, numbers = np.unique(positions[in_face, column], return_inverse=True)
    ids = target.face_ids.take(pa.array(neighbours))
    table = pa.table(
        [
            pa.DictionaryArray.from_arrays(pa.array(in_face.astype(np.int32)), faces.face_ids),
            pa.array((column + 1).astype(np.int32)),
            pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), ids),
            pa.array(similarities[in_face, column]),
        ],
        schema=NEIGHBOURS_SCHEMA,
    )
    write_piece(work, name, table, report)


def _recall_of(
    target: NearestFaces,
    faces: ProbeFaces,
    positions: NDArray[np.int64],
    plan: JoinPlan,
    *,
    count: int,
    seed: int,
) -> PieceReport:
    """Count the neighbours found, and those of a sample of faces by exact search.

    Args:
        positions: (n, k) positions of the neighbours found of all faces.
        count: number of faces in the sample, unless every search is exact.
    """
    options = plan.request.options
    num_faces = len(faces.vectors)
    count = 0 if target.is_exact else min(num_faces, max(1, count))
    rows = np.sort(np.random.default_rng(seed).choice(num_faces, count, replace=False))
    similarities, exact = target.nearest(
        faces.vectors[rows],
        options.k,
        own=faces.own[rows],
        min_similarity=options.min_similarity,
        exact=True,
    )
    is_there = exact >= 0
    is_found = is_there & (exact[:, :, None] == positions[rows][:, None, :]).any(axis=2)
    is_match = similarities >= (np.inf if plan.threshold is None else plan.threshold)
    return PieceReport(
        num_faces=num_faces,
        num_neighbours=int(np.count_nonzero(positions >= 0)),
        num_alone=int(np.count_nonzero((positions < 0).all(axis=1))),
        num_sampled=count,
        num_exact=int(np.count_nonzero(is_there)),
        num_found=int(np.count_nonzero(is_found)),
        num_exact_matches=int(np.count_nonzero(is_there & is_match)),
        num_found_matches=int(np.count_nonzero(is_found & is_match)),
    )
