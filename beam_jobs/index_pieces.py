"""Build an index in pieces, on any Beam runner: many machines build one index.

    python -m beam_jobs.index_pieces --dataset faces.dataset --index faces.index --pieces 10

Each piece is some of the dataset's parts. Workers copy its embeddings out of Parquet; the driver
trains the quantiser once, on a sample of all; workers find every embedding's group and code, which
is most of the work; the driver joins the pieces in their order. So the index answers as one that
was built at once. Dataset and index must lie in folders that all workers see.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.piece_transforms import CopyPieces, EncodePieces, list_photos_of_piece
from beam_jobs.runners.select import Workers, run_pipeline
from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.files import PRIVATE
from faces.core.named import absolute
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset.store import Dataset
from indexer.build import build_index
from indexer.layout import work_dir
from indexer.manifest import Manifest
from indexer.options import GivenOptions
from indexer.pieces import join_codes, read_piece, write_trained
from indexer.segment_files import FaceBatch

_AGAIN = "the index is as it was; run the same command again"


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
    """Build an index anew, in pieces.

    Args:
        dataset, index: as of `build_index`.
        num_pieces: how many; a few for each worker.
        workers: processes on this machine; one per core by default.
        runner_args: Beam's own flags, for another runner than the local one.
        on_progress: called with what is being done.
        given: as of `build_index`; a recipe must be one that groups faces (IVF), or auto.

    Returns:
        The manifest now in force.

    Raises:
        FaceTroveError: a worker failed, or as of `build_index`; the index is as it was.
    """
    if num_pieces < 1:
        raise WrongUsageError(f"{num_pieces} pieces were asked for; give 1 or more")
    index = absolute(index)
    pieces = _Pieces(
        absolute(dataset),
        work_dir(index),
        num_pieces,
        Workers.chosen(workers, runner_args=runner_args),
    )
    return build_index(
        pieces.dataset_dir,
        index,
        rebuild=True,
        device="cpu",
        crew=pieces,
        on_progress=on_progress,
        **given,
    )


class _Pieces:
    """Does the heavy steps of a build on Beam workers; see `indexer.segment_builder.Crew`."""

    def __init__(
        self, dataset_dir: Path, work_dir: Path, num_pieces: int, workers: Workers
    ) -> None:
        self.dataset_dir = dataset_dir
        self.work_dir = work_dir
        self.num_pieces = num_pieces
        self.workers = workers
        self._names: list[str] = []

    def read_faces(self, source: Dataset, photos: pa.Table) -> Iterator[FaceBatch]:
        """The faces of photos, read by workers, in the order of the dataset's parts."""
        shutil.rmtree(self.work_dir, ignore_errors=True)
        self.work_dir.mkdir(mode=PRIVATE)
        parts = np.array(sorted(photos["faces_part"].unique().to_pylist()))
        for number, some in enumerate(np.array_split(parts, self.num_pieces)):
            if len(some) == 0:
                continue
            name = str(self.work_dir / f"piece-{number:06d}")
            here = pc.is_in(photos["faces_part"], value_set=pa.array(some.tolist()))
            list_photos_of_piece(name, photos.filter(here))
            self._names.append(name)
        self._run(CopyPieces(self.dataset_dir))
        for name in self._names:
            yield from read_piece(Path(name), source)

    def fill(self, codes: Any) -> None:
        """Add to a trained FAISS index all faces that were read."""
        trained = self.work_dir / "trained.faiss"
        write_trained(codes, trained)
        self._run(EncodePieces(trained))
        for name in self._names:
            join_codes(codes, Path(name))

    def finish(self) -> None:
        """Remove the pieces."""
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def _run(self, step: beam.PTransform) -> None:
        if self._names:
            steps = "List pieces" >> beam.Create(self._names) | step
            run_pipeline(
                lambda pipeline: pipeline | steps,
                workers=self.workers.at_most(len(self._names)),
                remedy=_AGAIN,
            )


def run(argv: Sequence[str] | None = None) -> Manifest:
    """Run the job as a Beam program: its own flags below, all others go on to the runner."""
    parser = argparse.ArgumentParser(description="Build an index in pieces.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True, help="folder made or built anew")
    parser.add_argument("--pieces", type=int, required=True, help="a few for each worker")
    parser.add_argument("--recipe", help="auto, exact or a FAISS factory string")
    parser.add_argument("--workers", type=int, help="processes here; one per core by default")
    known, runner_args = parser.parse_known_args(argv)
    return build_index_in_pieces(
        known.dataset,
        known.index,
        num_pieces=known.pieces,
        recipe=known.recipe,
        workers=known.workers,
        runner_args=runner_args,
    )


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(run()), indent=2))  # noqa: T201
    except FaceTroveError as error:
        sys.exit(f"error: {error}")
