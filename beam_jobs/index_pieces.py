"""The job that builds one index out of partial indexes (pieces), on any Beam runner.

    python -m beam_jobs.index_pieces --dataset faces.dataset --index faces.index --pieces 10

Each partial index covers some of the dataset's parts. Workers copy its embeddings out of Parquet;
the driver trains the quantiser once, on a sample of all embeddings; workers find the inverted list
and the code of each embedding, which is most of the work; the driver joins the partial indexes in
their order. So the index returns the same results as one that was built at once. Dataset and index
must be in folders that all workers can access.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.piece_transforms import CopyPieces, EncodePieces
from beam_jobs.runners.select import Workers, run_pipeline
from faces.core.documents import json_text
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.layout import WORK, index_folder
from indexer.manifest import Manifest
from indexer.options import GivenOptions
from indexer.pieces import join_codes, list_photos, read_piece, write_trained
from indexer.segment_files import FaceBatch

_REMEDY = "the index is unchanged; run the same command again"


def build_index_in_pieces(
    dataset: str | Path,
    index: str | Path,
    *,
    num_pieces: int,
    workers: int | None = None,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
    **given: Unpack[GivenOptions],
) -> Manifest:
    """Build an index from scratch out of partial indexes that Beam workers make.

    Args:
        dataset: folder of the dataset.
        index: folder of the index, which is created or rebuilt.
        num_pieces: number of partial indexes, 1 or more; a few for each worker.
        workers: number of worker processes on this machine; None: one per core.
        runner_args: command-line flags of Apache Beam, which may name another Beam runner.
        on_progress: called at the steps of the build.
        given: options of `build_index`; a recipe must be auto or an IVF recipe.

    Returns:
        The manifest of the new version of the index.

    Raises:
        WrongUsageError: `num_pieces` is below 1, there is no dataset, there is no such Beam flag,
            or an option cannot be used.
        FaceTroveError: a worker failed, or `build_index` raised an error; the index is unchanged.
    """
    if num_pieces < 1:
        raise WrongUsageError(f"the number of pieces is {num_pieces}; give 1 or more")
    index = absolute(index)
    builder = _PartialIndexes(
        absolute(dataset),
        index,
        num_pieces,
        Workers.chosen(workers, runner_args=runner_args),
    )
    return build_index(
        builder.dataset_dir,
        index,
        rebuild=True,
        device="cpu",
        workers=builder,
        on_progress=on_progress,
        **given,
    )


class _PartialIndexes:
    """The partial indexes of a build, made by Beam workers: `BuildWorkers`."""

    def __init__(
        self, dataset_dir: Path, index_dir: Path, num_pieces: int, workers: Workers
    ) -> None:
        self.dataset_dir = dataset_dir
        self.folder = index_folder(index_dir)
        self.work = self.folder.folder(WORK)
        self.num_pieces = num_pieces
        self.workers = workers
        self._names: list[str] = []

    def read_faces(self, source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
        """Have workers copy the faces of photos, and yield them in the order of the parts."""
        self.folder.remove_folder(WORK)
        self.folder.make_folder(WORK)
        parts = np.array(sorted(photos["faces_part"].unique().to_pylist()))
        for number, piece_parts in enumerate(np.array_split(parts, self.num_pieces)):
            if len(piece_parts) == 0:
                continue
            name = f"piece-{number:06d}"
            in_piece = pc.is_in(photos["faces_part"], value_set=pa.array(piece_parts.tolist()))
            list_photos(self.work, name, photos.filter(in_piece))
            self._names.append(name)
        self._run(CopyPieces(self.dataset_dir, self.work))
        for name in self._names:
            yield from read_piece(self.work, name)

    def fill(self, codes: Any) -> None:
        """Add all faces that were read to a trained FAISS index, in their order."""
        write_trained(self.work, codes)
        self._run(EncodePieces(self.work))
        for name in self._names:
            join_codes(codes, self.work, name)

    def finish(self) -> None:
        """Remove the files of the partial indexes."""
        with suppress(OSError):  # the next writer removes what is left
            self.folder.remove_folder(WORK)

    def _run(self, step: beam.PTransform) -> None:
        if self._names:
            steps = "List pieces" >> beam.Create(self._names) | step
            run_pipeline(
                lambda pipeline: pipeline | steps,
                workers=self.workers.at_most(len(self._names)),
                remedy=_REMEDY,
            )


def run(argv: Sequence[str] | None = None) -> Manifest:
    """Run the job as a Beam program: flags that it does not have are passed to the Beam runner."""
    parser = argparse.ArgumentParser(description="Build an index out of partial indexes.")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--index", type=Path, required=True, help="folder, created or rebuilt")
    parser.add_argument(
        "--pieces", type=int, required=True, help="number of partial indexes; a few for each worker"
    )
    parser.add_argument("--recipe", help="auto, exact or a FAISS factory string")
    parser.add_argument(
        "--workers", type=int, help="worker processes on this machine; one per core by default"
    )
    args, runner_args = parser.parse_known_args(argv)
    return build_index_in_pieces(
        args.dataset,
        args.index,
        num_pieces=args.pieces,
        recipe=args.recipe,
        workers=args.workers,
        runner_args=runner_args,
    )


if __name__ == "__main__":
    try:
        print(json_text(asdict(run())))  # noqa: T201
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
