"""Work that is done in pieces, as Beam transforms: the steps of workers.

All transforms take a PCollection of str, the names of pieces in a folder that all workers can
access, and return the same names when the files are written. Pieces are partial indexes, see
`beam_jobs.index_pieces`, or faces whose neighbours are looked for, see `beam_jobs.knn_join`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import apache_beam as beam

from faces.core.storage import Folder
from faces.dataset.store import Dataset
from indexer.join import join_piece
from indexer.knn import use_threads
from indexer.pieces import encode_piece, listed_photos, write_piece
from indexer.segment_builder import faces_of_photos


class CopyPieces(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Copy the embeddings and faces of partial indexes out of a dataset's Parquet parts.

    The photos of each partial index are those that `indexer.pieces.list_photos` wrote.

    Args:
        dataset_dir: the dataset's folder.
        work: the folder of the partial indexes.
    """

    def __init__(self, dataset_dir: Path, work: Folder) -> None:
        super().__init__()
        self._copy = partial(_copy_piece, str(dataset_dir), work)

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of names."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Copy embeddings" >> beam.Map(self._copy).with_output_types(str)
        )


class EncodePieces(beam.PTransform):  # type: ignore[misc]
    """Find the inverted list and the code of each embedding of partial indexes that were copied.

    The common quantiser is the one that `indexer.pieces.write_trained` wrote.

    Args:
        work: the folder of the partial indexes.
    """

    def __init__(self, work: Folder) -> None:
        super().__init__()
        self._encode = partial(_encode_piece, work)

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of names."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Find inverted lists and codes" >> beam.Map(self._encode).with_output_types(str)
        )


class JoinPieces(beam.PTransform):  # type: ignore[misc]
    """Find the nearest faces of those of each piece of a join.

    Args:
        work: the join's work folder, with its plan.
    """

    def __init__(self, work: Folder) -> None:
        super().__init__()
        self._join = partial(_join_piece, work)

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of names."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Find nearest faces" >> beam.Map(self._join).with_output_types(str)
        )


class CompletePieces(beam.PTransform):  # type: ignore[misc]
    """Complete the pieces of a join by what other pieces found, when all have been searched.

    Args:
        work: the join's work folder, with its plan.
        names: the names of all pieces that are to be completed, whatever the input has.
    """

    def __init__(self, work: Folder, names: Sequence[str]) -> None:
        super().__init__()
        self._work, self._names = work, list(names)

    def expand(self, searched: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of names."""
        return (
            searched
            | "Wait for all" >> beam.combiners.ToList()
            | "List all" >> beam.FlatMap(_these, self._names).with_output_types(str)
            | JoinPieces(self._work)
        )


def _these(_: object, names: list[str]) -> list[str]:
    return names


def _copy_piece(dataset_dir: str, work: Folder, name: str) -> str:
    """Copy the embeddings and faces of a partial index, and return its name."""
    source = Dataset.open(dataset_dir)
    write_piece(work, name, source, faces_of_photos(source, listed_photos(work, name)))
    return name


def _encode_piece(work: Folder, name: str) -> str:
    """Write the codes of a partial index, and return its name."""
    encode_piece(work, name)
    return name


def _join_piece(work: Folder, name: str) -> str:
    """Write the neighbours of the faces of a piece, on one thread, and return its name."""
    use_threads(1)
    join_piece(work, name)
    return name
