"""Looks: the new faces of a version of the index, compared with all watches at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.vectors import has_unit_length
from facetrove.service.watch_records import Look, Problem, StoredMatch, Watch
from facetrove.service.watch_store import WatchStore, face_numbers
from indexer.manifest import Manifest
from indexer.snapshot import Snapshot
from search.answering import joint_embedding
from search.rendering import matches_to_json
from search.results import CandidateList
from search.searcher import FaceSearcher

BLOCK_FACES = 4_096
"""Number of faces that are compared at a time: with 1,000 watches, 16 MB of similarities."""


@dataclass(frozen=True)
class _Faces:
    """Some faces of a version.

    Attributes:
        positions: (n,) int64, their positions in the snapshot.
        numbers: (n,) int64, the numbers by which they are known, see `face_numbers`.
        sequences: (n,) int64, at which look each was first seen; -1: it is not known.
    """

    positions: NDArray[np.int64]
    numbers: NDArray[np.int64]
    sequences: NDArray[np.int64]

    def of(self, mask: NDArray[np.bool_]) -> _Faces:
        return _Faces(self.positions[mask], self.numbers[mask], self.sequences[mask])


@dataclass(frozen=True)
class _Ready:
    """A watch that can be compared: its embedding, (d,), and its threshold, [-1, 1]."""

    watch: Watch
    probe: NDArray[np.float32]
    threshold: float


def contract_text(contract: ModelContract) -> str:
    """Return a contract as the text by which watches are held to it."""
    return json.dumps(contract.to_json(), sort_keys=True)


def purges_of(manifest: Manifest) -> str:
    """Return a text that changes when an index follows a purge of its dataset."""
    return f"{manifest.dataset_id} {manifest.dataset_purged}"


def look_at(searcher: FaceSearcher, store: WatchStore, *, max_matches: int) -> Look:
    """Find the matches of all watches among the faces that they were not compared with yet.

    A segment never gets a face: so of the segments that the last look saw, nothing is read.

    Args:
        searcher: the version.
        store: the watches, which are read.
        max_matches: maximum number of matches of each watch; the most similar are kept.

    Raises:
        CorruptFileError: a file of the index is corrupt.
    """
    snapshot = searcher.snapshot
    before, _, segments = store.last_look()
    arrived = _faces(snapshot, store, without=segments)
    arrived = arrived.of(arrived.sequences < 0)
    sequence = before + bool(len(arrived.numbers))
    watches = store.newest()
    ready, compared = _ready(searcher, snapshot, watches)
    faces = arrived
    if any(one.watch.compared < before for one in ready):  # such as after a calibration
        faces = _faces(snapshot, store, without=())
        faces = faces.of(
            (faces.sequences < 0) | (faces.sequences > min(one.watch.compared for one in ready))
        )
    matches: dict[int, list[tuple[str, float]]] = {}
    for number, rows, similarities in _hits(snapshot, faces, ready, compared):
        best = np.argsort(-similarities, kind="stable")[:max_matches]
        ids = snapshot.values("face_id", faces.positions[rows[best]])
        matches[number] = list(zip(ids, similarities[best].tolist(), strict=True))
    return Look(
        version=snapshot.manifest.version,
        sequence=sequence,
        purged=purges_of(snapshot.manifest),
        segments=[segment.entry.segment_id for segment in snapshot.segments],
        new=arrived.numbers,
        compared=compared,
        matches=matches,
    )


def _faces(snapshot: Snapshot, store: WatchStore, *, without: Collection[str]) -> _Faces:
    """Return the live faces of a version, but for those of some segments."""
    positions, numbers, start = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for segment in snapshot.segments:
        if segment.entry.segment_id not in without:
            live = segment.live()
            ids = segment.faces.table["face_id"].filter(pa.array(live))
            positions.append(start + np.flatnonzero(live))
            numbers.append(face_numbers(ids.to_pylist()))
        start += len(segment.vectors)
    found = np.concatenate(numbers)
    return _Faces(np.concatenate(positions), found, store.sequences(found))


def _ready(
    searcher: FaceSearcher, snapshot: Snapshot, watches: Sequence[Watch]
) -> tuple[list[_Ready], dict[int, Problem | None]]:
    """Return the watches that can be compared, and of every watch the problem that it has."""
    contract = contract_text(snapshot.manifest.contract)
    problems: dict[int, Problem | None] = {watch.number: None for watch in watches}
    probes = probes_of(snapshot, [watch for watch in watches if watch.contract == contract])
    thresholds: dict[float, float | None] = {}
    ready = []
    for watch in watches:
        if watch.fpir not in thresholds:
            thresholds[watch.fpir] = _threshold(searcher, watch.fpir)
        threshold, probe = thresholds[watch.fpir], probes.get(watch.number)
        if watch.contract != contract:
            problems[watch.number] = "must_be_made_anew"
        elif probe is None:
            problems[watch.number] = "no_face"
        elif threshold is None:
            problems[watch.number] = "no_threshold"
        else:
            ready.append(_Ready(watch, probe, threshold))
    return ready, problems


def _threshold(searcher: FaceSearcher, fpir: float) -> float | None:
    try:
        return searcher.threshold(fpir)
    except WrongUsageError:  # the index has outgrown its calibration
        return None


def probes_of(snapshot: Snapshot, watches: Sequence[Watch]) -> dict[int, NDArray[np.float32]]:
    """Return the (d,) embedding of each watch that has one now, by the watch's number.

    Of a watch that was made from faces, it is the joint embedding of those that the version has.
    """
    ids = list(dict.fromkeys(face for watch in watches for face in watch.faces))
    positions = snapshot.positions_of(ids)
    live = positions >= 0
    rows = np.where(live, np.cumsum(live) - 1, -1).tolist()
    row_of = dict(zip(ids, rows, strict=True))
    embeddings = snapshot.embeddings(positions[live])
    found = {}
    for watch in watches:
        own = [row_of[face] for face in watch.faces if row_of[face] >= 0]
        if watch.probe is not None:
            found[watch.number] = watch.probe
        elif len(own) == 1:
            found[watch.number] = embeddings[own[0]]
        elif own:
            try:
                found[watch.number] = joint_embedding(embeddings[own])
            except WrongUsageError:  # they cancel out
                continue
    return found


def _hits(
    snapshot: Snapshot,
    faces: _Faces,
    ready: Sequence[_Ready],
    problems: dict[int, Problem | None],
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """Yield for each watch with matches its number, their rows in `faces` and similarities.

    A watch whose filter cannot be applied gets a problem instead.
    """
    rows, columns, similarities = _similar(snapshot, faces, ready)
    order = np.argsort(columns, kind="stable")
    rows, columns, similarities = rows[order], columns[order], similarities[order]
    starts = np.searchsorted(columns, np.arange(len(ready) + 1))
    passing: dict[str, Mapping[int, bool] | None] = {}
    hits_of: dict[str, list[NDArray[np.int64]]] = {}
    for one, start, end in zip(ready, starts[:-1], starts[1:], strict=True):
        if one.watch.filter is not None and end > start:
            hits_of.setdefault(one.watch.filter, []).append(rows[start:end])
    for where, some in hits_of.items():
        hits = np.unique(np.concatenate(some))
        try:
            matching = snapshot.matching(where, faces.positions[hits])
            passing[where] = dict(zip(hits.tolist(), matching.tolist(), strict=True))
        except WrongUsageError:  # such as for a column that is not there any more
            passing[where] = None
    for one, start, end in zip(ready, starts[:-1], starts[1:], strict=True):
        found, near = rows[start:end], similarities[start:end]
        if one.watch.filter is not None and len(found):
            allowed = passing[one.watch.filter]
            if allowed is None:
                problems[one.watch.number] = "bad_filter"
                continue
            kept = np.array([allowed[row] for row in found.tolist()], bool)
            found, near = found[kept], near[kept]
        if len(found):
            yield one.watch.number, found, near


def _similar(
    snapshot: Snapshot, faces: _Faces, ready: Sequence[_Ready]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the pairs of a face and a watch that are similar enough: rows, columns, similarities.

    Raises:
        CorruptFileError: an embedding of the index does not have length 1.
    """
    none = np.zeros(0, np.int64)
    found = [(none, none, np.zeros(0, np.float32))]
    if ready:
        probes = np.array([one.probe for one in ready], np.float32).T
        thresholds = np.array([one.threshold for one in ready], np.float32)
        compared = np.array([one.watch.compared for one in ready])
        unknown = faces.sequences < 0
        for start in range(0, len(faces.positions), BLOCK_FACES):
            block = slice(start, start + BLOCK_FACES)
            embeddings = snapshot.embeddings(faces.positions[block])
            if not has_unit_length(embeddings).all():
                raise CorruptFileError(
                    "the index holds vectors that do not have length 1; run `facetrove verify`"
                )
            similarities = embeddings @ probes
            is_new = unknown[block, None] | (faces.sequences[block, None] > compared)
            rows, columns = np.nonzero((similarities >= thresholds) & is_new)
            found.append((start + rows, columns, similarities[rows, columns]))
    rows, columns, similarities = map(np.concatenate, zip(*found, strict=True))
    return rows, columns, similarities


def matches_json(searcher: FaceSearcher, stored: Sequence[StoredMatch]) -> list[dict[str, Any]]:
    """Return matches of a watch as documents; those of faces that the version lacks are left out.

    Args:
        searcher: the version, from which all is read but similarity and time.
        stored: the matches.
    """
    snapshot = searcher.snapshot
    positions = snapshot.positions_of([match.face_id for match in stored])
    there = positions >= 0
    shown = list(compress(stored, there))
    similarities = np.array([match.similarity for match in shown], np.float32)
    (rows,) = matches_to_json([CandidateList(snapshot, similarities, positions[there])])
    for row, match in zip(rows, shown, strict=True):
        del row["rank"]
        row |= {"match_id": match.match_id, "found": match.found, "found_in": match.version}
    return rows
