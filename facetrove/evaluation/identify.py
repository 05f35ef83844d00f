"""1:N identification: who is this? Searches among enrolled people, closed set and open set.

Each split enrols some photos of each person and searches for the others, in the index itself: a
filter leaves the enrolled faces. Closed set: everybody searched for is enrolled. Open set: a share
of the people is not, and searches for these should find nobody.

Terms and rates are those of NIST's FRTE Part 2 (Grother, Ngan, Hanaoka, NISTIR 8271): a search
answers with a candidate list of `CANDIDATES` at most; FPIR is the share of non-mated searches with
any candidate at or above the threshold, FNIR the share of mated searches whose person is not among
the candidates at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress
from facetrove.evaluation.breakdown import (
    GroupErrors,
    QualityErrors,
    WrongAnswer,
    by_group,
    by_quality,
)
from facetrove.evaluation.labels import (
    FaceChoice,
    LabelledFaces,
    drawn_turns,
    in_words,
    labelled_faces,
)
from facetrove.evaluation.metrics import (
    Bootstrap,
    ErrorCurve,
    Rate,
    error_curve,
    in_chunks,
    match_rates,
    miss_rate,
    rate,
    share,
    threshold_at,
)
from indexer.snapshot import Snapshot
from indexer.vectors import Passing
from search.searcher import PROBES_AT_ONCE

CANDIDATES = 20
"""People in a candidate list. FRTE has 50; here more that are wanted are more that an index's codes
propose, and people look at fewer."""

MOST_RANK = 20
FALSE_POSITIVE_RATES = (1e-1, 1e-2, 3e-3)
"""At which FNIR is given, where enough people are searched for that are not enrolled."""

LEAST_STRANGERS = 3
"""So many people at least must be answered falsely at a rate, or it is not given."""

GROUPED_AT = (1e-2, 1e-1)
"""FPIR at whose threshold groups and qualities are compared: the first that can be told."""

MOST_GROUPS = 50
"""Of a column to group by; more say nothing, and it is likely not one of groups."""

MOST_SEARCHES = 10_000
"""In a split, of each kind; more would tell little more, and the bootstrap holds all in memory."""

UNKNOWN = -1

STEPS = {"model": "comparing with every face", "index": "searching through the index"}


@dataclass(frozen=True)
class Protocol:
    """How identification is tried.

    Attributes:
        num_enrolled: photos enrolled of each person who has more than so many; of others all.
        num_splits: random splits, whose results are taken together.
        stranger_share: share of the people who are not enrolled in the open set.
        seed: of the first split; the others follow.
    """

    num_enrolled: int = 1
    num_splits: int = 10
    stranger_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_enrolled < 1 or self.num_splits < 1 or not 0 < self.stranger_share < 1:
            raise WrongUsageError(
                "enrol one photo or more, in one split or more, and keep a share of the people "
                "between 0 and 1 out"
            )


@dataclass(frozen=True)
class Searches:
    """What the searches of all splits found, some columns to each search.

    Attributes:
        faces: (n,) the probe, by its number among the labelled faces.
        people: (n,) whose it is.
        mated: (n,) bool, whether that person is enrolled.
        ranks: (n,) of the right person among the people in the candidate list, from 1; 0: not
            there.
        right: (n,) similarity to the right person, -inf where not in the list.
        wrong: (n,) highest similarity to anybody else.
        wrong_faces: (n,) the labelled face that has it; -1: none.
    """

    faces: NDArray[np.int64]
    people: NDArray[np.int64]
    mated: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    wrong_faces: NDArray[np.int64]

    def where(self, rows: NDArray[np.bool_]) -> Searches:
        """Some of them."""
        return Searches(**{name: values[rows] for name, values in self.__dict__.items()})

    @classmethod
    def joined(cls, parts: Sequence[Searches]) -> Searches:
        """Those of several splits."""
        names = parts[0].__dict__
        return cls(**{name: np.concatenate([p.__dict__[name] for p in parts]) for name in names})

    @property
    def deciding(self) -> NDArray[np.float32]:
        """(n,) similarity that decides: to the right person, or of strangers to anybody."""
        return np.where(self.mated, self.right, self.wrong)


@dataclass(frozen=True)
class Accuracy:
    """What one way to search achieves.

    Attributes:
        rank_one, rank_five: share of closed-set searches whose person is so far in front.
        match_rates: (20,) the same by rank, the CMC.
        false_negative: FNIR by FPIR, in the open set; None where too few people are not enrolled.
        thresholds: similarities of these.
        curve: FPIR and FNIR by threshold, the DET.
    """

    rank_one: Rate
    rank_five: Rate
    match_rates: NDArray[np.float64]
    false_negative: dict[float, Rate | None]
    thresholds: dict[float, float | None]
    curve: ErrorCurve


@dataclass(frozen=True)
class Identification:
    """How well people are found, and strangers are not.

    Attributes:
        protocol: how it was tried.
        num_people, num_faces: labelled.
        num_unlabelled: photos with faces that were passed over: no label, or no one face.
        closed_gallery, open_gallery: (people, faces) enrolled, a mean over the splits.
        num_closed, num_mated, num_non_mated: searches in all splits: closed set, open set.
        model: accuracy when every enrolled face is compared.
        index: accuracy through the index; None where it compares with every face anyway.
        mated, non_mated: similarities in the open set: to the right person, and the highest.
        grouped_at: FPIR at whose threshold groups and qualities are compared; None: there are too
            few strangers, and they are not.
        groups, qualities: see `facetrove.evaluation.breakdown`.
        worst: the worst errors, if they are asked for.
    """

    protocol: Protocol
    num_people: int
    num_faces: int
    num_unlabelled: int
    closed_gallery: tuple[float, float]
    open_gallery: tuple[float, float]
    num_closed: int
    num_mated: int
    num_non_mated: int
    model: Accuracy
    index: Accuracy | None
    mated: NDArray[np.float32]
    non_mated: NDArray[np.float32]
    grouped_at: float | None
    groups: dict[str, list[GroupErrors]]
    qualities: list[QualityErrors]
    worst: list[WrongAnswer]


def evaluate_identification(
    index: str | Path,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    where: str | None = None,
    protocol: Protocol = Protocol(),
    by: Sequence[str] = (),
    num_worst: int = 0,
    on_progress: OnProgress = lambda _: None,
) -> Identification:
    """Measure how well an index finds the people in it, and nobody for those who are not.

    Args:
        index: its folder.
        people: `folder`, or the column that says who is in a photo; by default `person`.
        face: which of a photo's faces is that person's.
        where: only faces that pass this filter, as of a search.
        protocol: how to try it.
        by: columns whose groups of probes are told apart.
        num_worst: how many of the worst errors to name, of each kind.
        on_progress: called with what is being done.

    Raises:
        WrongUsageError: the labels do not suffice.
    """
    version = Snapshot.open(Path(index), "cpu")
    faces = labelled_faces(Path(index), version, people=people, face=face, where=where)
    counts = np.bincount(faces.people, minlength=1)
    if (counts > protocol.num_enrolled).sum() < 2:
        raise WrongUsageError(
            f"of {len(faces.names)} labelled people of index {index} fewer than two have more than "
            f"{protocol.num_enrolled} photos; there is nobody to search for (--people says where "
            "names are)"
        )
    for column in dict.fromkeys(by):
        if column not in faces.table.column_names:
            names = ", ".join(faces.table.column_names)
            raise WrongUsageError(f"there is no column {column!r} to group by; there are {names}")
    galleries = {"model": Gallery(version, faces)}
    if any(segment.codes is not None for segment in version.segments):
        galleries["index"] = Gallery(version, faces, through_codes=True)
    found = {
        name: _try_all(protocol, gallery, STEPS[name], on_progress)
        for name, gallery in galleries.items()
    }
    bootstrap = Bootstrap.of(len(faces.names), seed=protocol.seed)
    on_progress(Progress("intervals"))
    accuracies = {name: _accuracy(trials, bootstrap) for name, trials in found.items()}
    answers = "index" if "index" in found else "model"
    trials, told = found[answers], accuracies[answers].thresholds
    open_set = trials.open_set
    strangers = open_set.wrong[~open_set.mated]
    grouped_at = next((fpir for fpir in GROUPED_AT if told[fpir] is not None), None)
    at = float(threshold_at(strangers, grouped_at or GROUPED_AT[0])[0])
    mated = open_set.where(open_set.mated)
    return Identification(
        protocol=protocol,
        num_people=len(faces.names),
        num_faces=len(faces.places),
        num_unlabelled=faces.num_unlabelled,
        closed_gallery=trials.closed_gallery,
        open_gallery=trials.open_gallery,
        num_closed=len(trials.closed_set.faces),
        num_mated=len(mated.faces),
        num_non_mated=len(strangers),
        model=accuracies["model"],
        index=accuracies.get("index"),
        mated=mated.right,
        non_mated=strangers,
        grouped_at=grouped_at,
        groups={
            column: by_group(
                open_set.deciding,
                open_set.mated,
                _groups(faces, column, open_set.faces),
                threshold=at,
                people=open_set.people,
                bootstrap=bootstrap,
            )
            for column in by
            if grouped_at is not None
        },
        qualities=[]
        if grouped_at is None
        else by_quality(
            mated.right,
            {name: values[mated.faces] for name, values in faces.quality.items()},
            threshold=at,
            people=mated.people,
            bootstrap=bootstrap,
        ),
        worst=_worst(open_set, faces, at, num_worst),
    )


def _groups(faces: LabelledFaces, column: str, rows: NDArray[np.int64]) -> list[str]:
    """What a column says of some faces, in words."""
    groups = in_words(faces.column(column).take(pa.array(rows)))
    if len(set(groups)) > MOST_GROUPS:
        raise WrongUsageError(
            f"column {column!r} has more than {MOST_GROUPS} values; group by one with fewer"
        )
    return groups


class Gallery:
    """The labelled faces of an index, of which any may be enrolled.

    Args:
        version: the index.
        faces: the labelled ones.
        through_codes: search as the index does, among candidates that its codes propose; else
            every enrolled face is compared.
    """

    def __init__(
        self, version: Snapshot, faces: LabelledFaces, *, through_codes: bool = False
    ) -> None:
        self.faces = faces
        # Of few faces an index compares all; what is asked here is what its codes miss.
        segments = [
            replace(
                segment,
                codes=segment.codes if through_codes else None,
                fills_up=False,
                entry=replace(segment.entry, recipe=replace(segment.entry.recipe, exact_share=0.0)),
            )
            for segment in version.segments
        ]
        self.version = Snapshot(version.line, version.manifest, segments)
        self._lengths = [len(segment.vectors) for segment in segments]
        self._row_of = np.full(sum(self._lengths) + 1, UNKNOWN)  # the last for a place of -1
        self._row_of[faces.places] = np.arange(len(faces.places))

    def search(
        self, enrolled: NDArray[np.int64], probes: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The enrolled faces most like each probe.

        Args:
            enrolled: (e,) rows of labelled faces.
            probes: (p, d).
            k: faces wanted of each.

        Returns:
            (p, k) similarities, descending, and (p, k) rows of labelled faces; -inf, -1: none.
        """
        passing = np.zeros(sum(self._lengths), dtype=bool)
        passing[self.faces.places[enrolled]] = True
        filters: list[Passing | None] = [
            Passing(part) for part in np.split(passing, np.cumsum(self._lengths)[:-1])
        ]
        k = min(k, len(enrolled))
        similarities = np.empty((len(probes), k), np.float32)
        rows = np.empty((len(probes), k), np.int64)
        for start in range(0, len(probes), PROBES_AT_ONCE):
            some = slice(start, start + PROBES_AT_ONCE)
            similarities[some], places = self.version.nearest(probes[some], k, filters)
            rows[some] = self._row_of[places]
        return similarities, rows


@dataclass(frozen=True)
class _Trials:
    closed_set: Searches
    open_set: Searches
    closed_gallery: tuple[float, float]
    open_gallery: tuple[float, float]


def _try_all(protocol: Protocol, gallery: Gallery, step: str, on_progress: OnProgress) -> _Trials:
    faces = gallery.faces
    closed, opened, sizes = [], [], []
    for number in range(protocol.num_splits):
        on_progress(Progress(f"{step}, split {number + 1} of {protocol.num_splits}"))
        rng = np.random.default_rng([protocol.seed, number])
        enrolled, probes = split_faces(faces.people, protocol.num_enrolled, rng)
        sizes.append(_size(faces, enrolled))
        closed.append(search_all(gallery, enrolled, rng.permutation(probes)[:MOST_SEARCHES]))
        num_strangers = round(protocol.stranger_share * len(faces.names))
        enrolled, *drawn = keep_out(faces.people, enrolled, probes, num_strangers, rng)
        kinds = [rng.permutation(rows) for rows in drawn]
        if not len(enrolled) or not all(map(len, kinds)):
            raise WrongUsageError(
                f"with {len(faces.names)} labelled people and a share of {protocol.stranger_share} "
                "of strangers a split has nobody enrolled, nobody to search for, or no stranger; "
                "label more people, or choose another share"
            )
        sizes.append(_size(faces, enrolled))
        some = np.concatenate([kind[:MOST_SEARCHES] for kind in kinds])
        opened.append(search_all(gallery, enrolled, some))
    means = np.array(sizes, float).reshape(-1, 2, 2).mean(axis=0).tolist()
    return _Trials(
        Searches.joined(closed), Searches.joined(opened), tuple(means[0]), tuple(means[1])
    )


def _size(faces: LabelledFaces, enrolled: NDArray[np.int64]) -> tuple[int, int]:
    return len(np.unique(faces.people[enrolled])), len(enrolled)


def split_faces(
    people: NDArray[np.int64], num_enrolled: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose at random which faces are enrolled, and which are searched for.

    Args:
        people: (n,) whose face each is.
        num_enrolled: of each person who has more; those who have not are enrolled with all.

    Returns:
        Rows of the enrolled, and of the probes.
    """
    order, turns = drawn_turns(people, rng)
    is_enrolled = turns < num_enrolled
    return np.sort(order[is_enrolled]), np.sort(order[~is_enrolled])


def keep_out(
    people: NDArray[np.int64],
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    num_strangers: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Choose at random who is not enrolled after all.

    Args:
        people: (n,) whose face each is.
        enrolled, probes: as of `split_faces`.
        num_strangers: people to keep out.
        rng: source of chance.

    Returns:
        Rows of the enrolled, of the probes whose people are, and of all faces of the others.
    """
    strangers = rng.permutation(int(people.max()) + 1)[:num_strangers]
    known = ~np.isin(people, strangers)
    return enrolled[known[enrolled]], probes[known[probes]], np.flatnonzero(~known)


def search_all(
    gallery: Gallery,
    enrolled: NDArray[np.int64],
    probes: NDArray[np.int64],
    embeddings: NDArray[np.float32] | None = None,
) -> Searches:
    """Search for labelled faces among enrolled ones.

    Args:
        gallery: of these faces.
        enrolled, probes: rows of labelled faces.
        embeddings: (p, d) of the probes, where these are not the index's own.
    """
    people = gallery.faces.people
    if embeddings is None:
        embeddings = gallery.version.embeddings(gallery.faces.places[probes])
    _, photos_each = np.unique(people[enrolled], return_counts=True)
    k = CANDIDATES * int(photos_each.max(initial=1))
    similarities, rows = gallery.search(enrolled, embeddings, k)
    theirs = np.where(rows < 0, UNKNOWN, people[rows])
    own = people[probes]
    is_right = theirs == own[:, None]
    found = is_right.any(axis=1)
    first_right = np.argmax(is_right, axis=1)
    is_wrong = (rows >= 0) & ~is_right
    first_wrong = np.argmax(is_wrong, axis=1)
    any_wrong = is_wrong.any(axis=1)
    every = np.arange(len(probes))
    return Searches(
        faces=probes,
        people=own,
        mated=np.isin(own, people[enrolled]),
        ranks=np.where(found, 1 + _people_before(theirs, first_right), 0),
        right=np.where(found, similarities[every, first_right], -np.inf).astype(np.float32),
        wrong=np.where(any_wrong, similarities[every, first_wrong], -np.inf).astype(np.float32),
        wrong_faces=np.where(any_wrong, rows[every, first_wrong], UNKNOWN),
    )


def _people_before(people: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """(p,) how many different people stand before a place in each row of (p, k)."""
    earlier = np.arange(people.shape[1])[None, :] < places[:, None]
    ordered = np.sort(np.where(earlier, people, UNKNOWN), axis=1)
    is_new = np.diff(ordered, axis=1, prepend=UNKNOWN) != 0
    return np.asarray(is_new.sum(axis=1))


def _accuracy(trials: _Trials, bootstrap: Bootstrap) -> Accuracy:
    closed, opened = trials.closed_set, trials.open_set
    mated, strangers = opened.where(opened.mated), opened.where(~opened.mated)
    num_strangers = len(np.unique(strangers.people))
    rates: dict[float, Rate | None] = {}
    thresholds: dict[float, float | None] = {}
    for fpir in FALSE_POSITIVE_RATES:
        if fpir * num_strangers < LEAST_STRANGERS:
            rates[fpir] = thresholds[fpir] = None
            continue
        thresholds[fpir] = float(threshold_at(strangers.wrong, fpir)[0])
        rates[fpir] = false_negative_rate(mated, strangers, fpir, bootstrap)
    return Accuracy(
        rank_one=share(_within(closed, 1), closed.people, bootstrap),
        rank_five=share(_within(closed, 5), closed.people, bootstrap),
        match_rates=match_rates(closed.ranks, MOST_RANK),
        false_negative=rates,
        thresholds=thresholds,
        curve=error_curve(mated.right, strangers.wrong),
    )


def _within(searches: Searches, rank: int) -> NDArray[np.bool_]:
    return (searches.ranks >= 1) & (searches.ranks <= rank)


def false_negative_rate(
    mated: Searches, strangers: Searches, fpir: float, bootstrap: Bootstrap
) -> Rate:
    """FNIR at the threshold that gives strangers an FPIR, both counted anew in each replicate."""

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        thresholds = threshold_at(strangers.wrong, fpir, some.weights(strangers.people))
        return miss_rate(mated.right, thresholds, some.weights(mated.people))

    value = float(miss_rate(mated.right, threshold_at(strangers.wrong, fpir))[0])
    return rate(value, in_chunks(bootstrap, replicate), len(np.unique(mated.people)))


def _worst(
    searches: Searches, faces: LabelledFaces, threshold: float, count: int
) -> list[WrongAnswer]:
    """Strangers with the most similar wrong answer, and misses with the most similar other face."""
    if not count:
        return []
    uris, boxes = faces.column("uri").to_pylist(), faces.column("box").to_pylist()
    found = []
    for kind in (False, True):
        wrong = searches.right < threshold if kind else searches.wrong >= threshold
        some = searches.where((searches.mated == kind) & wrong & (searches.wrong_faces >= 0))
        order = np.argsort(-some.wrong, kind="stable")
        both = np.sort(np.stack([some.faces, some.wrong_faces], axis=1)[order], axis=1)
        _, firsts = np.unique(both, axis=0, return_index=True)  # each pair once
        for row in order[np.sort(firsts)][:count].tolist():
            probe, other = int(some.faces[row]), int(some.wrong_faces[row])
            found.append(
                WrongAnswer(
                    *(uris[probe], tuple(boxes[probe]), uris[other], tuple(boxes[other])),
                    similarity=float(some.wrong[row]),
                    mated=kind,
                )
            )
    return found
