"""Building an index in pieces, as Beam transforms: the steps that workers do.

Both take a PCollection of str, names of pieces in a folder that all workers see, and give the same
names when the pieces are written. See `beam_jobs.index_pieces`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import apache_beam as beam
import pyarrow as pa

from faces.core.arrow_files import write_arrow
from faces.dataset.store import Dataset
from indexer.pieces import encode_piece, write_piece
from indexer.segment_builder import faces_of_photos


def list_photos_of_piece(name: str, photos: pa.Table) -> None:
    """Say which photos' faces a piece is to have; rows of `Dataset.photos`."""
    write_arrow(Path(f"{name}.photos"), photos)


class CopyPieces(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Copy the embeddings and faces of pieces out of a dataset's Parquet parts.

    The photos of each piece are those of `list_photos_of_piece`.

    Args:
        dataset_dir: the dataset's folder.
    """

    def __init__(self, dataset_dir: Path) -> None:
        super().__init__()
        self._copy = partial(_copy_piece, str(dataset_dir))

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """See `PTransform`."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Copy embeddings" >> beam.Map(self._copy).with_output_types(str)
        )


class EncodePieces(beam.PTransform):  # type: ignore[misc]
    """Find the inverted list and the code of each embedding of pieces that were copied.

    Args:
        trained: a trained FAISS index, as of `indexer.pieces.write_trained`.
    """

    def __init__(self, trained: Path) -> None:
        super().__init__()
        self._encode = partial(_encode_piece, str(trained))

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """See `PTransform`."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Find groups and codes" >> beam.Map(self._encode).with_output_types(str)
        )


def _copy_piece(dataset_dir: str, name: str) -> str:
    source = Dataset.open(dataset_dir)
    with pa.memory_map(f"{name}.photos") as file:
        photos = pa.ipc.open_file(file).read_all()
    write_piece(Path(name), source, faces_of_photos(source, photos))
    return name


def _encode_piece(trained: str, name: str) -> str:
    encode_piece(Path(trained), Path(name))
    return name
