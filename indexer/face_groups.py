"""The faces of an index, grouped by person: all of them, or new ones among the groups there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from indexer.faces_file import FACES_SCHEMA
from indexer.group_decisions import DecidedFaces, Decisions, restricted
from indexer.group_doubts import doubts
from indexer.group_numbers import NO_NUMBER, numbered
from indexer.group_rules import Constraints, GroupRules
from indexer.grouping import Variances, merge_groups
from indexer.knn import SimilarFaces, similar_faces
from indexer.model_variances import (
    FaceQualities,
    means_by_quality,
    min_gain,
    min_similarity,
    scatter_ratios,
    variances_of,
)
from indexer.recipes import sample_rows
from indexer.snapshot import Snapshot

GROUPS_SCHEMA = pa.schema(
    [
        pa.field("face_id", pa.string(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("doubt", pa.float32(), nullable=False),
    ]
)
"""The columns of groups: the face, the number of its group, from 1, and how doubtful it is that the
face belongs there: from 0, sure, to 1; 0.5 where elsewhere, or alone, is as likely."""

NEXT_NUMBER = b"next_number"
"""Key in the metadata of groups: the number that the next new group gets. It is kept so that no
number is used again, not even that of a group which has vanished."""

NEIGHBOURS = 50
"""Number of nearest faces that are looked at of each face."""

MEAN_FACES = 1 << 16
"""Number of faces of which the mean embeddings are computed."""


def group_index(
    index: str | Path | Snapshot,
    *,
    precision: float = 0.99,
    decisions: Decisions | None = None,
    previous: pa.Table | None = None,
    on_progress: OnProgress = ignore_progress,
) -> pa.Table:
    """Group all faces of an index by person.

    What people said holds always. Two faces of one photo are never in one group unless people said
    so. Poor faces join groups, and do not bridge two. The same index, decisions and previous groups
    give the same groups.

    Args:
        index: path of the index's folder, or a version of it that is open.
        precision: share of the pairs of faces in one group that are of one person, which is
            promised; see `indexer.model_variances.min_gain`.
        decisions: what people said.
        previous: the groups of an earlier grouping: each of the new ones takes the number of the
            earlier one with which it shares most faces, and numbers of others are not used again.
        on_progress: function called with the step that is being done.

    Returns:
        A table of `GROUPS_SCHEMA` with a row for each face of the index that is not deleted.

    Raises:
        WrongUsageError: there is no index, no figure of its models to group by, a precision that
            cannot be promised, or decisions contradict each other.
        CorruptFileError: a file of the index is corrupt.
    """
    faces = IndexFaces.of(index, precision)
    earlier = _Earlier.of(previous, faces.face_ids)
    decided = DecidedFaces(decisions or Decisions(), faces.face_ids, faces.photo_ids)
    on_progress(Progress("finding similar faces"))
    similar = faces.similar()
    on_progress(Progress("grouping"))
    groups, doubt = faces.grouped(np.arange(len(faces.live)), similar, decided.constraints)
    return _table(faces, groups, doubt, decided, earlier)


def group_new_faces(
    index: str | Path | Snapshot,
    previous: pa.Table,
    *,
    precision: float = 0.99,
    decisions: Decisions | None = None,
    on_progress: OnProgress = ignore_progress,
) -> pa.Table:
    """Have the new faces of an index join the groups of its others, or groups of their own.

    Only new faces are looked up: those that `previous` does not have, and those whose earlier group
    contradicts what people have said since. Other groups stay as they are, and no two of them
    become one, unless people said so. A new face that is like nobody is a group of its own.

    Args:
        index: path of the index's folder, or a version of it that is open.
        previous: the groups of an earlier grouping, as `group_index` or this function returned it.
        precision: share of the pairs of faces in one group that are of one person, which is
            promised.
        decisions: what people said, all of it.
        on_progress: function called with the step that is being done.

    Returns:
        A table of `GROUPS_SCHEMA` with a row for each face of the index that is not deleted.

    Raises:
        WrongUsageError, CorruptFileError: as for `group_index`.
    """
    faces = IndexFaces.of(index, precision)
    earlier = _Earlier.of(previous, faces.face_ids)
    decided = DecidedFaces(
        decisions or Decisions(), faces.face_ids, faces.photo_ids, earlier=earlier.numbers
    )
    new = np.flatnonzero(decided.is_new)
    on_progress(Progress("finding similar faces"))
    similar = faces.similar(new)
    on_progress(Progress("grouping"))
    groups = decided.start.copy()
    is_touched = np.zeros(len(groups), bool)
    is_touched[groups[new]] = True
    is_touched[groups[similar.pairs]] = True
    rows = np.flatnonzero(is_touched[groups])
    found, found_doubts = faces.grouped(
        rows, similar.among(rows), restricted(decided.constraints, rows)
    )
    groups[rows] = rows[found]
    doubt = np.where(decided.is_new, 0, earlier.doubts).astype(np.float32)
    doubt[new] = found_doubts[np.searchsorted(rows, new)]
    return _table(faces, groups, doubt, decided, earlier)


@dataclass(frozen=True)
class IndexFaces:
    """The faces of an index that are not deleted, by row. Use `of`.

    Attributes:
        snapshot: the version of the index.
        live: (n,) positions of the faces in the index.
        face_ids, photo_ids: (n,) string.
        means: (k, d) mean embeddings by quality.
        min_gain: smallest gain for which groups are merged.
    """

    snapshot: Snapshot
    live: NDArray[np.int64]
    face_ids: pa.Array
    photo_ids: pa.Array
    means: NDArray[np.float32]
    min_gain: float

    @classmethod
    def of(cls, index: str | Path | Snapshot, precision: float) -> IndexFaces:
        """Open the faces of an index, to be grouped with a precision.

        Raises:
            WrongUsageError: as for `group_index`.
        """
        snapshot = index if isinstance(index, Snapshot) else Snapshot.open(index, "cpu")
        contract, num_faces = snapshot.manifest.contract, snapshot.manifest.num_faces
        smallest = min_gain(contract, precision, num_faces=num_faces, rates=snapshot.rates)
        live = np.flatnonzero(snapshot.live())
        sample = live[sample_rows(len(live), MEAN_FACES)]
        means = means_by_quality(_ratios(snapshot, sample), snapshot.embeddings(sample))
        face_ids, photo_ids = (_column(snapshot, name, live) for name in ("face_id", "photo_id"))
        return cls(snapshot, live, face_ids, photo_ids, means, smallest)

    def similar(self, rows: NDArray[np.int64] | None = None) -> SimilarFaces:
        """Find the pairs of similar faces that groups are made of.

        Args:
            rows: (m,) the faces whose nearest are looked for; None: all.
        """
        smallest = min_similarity(self.snapshot.manifest.contract, len(self.live))
        return similar_faces(self.snapshot, smallest, k=NEIGHBOURS, rows=rows)

    def variances(self, rows: NDArray[np.int64]) -> Variances:
        """Return how the embeddings of (m,) rows vary."""
        ratios = _ratios(self.snapshot, self.live[rows])
        return variances_of(self.snapshot.manifest.contract, ratios, self.means)

    def grouped(
        self, rows: NDArray[np.int64], similar: SimilarFaces, constraints: Constraints
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Group some of the faces.

        Args:
            rows: (m,) the faces, ascending.
            similar: pairs of similar faces, by their places in `rows`.
            constraints: what is known of the faces, by their places in `rows`.

        Returns:
            (m,) the first place of each face's group, and (m,) how doubtful it is that the face
            belongs there.
        """
        vectors, variances = self.snapshot.embeddings(self.live[rows]), self.variances(rows)
        rules = GroupRules(constraints, len(rows))
        groups = merge_groups(
            vectors, similar.pairs, variances, min_gain=self.min_gain, rules=rules
        )
        doubt = doubts(
            vectors,
            groups,
            similar,
            variances,
            min_gain=self.min_gain,
            rules=rules,
            photos=constraints.photos,
        )
        return groups.of_row, doubt


def _ratios(snapshot: Snapshot, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (n,) `scatter_ratios` of the faces at (n,) positions."""
    norms, scores, sizes = (
        _column(snapshot, name, positions).to_numpy()
        for name in ("embedding_norm", "score", "face_size")
    )
    return scatter_ratios(snapshot.manifest.contract, FaceQualities(norms, scores, sizes))


def _column(snapshot: Snapshot, name: str, positions: NDArray[np.int64]) -> pa.Array:
    """Return a column's values for the faces at (n,) positions."""
    chunks = [segment.faces.table[name] for segment in snapshot.segments]
    if not chunks:
        return pa.array([], FACES_SCHEMA.field(name).type)
    column = pa.chunked_array([chunk for column in chunks for chunk in column.chunks])
    return column.combine_chunks().take(pa.array(positions))


@dataclass(frozen=True)
class _Earlier:
    """The groups of an earlier grouping, for the faces of an index as it is now.

    Attributes:
        numbers: (n,) number of each face's earlier group, or `NO_NUMBER`.
        doubts: (n,) its doubt; 0 where it had no group.
        next_number: the smallest number that no group ever had.
    """

    numbers: NDArray[np.int64]
    doubts: NDArray[np.float32]
    next_number: int

    @classmethod
    def of(cls, previous: pa.Table | None, face_ids: pa.Array) -> _Earlier:
        if previous is None:
            numbers = np.full(len(face_ids), NO_NUMBER)
            return cls(numbers, np.zeros(len(face_ids), np.float32), 1)
        if not previous.schema.equals(GROUPS_SCHEMA):
            raise WrongUsageError(
                "the previous groups have other columns than face_id, group and doubt; give what a "
                "grouping returned"
            )
        ids, groups, known = (previous[name].combine_chunks() for name in GROUPS_SCHEMA.names)
        rows = pc.index_in(face_ids, value_set=ids)
        numbers = groups.take(rows).fill_null(NO_NUMBER).to_numpy().copy()
        highest = pc.max(groups).as_py() or 0
        told = int((previous.schema.metadata or {}).get(NEXT_NUMBER, b"1"))
        return cls(numbers, known.take(rows).fill_null(0).to_numpy().copy(), max(told, highest + 1))


def _table(
    faces: IndexFaces,
    groups: NDArray[np.int64],
    doubt: NDArray[np.float32],
    decided: DecidedFaces,
    earlier: _Earlier,
) -> pa.Table:
    """Number groups, and return them as a table of `GROUPS_SCHEMA`."""
    doubt[decided.decided] = 0
    numbers, next_number = numbered(
        groups,
        faces.face_ids,
        fixed=decided.fixed,
        previous=earlier.numbers,
        first_new=max([earlier.next_number, *(number + 1 for number in decided.people)]),
        reserved=decided.people,
    )
    metadata = {NEXT_NUMBER: str(next_number).encode()}
    return pa.table(
        [faces.face_ids, pa.array(numbers), pa.array(doubt)],
        schema=GROUPS_SCHEMA.with_metadata(metadata),
    )
