"""Making the partial indexes (pieces) of an index, as Beam transforms: the steps of workers.

Both transforms take a PCollection of str, the path prefixes of partial indexes in a folder that all
workers can access, and return the same names when the files are written. See
`beam_jobs.index_pieces`.
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
    """Write the list of photos, rows of `Dataset.photos`, whose faces a partial index covers."""
    write_arrow(Path(f"{name}.photos"), photos)


class CopyPieces(beam.PTransform):  # type: ignore[misc]  # Beam's classes are untyped
    """Copy the embeddings and faces of partial indexes out of a dataset's Parquet parts.

    The photos of each partial index are those that `list_photos_of_piece` wrote.

    Args:
        dataset_dir: the dataset's folder.
    """

    def __init__(self, dataset_dir: Path) -> None:
        super().__init__()
        self._copy = partial(_copy_piece, str(dataset_dir))

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of path prefixes."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Copy embeddings" >> beam.Map(self._copy).with_output_types(str)
        )


class EncodePieces(beam.PTransform):  # type: ignore[misc]
    """Find the inverted list and the code of each embedding of partial indexes that were copied.

    Args:
        trained: path of a trained FAISS index, which `indexer.pieces.write_trained` wrote.
    """

    def __init__(self, trained: Path) -> None:
        super().__init__()
        self._encode = partial(_encode_piece, str(trained))

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        """Apply the transform to a PCollection of path prefixes."""
        return (
            names
            | "Spread over workers" >> beam.Reshuffle()
            | "Find inverted lists and codes" >> beam.Map(self._encode).with_output_types(str)
        )


def _copy_piece(dataset_dir: str, name: str) -> str:
    """Copy the embeddings and faces of a partial index, and return its name."""
    source = Dataset.open(dataset_dir)
    with pa.memory_map(f"{name}.photos") as file:
        photos = pa.ipc.open_file(file).read_all()
    write_piece(Path(name), source, faces_of_photos(source, photos))
    return name


def _encode_piece(trained: str, name: str) -> str:
    """Write the codes of a partial index, and return its name."""
    encode_piece(Path(trained), Path(name))
    return name
