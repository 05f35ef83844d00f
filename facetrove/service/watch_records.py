"""What the service knows of a watch, of its matches, and of a look at a version of the index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Source = Literal["photo", "embeddings", "face", "person"]
"""What a watch was made from."""

Problem = Literal["must_be_made_anew", "no_threshold", "no_face", "bad_filter"]
"""Why faces are not compared with a watch at present."""


@dataclass(frozen=True)
class NewWatch:
    """A watch that is asked for.

    Attributes:
        owner: name of the key; "": none was needed.
        source: what it is made from.
        fpir: false-positive identification rate, (0, 1).
        filter: condition on the faces; None: all.
        contract: the models of its embedding, as text.
        faces: ids of the faces of the index that are its probe; empty: the embedding is stored.
        probe: (d,) float32 of unit length; None: `faces` are the probe.
        person_id: number of the person whose faces they are; None: as of `source`.
        idempotency_key: the client's name for this request; None: it has none.
        digest: digest of the request.
    """

    owner: str
    source: Source
    fpir: float
    filter: str | None
    contract: str
    faces: Sequence[str] = ()
    probe: NDArray[np.float32] | None = None
    person_id: int | None = None
    idempotency_key: str | None = None
    digest: str = ""


@dataclass(frozen=True)
class Watch:
    """A watch as the database has it.

    Attributes:
        number: its number in the database.
        watch_id: id of the watch.
        owner, source, fpir, filter, person_id, faces, probe, contract: as in `NewWatch`.
        created: time in UTC, ISO 8601.
        compared: sequence number up to which all faces have been compared with it.
        last_match: number of its last match; 0: it has had none.
        num_dropped: number of its oldest matches that were dropped.
        problem: why faces are not compared with it now; None: they are.
        num_matches: number of its matches that are kept.
    """

    number: int
    watch_id: str
    owner: str
    created: str
    source: Source
    fpir: float
    filter: str | None
    person_id: int | None
    faces: tuple[str, ...]
    probe: NDArray[np.float32] | None
    contract: str
    compared: int
    last_match: int
    num_dropped: int
    problem: Problem | None
    num_matches: int


@dataclass(frozen=True)
class StoredMatch:
    """A match of a watch.

    Attributes:
        match_id: its number among the watch's matches, from 1.
        face_id: id of the face.
        similarity: similarity of the probe and the face, [-1, 1].
        version: version of the index in which it was found.
        found: time in UTC, ISO 8601.
    """

    match_id: int
    face_id: str
    similarity: float
    version: int
    found: str


@dataclass(frozen=True)
class Look:
    """What a look at a version of the index brings.

    Attributes:
        version: the version.
        sequence: sequence number of the look.
        purged: what tells the purges of the dataset that the version knows of.
        segments: ids of the version's segments.
        new: (n,) int64, numbers of faces that were not known.
        compared: what became of each watch, by its number: its problem, or None if it was compared.
        matches: face ids and similarities of the new matches, by the watch's number.
    """

    version: int
    sequence: int
    purged: str
    segments: Collection[str]
    new: NDArray[np.int64]
    compared: Mapping[int, Problem | None]
    matches: Mapping[int, Sequence[tuple[str, float]]]
