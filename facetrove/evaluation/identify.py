"""1:N identification: error rates of searches in a gallery of enrolled people.

Each random split enrols some photos of each person and searches for the other photos. Searches run
in the index itself, with a mask that selects the enrolled faces. In the closed set, everybody
searched for is enrolled. In the open set, a share of the people ("strangers") is not enrolled, and
searches for them should return nobody.

Terms and rates are those of NIST's FRTE Part 2 (Grother, Ngan, Hanaoka, NISTIR 8271). A search
returns a candidate list of at most `gallery.CANDIDATES` people. FPIR is the share of non-mated
searches that return any candidate at or above the threshold. FNIR is the share of mated searches
whose person is not among the candidates at or above the threshold.
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
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, group_names, labelled_faces
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
"""The last rank of the CMC."""

FALSE_POSITIVE_RATES = (1e-1, 1e-2, 3e-3)
"""FPIRs at which FNIR is reported, each where enough people are strangers (`MIN_STRANGERS`)."""

MIN_STRANGERS = 3
"""Minimum of FPIR times the number of different strangers for FNIR to be reported at that FPIR."""

GROUPED_AT = (1e-2, 1e-1)
"""FPIRs for the error rates by group and quality: the first at which FNIR is reported is used."""

MAX_GROUPS = 50
"""Maximum number of groups in a column to group by. A column with more, such as one of names or
dates, hardly names groups, and each would be too small for an error rate."""

MAX_SEARCHES = 10_000
"""Maximum number of searches per split and kind (closed set, mated, non-mated). More would hardly
narrow the intervals, and the bootstrap holds all of them in memory."""

STEPS = {"model": "comparing with every face", "index": "searching through the index"}
"""Names of the steps of progress, by way to search."""


@dataclass(frozen=True)
class Accuracy:
    """The error rates of one way to search a gallery.

    Attributes:
        rank_one, rank_five: share of closed-set searches whose person has rank 1, or rank 1 to 5.
        match_rates: (20,) share of closed-set searches whose person has at most rank 1, 2, ..., 20:
            the cumulative match characteristic (CMC).
        false_negative: open-set FNIR by FPIR; None where there are too few strangers.
        thresholds: similarity threshold at each of these FPIRs; None where FNIR is.
        curve: open-set FPIR and FNIR by threshold, the DET curve.
    """

    rank_one: Rate
    rank_five: Rate
    match_rates: NDArray[np.float64]
    false_negative: dict[float, Rate | None]
    thresholds: dict[float, float | None]
    curve: ErrorCurve


@dataclass(frozen=True)
class Identification(JsonResult):
    """The result of `evaluate_identification`: closed-set and open-set error rates.

    Attributes:
        protocol: the protocol's options.
        num_people, num_faces: numbers of labelled people and of their labelled faces.
        num_unlabelled: number of photos with faces that were left out because they have no label,
            or no face that the option `face` selects.
        closed_gallery, open_gallery: (people, faces) enrolled, as means over the splits.
        num_closed: number of closed-set searches in all splits.
        num_mated, num_non_mated: numbers of open-set searches in all splits, by kind.
        model: error rates of comparing each probe with every enrolled face.
        index: error rates of searching through the index; None where it compares every face anyway.
        mated: (num_mated,) float32 similarities of the mated open-set searches to the probe's
            person; -inf where the person is not in the candidate list.
        non_mated: (num_non_mated,) float32 highest similarity of each non-mated open-set search.
        grouped_at: the FPIR whose threshold is used for groups and qualities; None where there are
            too few strangers, and then both are empty.
        groups: error rates by group, for each column of `by`; see `GroupErrors`.
        qualities: error rates by quality measure of the probe; see `QualityErrors`.
        worst: the worst errors of each kind, as many as were asked for; see `WrongAnswer`.
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
    """Measure how well an index identifies labelled people, in the closed and in the open set.

    Args:
        index: the index's folder.
        people: `folder`, or the column with the name of the person in a photo; by default `person`.
        face: which of a photo's faces is the labelled person's: `largest`; `central`, the one
            nearest the photo's centre; or `only`, the face of a photo with no other.
        where: a filter, as in a search; only faces that match it are enrolled or searched for.
        protocol: the options of the experiment.
        by: columns of the faces to group by; error rates are also computed for each of their
            values, by the probe.
        examples: maximum number of worst errors of each kind to return.
        on_progress: called with the step that is being done.

    Raises:
        WrongUsageError: there is no index, no such column, or too few labelled people.
        CorruptFileError: a file of the index is not what was written.
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
    errors = _breakdown_of(trials.open_set, thresholds, faces, by, examples, bootstrap)
    return Identification(
        protocol=protocol,
        num_people=len(faces.names),
        num_faces=len(faces.index_rows),
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
    """Raise WrongUsageError unless at least two people have a photo that is not enrolled."""
    counts = np.bincount(faces.people, minlength=1)
    if (counts > protocol.enrol).sum() < 2:
        raise WrongUsageError(
            f"of {len(faces.names)} labelled people of index {index} fewer than two have more than "
            f"{protocol.enrol} photos, so there are no probes; label more photos, or give --people "
            "the column that has the names"
        )


def _require_columns(faces: LabelledFaces, by: Sequence[str]) -> None:
    """Raise WrongUsageError unless the faces have all columns to group by."""
    for column in by:
        if column not in faces.table.column_names:
            names = ", ".join(faces.table.column_names)
            raise WrongUsageError(f"there is no column {column!r} to group by; there are {names}")


@dataclass(frozen=True)
class _Trials:
    """The searches of all splits, with the mean numbers of (people, faces) that were enrolled."""

    closed_set: Searches
    open_set: Searches
    closed_gallery: tuple[float, float]
    open_gallery: tuple[float, float]

    @property
    def mated(self) -> Searches:
        """The mated searches of the open set: the probe's person is enrolled."""
        return self.open_set.where(self.open_set.mated)

    @property
    def strangers(self) -> Searches:
        """The non-mated searches of the open set: the probe's person is not enrolled."""
        return self.open_set.where(~self.open_set.mated)


def _try_ways(
    version: Snapshot, faces: LabelledFaces, protocol: Protocol, on_progress: OnProgress
) -> dict[str, _Trials]:
    """Run all searches comparing every face, and again through the index's codes if it has any."""
    galleries = {"model": Gallery(version, faces)}
    if any(segment.codes is not None for segment in version.segments):
        galleries["index"] = Gallery(version, faces, through_codes=True)
    return {
        way: _try_all(protocol, gallery, STEPS[way], on_progress)
        for way, gallery in galleries.items()
    }


def _try_all(protocol: Protocol, gallery: Gallery, step: str, on_progress: OnProgress) -> _Trials:
    """Run the searches of all splits; raise WrongUsageError where one lacks a kind of face."""
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
                f"with {len(faces.names)} labelled people, of whom a share of {protocol.strangers} "
                "are strangers, a split has no enrolled face, no mated probe or no non-mated "
                "probe; label more people, or choose another share (--strangers)"
            )
        sizes.append(_size(faces, enrolled))
        chosen = np.concatenate([kind[:MAX_SEARCHES] for kind in kinds])
        opened.append(search_all(gallery, enrolled, chosen))
    means = np.array(sizes, float).reshape(-1, 2, 2).mean(axis=0).tolist()
    return _Trials(
        Searches.joined(closed), Searches.joined(opened), tuple(means[0]), tuple(means[1])
    )


def _size(faces: LabelledFaces, enrolled: NDArray[np.int64]) -> tuple[int, int]:
    """Count the people and the faces of a gallery."""
    return len(np.unique(faces.people[enrolled])), len(enrolled)


def _accuracy(trials: _Trials, bootstrap: Bootstrap) -> Accuracy:
    """Compute the error rates of one way to search."""
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
    """Tell of each search whether the probe's person has at most a rank."""
    return (searches.ranks >= 1) & (searches.ranks <= rank)


def false_negative_rate(
    mated: Searches, strangers: Searches, fpir: float, bootstrap: Bootstrap
) -> Rate:
    """Compute FNIR at the threshold of an FPIR, which each bootstrap replicate determines anew."""

    def replicate(some: Bootstrap) -> NDArray[np.floating]:
        thresholds = threshold_at(strangers.wrong, fpir, some.weights(strangers.people))
        return miss_rate(mated.right, thresholds, some.weights(mated.people))

    value = float(miss_rate(mated.right, threshold_at(strangers.wrong, fpir))[0])
    return rate(value, in_chunks(bootstrap, replicate), len(np.unique(mated.people)))


def _breakdown_of(
    searches: Searches,
    thresholds: dict[float, float | None],
    faces: LabelledFaces,
    by: Sequence[str],
    examples: int,
    bootstrap: Bootstrap,
) -> Breakdown:
    """Break the open-set errors down, at the first FPIR of `GROUPED_AT` that has a threshold."""
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
            _groups_of(faces, column, searches.faces),
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


def _groups_of(faces: LabelledFaces, column: str, probes: NDArray[np.int64]) -> list[str]:
    """Name the group of each probe; raise WrongUsageError where the column has too many values."""
    groups = group_names(faces.column(column).take(pa.array(probes)))
    if len(set(groups)) > MAX_GROUPS:
        raise WrongUsageError(
            f"column {column!r} has more than {MAX_GROUPS} values; group by a column with fewer"
        )
    return groups


def _worst(
    searches: Searches, faces: LabelledFaces, threshold: float, count: int
) -> list[WrongAnswer]:
    """Select up to `count` errors of each kind by highest similarity, each pair of faces once."""
    if not count:
        return []
    uris, boxes = faces.column("uri").to_pylist(), faces.column("box").to_pylist()
    found = []
    for kind in (False, True):
        wrong = searches.right < threshold if kind else searches.wrong >= threshold
        errors = searches.where((searches.mated == kind) & wrong & (searches.wrong_faces >= 0))
        order = np.argsort(-errors.wrong, kind="stable")
        both = np.sort(np.stack([errors.faces, errors.wrong_faces], axis=1)[order], axis=1)
        _, firsts = np.unique(both, axis=0, return_index=True)
        for row in order[np.sort(firsts)][:count].tolist():
            probe, other = int(errors.faces[row]), int(errors.wrong_faces[row])
            found.append(
                WrongAnswer(
                    *(uris[probe], tuple(boxes[probe]), uris[other], tuple(boxes[other])),
                    similarity=float(errors.wrong[row]),
                    mated=kind,
                )
            )
    return found
