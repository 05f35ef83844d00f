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
from indexer.inverted_lists import Neighbours, best_of_each, in_rows
from indexer.join_files import (
    FOUND_SCHEMA,
    NEIGHBOURS_SCHEMA,
    PLAN_FILE,
    JoinOptions,
    JoinPlan,
    JoinRequest,
    JoinResult,
    PieceReport,
    found_name,
    is_join_file,
    read_found,
    read_piece,
    read_plan,
    remove_work,
    result_name,
    work_folder,
    write_found,
    write_piece,
    write_plan,
    write_result,
)
from indexer.join_plan import ProbeFaces, faces_of_piece, make_plan, open_target
from indexer.knn import NearestFaces

FOUND_TIMES_K = 4
"""Neighbours that a face finds where pairs are found by either face, as a multiple of k: one that
has more than k may be among the k nearest of each of these."""

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
        """Return the names of the pieces that `join_piece` is to do next; none if all are done.

        Where pairs are found by either face, every piece is done twice: first all find theirs, then
        each is completed by what the others found.
        """
        there = set(self.folder.names())
        if is_searching(self.plan, self.folder):
            return [p.name for p in self.plan.pieces if found_name(p.name) not in there]
        return [p.name for p in self.plan.pieces if result_name(p.name) not in there]

    def progress(self) -> Progress:
        """Return how many faces have been looked up."""
        there = set(self.folder.names())
        pieces = self.plan.pieces
        total = sum(piece.num_faces for piece in pieces)
        done = sum(piece.num_faces for piece in pieces if result_name(piece.name) in there)
        if self.plan.mutual:
            found = [piece for piece in pieces if found_name(piece.name) in there]
            done = (done + sum(piece.num_faces for piece in found)) // 2
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


def is_searching(plan: JoinPlan, work: Folder) -> bool:
    """Return whether the pieces of a join are done twice, and not all have been done once."""
    there = set(work.names())
    return plan.mutual and any(found_name(piece.name) not in there for piece in plan.pieces)


def join_piece(work: Folder, name: str) -> None:
    """Find the neighbours of the faces of a piece, and write them to the work folder.

    If pairs are found by either face, this is only the first of two steps until all pieces have
    been done once; from then on the next call adds what other pieces found.

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
    if is_searching(plan, work):
        if not work.exists(found_name(name)):  # or a runner repeats what it had done
            write_found(work, name, _found(target, faces, options))
        return
    if plan.mutual:
        similarities, positions = _completed(work, plan, name, faces.own)
    else:
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


def _found(target: NearestFaces, faces: ProbeFaces, options: JoinOptions) -> pa.Table:
    """Return the neighbours that the faces of a piece find, rows of `FOUND_SCHEMA`."""
    near = target.similar(
        faces.vectors,
        FOUND_TIMES_K * options.k,
        own=faces.own,
        min_similarity=options.min_similarity,
    )
    order = np.argsort(near.rows)
    columns = faces.own[near.probes], near.rows, near.similarities
    return pa.table([pa.array(column[order]) for column in columns], schema=FOUND_SCHEMA)


def _completed(
    work: Folder, plan: JoinPlan, name: str, own: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the neighbours that the faces of a piece found, and those that found them.

    Args:
        work: the work folder.
        plan: the plan.
        name: the piece's name.
        own: (n,) positions of its faces, ascending.

    Returns:
        (n, k) similarities, descending, and (n, k) positions; -inf and -1 for padding.
    """
    k = plan.request.options.k
    probes, others, similarities = (
        read_found(work, name)[column].to_numpy() for column in FOUND_SCHEMA.names
    )
    found = [Neighbours(np.searchsorted(own, probes).astype(np.int32), others, similarities)]
    for piece in plan.pieces:
        there, here, similarities = (
            read_found(work, piece.name)[column].to_numpy() for column in FOUND_SCHEMA.names
        )
        ours = slice(*np.searchsorted(here, [own[0], own[-1] + 1]).tolist())
        probes = np.searchsorted(own, here[ours]).astype(np.int32)
        found.append(Neighbours(probes, there[ours], similarities[ours]))
    every = Neighbours(*map(np.concatenate, zip(*found, strict=True)))
    order = np.lexsort((every.rows, every.probes))
    new = np.diff(every.probes[order], prepend=-1) != 0
    new |= np.diff(every.rows[order], prepend=-1) != 0
    each = Neighbours(*(column[order[new]] for column in every))
    return in_rows(best_of_each(each, k), (len(own), k))


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
