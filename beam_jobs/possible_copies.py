"""Photos that may be copies of each other, by their sizes and a few blocks of their files."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.photos.uris import is_path, photo_path

FINGERPRINT_BYTES = 4096
"""Bytes that are read at the beginning, middle and end of files of the same size, to see which may
be copies."""

FINGERPRINT_THREADS = 8
"""Number of files that are read at once: most of the time is spent waiting for the disk."""


def group_copies(to_do: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order of the rows in which possible copies are adjacent, and their groups.

    Args:
        to_do: n photos with the columns uri and num_bytes.

    Returns:
        (n,) int64, the order of the rows; and in this order (n,) int64, equal for rows that may be
        copies of each other.

    Files are possible copies if their sizes and fingerprints are equal. Members of archives and
    photos in object stores are not grouped, because reading a fingerprint is slow there: copies
    among them may be embedded twice.
    """
    sizes = to_do["num_bytes"].to_numpy()
    _, size_number, count = np.unique(sizes, return_inverse=True, return_counts=True)
    leader = np.arange(len(sizes))
    firsts: dict[tuple[int, bytes], int] = {}
    rows = np.flatnonzero(count[size_number] > 1).tolist()
    uris = to_do["uri"].take(pa.array(rows, pa.int64())).to_pylist()
    with ThreadPoolExecutor(FINGERPRINT_THREADS) as threads:
        fingerprints = threads.map(_fingerprint, uris, sizes[rows].tolist())
        for row, fingerprint in zip(rows, fingerprints, strict=True):
            if fingerprint is not None:
                leader[row] = firsts.setdefault((int(sizes[row]), fingerprint), row)
    order = np.argsort(leader, kind="stable")
    return order, leader[order]


def _fingerprint(uri: str, size: int) -> bytes | None:
    """Return a digest of three blocks of a file; None if it is no file or cannot be read."""
    if size <= 0 or not is_path(uri):
        return None
    digest = hashlib.blake2b(digest_size=16)
    try:
        path = photo_path(uri)
        if not path.is_file():  # reading a pipe would never end
            return None
        with path.open("rb", buffering=0) as file:
            for start in sorted({0, max(0, size // 2), max(0, size - FINGERPRINT_BYTES)}):
                file.seek(start)
                digest.update(file.read(FINGERPRINT_BYTES))
    except OSError:
        return None
    return digest.digest()
