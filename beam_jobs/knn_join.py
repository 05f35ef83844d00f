"""The job that joins two collections: for every face of A its nearest faces in the index B.

    python -m beam_jobs.knn_join --a faces.dataset --b faces.index --out neighbours.parquet

The driver cuts the faces of A into pieces (`indexer.join_plan`); workers find the neighbours of
the faces of a piece; the driver puts the pieces together as one Parquet file. A, B and the folder
of the result must be in folders that all workers can access.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam

from beam_jobs.job_progress import PROGRESS_INTERVAL_SECONDS
from beam_jobs.piece_transforms import CompletePieces, JoinPieces
from beam_jobs.runners.select import Workers, run_pipeline
from faces.core.documents import json_text
from faces.core.errors import FaceTroveError
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from indexer.join import JoinWork, is_searching, join_piece
from indexer.join_files import JoinOptions, JoinResult, finished_join, remove_work
from indexer.join_plan import open_target, request_of

PIECES_PER_WORKER = 2
"""Number of pieces for each worker process at least, so that all end at about the same time."""

_REMEDY = "finished pieces are kept; run the same command again"


def join_nearest(
    a: str | Path,
    b: str | Path,
    out: str | Path,
    *,
    k: int = 50,
    min_similarity: float | None = None,
    target_recall: float = 0.99,
    workers: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
) -> JoinResult:
    """Find for every face of a collection its nearest faces in an index, and write a Parquet file.

    The file has the columns face_id (of a face of A), rank (1 is the most similar), neighbour (the
    face_id of a face of B) and similarity. A face is no neighbour of itself: a face of B with the
    same face_id is left out, and so are deleted faces. A join that was interrupted goes on where it
    was when it is called again with the same arguments.

    Args:
        a: path of a dataset or an index, whose faces are looked up.
        b: path of an index with embeddings of the same models, in which they are looked up.
        out: path of the result, ending in .parquet. While the join runs, finished pieces are in a
            folder beside it, `out` with .work at the end.
        k: number of neighbours of each face, 1 to 1,000.
        min_similarity: smallest similarity of a neighbour, [-1, 1]; None: no limit.
        target_recall: share of the exact neighbours to find, (0, 1], of those that reach
            `min_similarity` or, without one, the threshold at which one search for a stranger in a
            hundred has a match. It rules how many inverted lists of B are compared.
        workers: number of worker processes on this machine; None: one per core, as memory allows.
        runner_args: Beam's own flags, such as `--runner=FlinkRunner`; by default this machine's
            cores do the work.
        on_progress: function called with the step that is being done.

    Returns:
        What was found, with the recall against exact search for a sample of the faces.

    Raises:
        WrongUsageError: there is no such collection, an option is out of range, or `out` is the
            path of something else.
        ContractMismatchError: the collections have embeddings of different models.
        CorruptFileError: a file of a collection is corrupt.
        BusyError: another process is doing this join.
        FaceTroveError: a worker failed, or B has changed meanwhile; finished pieces are kept.
    """
    request = request_of(a, b, JoinOptions(k, min_similarity, target_recall))
    out = absolute(out)
    if (result := finished_join(request, out)) is not None:
        remove_work(out)  # which a join that was killed at its end left
        return result
    on = Workers.chosen(workers, runner_args=runner_args)
    try:
        with JoinWork.open(
            request, out, min_pieces=PIECES_PER_WORKER * on.processes, on_progress=on_progress
        ) as work:
            with _progress_reports(work, on_progress):
                _join_pieces(work, on)
            return work.finish()
    finally:
        open_target.cache_clear()  # closes the indexes


def _join_pieces(work: JoinWork, on: Workers) -> None:
    """Do the pieces that are not done yet: by workers, or here if it is a single one."""
    while pending := work.pending():
        if len(pending) == 1 and not on.are_elsewhere:
            join_piece(work.folder, pending[0])  # sooner than a worker process starts
        else:
            _have_joined(pending, work, on)


def _have_joined(pending: Sequence[str], work: JoinWork, on: Workers) -> None:
    """Have workers do pieces."""
    steps = "List pieces" >> beam.Create(pending) | JoinPieces(work.folder)
    if is_searching(work.plan, work.folder):
        # In the same pipeline, as worker processes take seconds to start.
        names = [piece.name for piece in work.plan.pieces]
        steps |= CompletePieces(work.folder, names)
    run_pipeline(
        lambda pipeline: pipeline | steps,
        workers=on.at_most(len(pending)),
        remedy=_REMEDY,
    )


@contextmanager
def _progress_reports(work: JoinWork, on_progress: OnProgress) -> Iterator[None]:
    """Report from another thread how many faces were looked up, while the context is open."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(PROGRESS_INTERVAL_SECONDS):
            on_progress(work.progress())

    on_progress(work.progress())
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def run(argv: Sequence[str] | None = None) -> JoinResult:
    """Run the job as a Beam program: flags that it does not have are passed to the Beam runner."""
    parser = argparse.ArgumentParser(description="Find the nearest faces of a collection.")
    parser.add_argument("--a", type=Path, required=True, help="folder of a dataset or index")
    parser.add_argument("--b", type=Path, required=True, help="folder of an index")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file of the result")
    parser.add_argument("--k", type=int, default=50, help="neighbours of each face")
    parser.add_argument("--min-similarity", type=float, help="smallest similarity")
    parser.add_argument(
        "--workers", type=int, help="worker processes on this machine; one per core by default"
    )
    args, runner_args = parser.parse_known_args(argv)
    return join_nearest(
        args.a,
        args.b,
        args.out,
        k=args.k,
        min_similarity=args.min_similarity,
        workers=args.workers,
        runner_args=runner_args,
    )


if __name__ == "__main__":
    try:
        print(json_text(run().to_json()))  # noqa: T201
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
