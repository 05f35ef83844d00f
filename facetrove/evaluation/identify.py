"""1:N identification: who is this? Searches among enrolled people, closed set and open set.

Each split enrols some photos of each person and searches for the others, in the index itself: a
filter leaves the enrolled faces. Closed set: everybody searched for is enrolled. Open set: a share
of the people is not, and searches for these should find nobody.

Terms and rates are those of NIST's FRTE Part 2 (Grother, Ngan, Hanaoka, NISTIR 8271): a search
answers with a candidate list of `gallery.CANDIDATES` people at most; FPIR is the share of non-mated
searches with any candidate at or above the threshold, FNIR the share of mated searches whose person
is not among the candidates at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from facetrove.evaluation.as_json import JsonResult
from facetrove.evaluation.breakdown import (
    Breakdown,
    GroupErrors,
    QualityErrors,
    WrongAnswer,
    by_group,
    by_quality,
)
from facetrove.evaluation.gallery import Gallery, Searches, search_all
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, in_words, labelled_faces
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
from facetrove.evaluation.protocol import Protocol, keep_out, split_faces
from indexer.snapshot import Snapshot

MAX_RANK = 20
FALSE_POSITIVE_RATES = (1e-1, 1e-2, 3e-3)
"""At which FNIR is given, where enough people are searched for that are not enrolled."""

MIN_STRANGERS = 3
"""So many people at least must be answered falsely at a rate, or it is not given."""

GROUPED_AT = (1e-2, 1e-1)
"""FPIR at whose threshold groups and qualities are compared: the first that can be told."""

MAX_GROUPS = 50
"""Of a column to group by; more say nothing, and it is likely not one of groups."""

MAX_SEARCHES = 10_000
"""In a split, of each kind; more would tell little more, and the bootstrap holds all in memory."""

STEPS = {"model": "comparing with every face", "index": "searching through the index"}


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
class Identification(JsonResult):
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
    examples: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> Identification:
    """Measure how well an index finds the people in it, and nobody for those who are not.

    Args:
        index: the index's folder.
        people: `folder`, or the column that says who is in a photo; by default `person`.
        face: which of a photo's faces is the labelled person's.
        where: a filter, as of a search; only faces that pass it are used.
        protocol: how identification is tried.
        by: columns of the faces; error rates are also given for each of their values.
        examples: how many of the worst errors of each kind to name.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: the labels do not suffice.
    """
    version = Snapshot.open(Path(index), "cpu")
    faces = labelled_faces(Path(index), version, people=people, face=face, where=where)
    _require_probes(faces, protocol, index)
    _require_columns(faces, by)
    found = _try_ways(version, faces, protocol, on_progress)
    on_progress(Progress("intervals"))
    bootstrap = Bootstrap.of(len(faces.names), seed=protocol.seed)
    accuracies = {way: _accuracy(trials, bootstrap) for way, trials in found.items()}
    answers = "index" if "index" in found else "model"
    trials, thresholds = found[answers], accuracies[answers].thresholds
    errors = _broken_down(trials.open_set, thresholds, faces, by, examples, bootstrap)
    return Identification(
        protocol=protocol,
        num_people=len(faces.names),
        num_faces=len(faces.places),
        num_unlabelled=faces.num_unlabelled,
        closed_gallery=trials.closed_gallery,
        open_gallery=trials.open_gallery,
        num_closed=len(trials.closed_set.faces),
        num_mated=len(trials.mated.faces),
        num_non_mated=len(trials.strangers.faces),
        model=accuracies["model"],
        index=accuracies.get("index"),
        mated=trials.mated.right,
        non_mated=trials.strangers.wrong,
        grouped_at=errors.at,
        groups=errors.groups,
        qualities=errors.qualities,
        worst=errors.worst,
    )


def _require_probes(faces: LabelledFaces, protocol: Protocol, index: str | Path) -> None:
    """Raise WrongUsageError unless two people have photos that are not enrolled."""
    counts = np.bincount(faces.people, minlength=1)
    if (counts > protocol.enrol).sum() < 2:
        raise WrongUsageError(
            f"of {len(faces.names)} labelled people of index {index} fewer than two have more than "
            f"{protocol.enrol} photos; there is nobody to search for (--people says where names "
            "are)"
        )


def _require_columns(faces: LabelledFaces, by: Sequence[str]) -> None:
    """Raise WrongUsageError unless the faces have all columns to group by."""
    for column in by:
        if column not in faces.table.column_names:
            names = ", ".join(faces.table.column_names)
            raise WrongUsageError(f"there is no column {column!r} to group by; there are {names}")


@dataclass(frozen=True)
class _Trials:
    """The searches of all splits, and how many (people, faces) were enrolled, as a mean."""

    closed_set: Searches
    open_set: Searches
    closed_gallery: tuple[float, float]
    open_gallery: tuple[float, float]

    @property
    def mated(self) -> Searches:
        """The open set's searches for people who are enrolled."""
        return self.open_set.where(self.open_set.mated)

    @property
    def strangers(self) -> Searches:
        """The open set's searches for people who are not enrolled."""
        return self.open_set.where(~self.open_set.mated)


def _try_ways(
    version: Snapshot, faces: LabelledFaces, protocol: Protocol, on_progress: OnProgress
) -> dict[str, _Trials]:
    """Search by comparing with every face, and through the index's codes where it has some."""
    galleries = {"model": Gallery(version, faces)}
    if any(segment.codes is not None for segment in version.segments):
        galleries["index"] = Gallery(version, faces, through_codes=True)
    return {
        way: _try_all(protocol, gallery, STEPS[way], on_progress)
        for way, gallery in galleries.items()
    }


def _try_all(protocol: Protocol, gallery: Gallery, step: str, on_progress: OnProgress) -> _Trials:
    """Search in all splits of a protocol."""
    faces = gallery.faces
    closed, opened, sizes = [], [], []
    for number in range(protocol.splits):
        on_progress(Progress(f"{step}, split {number + 1} of {protocol.splits}"))
        rng = np.random.default_rng([protocol.seed, number])
        enrolled, probes = split_faces(faces.people, protocol.enrol, rng)
        sizes.append(_size(faces, enrolled))
        closed.append(search_all(gallery, enrolled, rng.permutation(probes)[:MAX_SEARCHES]))
        num_strangers = round(protocol.strangers * len(faces.names))
        enrolled, *drawn = keep_out(faces.people, enrolled, probes, num_strangers, rng)
        kinds = [rng.permutation(rows) for rows in drawn]
        if not len(enrolled) or not all(map(len, kinds)):
            raise WrongUsageError(
                f"with {len(faces.names)} labelled people and a share of {protocol.strangers} "
                "of strangers a split has nobody enrolled, nobody to search for, or no stranger; "
                "label more people, or choose another share"
            )
        sizes.append(_size(faces, enrolled))
        some = np.concatenate([kind[:MAX_SEARCHES] for kind in kinds])
        opened.append(search_all(gallery, enrolled, some))
    means = np.array(sizes, float).reshape(-1, 2, 2).mean(axis=0).tolist()
    return _Trials(
        Searches.joined(closed), Searches.joined(opened), tuple(means[0]), tuple(means[1])
    )


def _size(faces: LabelledFaces, enrolled: NDArray[np.int64]) -> tuple[int, int]:
    return len(np.unique(faces.people[enrolled])), len(enrolled)


def _accuracy(trials: _Trials, bootstrap: Bootstrap) -> Accuracy:
    closed, mated, strangers = trials.closed_set, trials.mated, trials.strangers
    num_strangers = len(np.unique(strangers.people))
    rates: dict[float, Rate | None] = {}
    thresholds: dict[float, float | None] = {}
    for fpir in FALSE_POSITIVE_RATES:
        if fpir * num_strangers < MIN_STRANGERS:
            rates[fpir] = thresholds[fpir] = None
            continue
        thresholds[fpir] = float(threshold_at(strangers.wrong, fpir)[0])
        rates[fpir] = false_negative_rate(mated, strangers, fpir, bootstrap)
    return Accuracy(
        rank_one=share(_within(closed, 1), closed.people, bootstrap),
        rank_five=share(_within(closed, 5), closed.people, bootstrap),
        match_rates=match_rates(closed.ranks, MAX_RANK),
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


def _broken_down(
    searches: Searches,
    thresholds: dict[float, float | None],
    faces: LabelledFaces,
    by: Sequence[str],
    examples: int,
    bootstrap: Bootstrap,
) -> Breakdown:
    """Tell the errors of the open set apart, at the first FPIR of `GROUPED_AT` that is known."""
    mated, strangers = searches.where(searches.mated), searches.where(~searches.mated)
    at = next((fpir for fpir in GROUPED_AT if thresholds[fpir] is not None), None)
    threshold = float(threshold_at(strangers.wrong, at or GROUPED_AT[0])[0])
    worst = _worst(searches, faces, threshold, examples)
    if at is None:
        return Breakdown(None, {}, [], worst)
    groups = {
        column: by_group(
            searches.deciding,
            searches.mated,
            _groups(faces, column, searches.faces),
            threshold=threshold,
            people=searches.people,
            bootstrap=bootstrap,
        )
        for column in by
    }
    qualities = by_quality(
        mated.right,
        {name: values[mated.faces] for name, values in faces.quality.items()},
        threshold=threshold,
        people=mated.people,
        bootstrap=bootstrap,
    )
    return Breakdown(at, groups, qualities, worst)


def _groups(faces: LabelledFaces, column: str, rows: NDArray[np.int64]) -> list[str]:
    """Name the group of each face at some rows, by a column."""
    groups = in_words(faces.column(column).take(pa.array(rows)))
    if len(set(groups)) > MAX_GROUPS:
        raise WrongUsageError(
            f"column {column!r} has more than {MAX_GROUPS} values; group by one with fewer"
        )
    return groups


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
