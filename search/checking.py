"""Check what a search is asked, before any work is done for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.vectors import has_unit_length
from indexer.snapshot import Snapshot
from indexer.stranger_rates import threshold_at
from search.answering import Query
from search.one_per import GROUP_COLUMN


def checked_query(query: Query, snapshot: Snapshot, index: Path) -> Query:
    """Return a query with its FPIR as a smallest similarity.

    Args:
        query: what is asked.
        snapshot: the version of the index that will answer, with the people of its faces.
        index: path of the index, for messages.

    Raises:
        WrongUsageError: a condition is not valid, or there is no threshold at the FPIR.
    """
    k, num_faces = query.k, snapshot.manifest.num_faces
    if query.one_per is not None and query.one_per not in GROUP_COLUMN:
        raise WrongUsageError(f"one_per is {query.one_per!r}; give 'photo' or 'person'")
    if query.one_per == "person" and "person" not in snapshot.metadata.names:
        raise WrongUsageError(
            f"index {index} has no column person; embed with a photo list that has a column person"
        )
    if query.min_similarity is not None and not -1 <= query.min_similarity <= 1:
        raise WrongUsageError(
            f"min_similarity is {query.min_similarity}; give a similarity from -1 to 1"
        )
    if k is not None and not 1 <= k <= num_faces:
        raise WrongUsageError(
            f"k is {k}; index {index} holds {num_faces} faces; ask for 1 to {num_faces} matches"
        )
    if query.fpir is None:
        return query
    min_similarity = threshold_at(snapshot.rates, query.fpir, index)
    if query.min_similarity is not None:
        min_similarity = max(min_similarity, query.min_similarity)
    return replace(query, min_similarity=min_similarity)


def checked_embeddings(
    embeddings: ArrayLike, contract: ModelContract, index: Path
) -> NDArray[np.float32]:
    """Return embeddings as a contiguous (n, d) float32 array.

    Raises:
        WrongUsageError: they have another shape than the index's, or a length other than 1.
    """
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    dimension = contract.dimension
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise WrongUsageError(
            f"embeddings have shape {vectors.shape} but index {index} expects "
            f"(n, {dimension}); embed with the index's model ({contract.embedder})"
        )
    right = has_unit_length(vectors)
    if not right.all():
        raise WrongUsageError(
            f"embedding {int(np.argmin(right))} (from 0) does not have Euclidean length 1; "
            "divide each embedding by its norm"
        )
    return vectors
