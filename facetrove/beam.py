"""Beam transforms that fit into any pipeline. Importing this module loads Apache Beam.

    import apache_beam as beam
    from facetrove.beam import EmbedPhotos

    with beam.Pipeline() as pipeline:
        photos = pipeline | beam.Create(["/archive/a.jpg", "s3://archive/b.jpg"])
        found = photos | EmbedPhotos()
        found.faces | ...          # a dict for each face
        found.without_faces | ...  # a dict for each photo in which no face was found
        found.rejected | ...       # a dict for each photo that cannot be read, with the reason

`build_index_in_pieces` runs a Beam pipeline of its own that builds an index on many workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from beam_jobs import index_pieces
from beam_jobs.transforms import EmbeddedPhotos, EmbedPhotos
from faces.core.progress import OnProgress, ignore_progress
from indexer.options import GivenOptions
from search.searcher import FaceSearcher

__all__ = ["EmbedPhotos", "EmbeddedPhotos", "build_index_in_pieces"]


def build_index_in_pieces(
    dataset: str | Path,
    index: str | Path,
    *,
    pieces: int,
    runner_args: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
    **options: Unpack[GivenOptions],
) -> FaceSearcher:
    """Build an index from nothing as partial indexes on a Beam runner, join them, and open it.

    The result is the same as that of `facetrove.build_index` with `rebuild=True`.

    Args:
        dataset: path of the dataset's folder, which all workers must see.
        index: path of the index's folder, which all workers must see. The folder is made, or
            given a new version.
        pieces: number of partial indexes, 1 or more; a worker builds one of them at a time, so
            give a few for each worker.
        runner_args: Beam's own flags, such as `--runner=FlinkRunner`; by default this machine's
            cores do the work.
        on_progress: function called with the step that is being done.
        options: recipe, target_recall, recall_of, memory and threshold, as for
            `facetrove.build_index`. The recipe must have inverted lists (IVF), or be `auto`.

    Returns:
        A searcher on the version that was published.

    Raises:
        WrongUsageError: there is no such dataset, it holds no face, an option cannot be used,
            or `index` is the path of something else.
        ContractMismatchError: the index holds embeddings of another model.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the index.
        FaceTroveError: a worker failed; the index is unchanged.
    """
    index_pieces.build_index_in_pieces(
        dataset,
        index,
        num_pieces=pieces,
        runner_args=runner_args,
        on_progress=on_progress,
        **options,
    )
    return FaceSearcher.open(index)
