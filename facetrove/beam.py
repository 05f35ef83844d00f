"""Beam transforms that fit into any pipeline. Importing this module loads Apache Beam.

    import apache_beam as beam
    from facetrove.beam import EmbedPhotos

    with beam.Pipeline() as pipeline:
        photos = pipeline | beam.Create(["/archive/a.jpg", "s3://archive/b.jpg"])
        found = photos | EmbedPhotos()
        found.faces | ...          # a dict for each face
        found.without_faces | ...  # a dict for each photo in which no face was found
        found.rejected | ...       # a dict for each photo that cannot be read, with the reason

`build_index_in_pieces` builds an index by a Beam pipeline of its own.
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
    """Build an index anew in pieces on a Beam runner, and open it.

    Args:
        dataset, index: folders that all workers see.
        pieces: number of pieces, each the work of one worker at a time.
        runner_args: Beam's own flags; by default the pieces are built on this machine's cores.
        on_progress: called with what is being done.
        options: as of `facetrove.build_index`.

    Raises: as `beam_jobs.index_pieces.build_index_in_pieces`.
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
