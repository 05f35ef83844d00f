"""The FAISS file format, as far as facetrove writes and reads it."""

from __future__ import annotations

import faiss

from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import FileDigest, Folder
from indexer.layout import REBUILD


def write_codes(folder: Folder, name: str, codes: faiss.Index) -> None:
    """Write a FAISS index to a file, which appears whole or not at all."""
    with folder.put(name) as file:
        faiss.write_index(codes, faiss.PyCallbackIOWriter(file.write))


def read_codes(folder: Folder, name: str, digest: FileDigest | None = None) -> faiss.Index:
    """Read a FAISS index from a file.

    Args:
        folder: the folder of the file.
        name: name of the file.
        digest: size and sha256 that the file must have; None: they are not checked.

    Raises:
        CorruptFileError: the file is missing or cannot be read.
    """
    with folder.open(name, digest) as file:
        try:
            return faiss.read_index(faiss.PyCallbackIOReader(file.read))
        except RuntimeError as error:
            raise CorruptFileError(
                f"{folder.at(name)} cannot be read ({first_line(error)}); {REBUILD}"
            ) from error
