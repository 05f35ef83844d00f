"""Calibration: which similarity strangers reach in an index, measured on the faces in it.

A face of the gallery, compared with everybody's but its own person's, is what a stranger is. Of
each such probe the highest similarity is kept, and of all pairs how many reach each similarity.

**Whose faces they are** labels tell, where there are enough. Else the gallery itself does: pairs of
one person are some at the upper end and none at the lower, so the lower half of all similarities
gives the bulk of the strangers', which is Gaussian. Faces are linked where strangers' would be so
alike in one search of a hundred, and linked faces, directly or through others, are taken for one
person. What that cuts off are similarities beyond the link, and the fit does not use these.

**How the tail is told.** By FPIR 100 / people the highest similarities speak for themselves. Below
they are few, and look-alikes that happen to be there decide; there the pairs help, of which there
are thousands of times as many. With S(t) the share of pairs at or above t, and z the point where a
standard normal distribution has S above it, t is nearly linear in z (it would be exactly so if
similarities of strangers were Gaussian): a parabola is fitted, from the bulk to that FPIR. Then
FPIR(t) = 1 - exp(-theta n S(t)) in a gallery of n faces. Theta, the extremal index (Leadbetter,
Lindgren, Rootzen, "Extremes and Related Properties of Random Sequences", Springer 1983), says how
much less than independent the n chances are; it is read off the probes where they speak for
themselves. The curve ends at a tenth of that FPIR: nothing is promised beyond.

docs/evaluation.md has what came of it on real people that were not in the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress
from facetrove.evaluation.labels import FaceChoice, LabelledFaces, drawn_turns, labelled_faces
from indexer.folder import IndexWriter
from indexer.manifest import Manifest, read_current
from indexer.snapshot import PassingRows, Snapshot
from indexer.thresholds import MOST_GROWTH, Calibration

LEAST_PEOPLE = 200
"""With fewer, not even an FPIR of 0.05 could be told."""

PEOPLE_AT_LEAST = 100
"""People whose highest similarity must reach one that the fit uses: a tenth of error."""

DECADE = 10.0
"""How far below what is measured the curve goes on."""

LEAST_FPIR_LINKED = 0.1
"""Where faces are grouped by likeness, nothing below is measured: links cut off what is near
`LINK_FPIR`."""

LINK_FPIR = 0.01

MOST_COMPARISONS = 2_000_000_000
"""Pairs compared: some 15 seconds on two cores."""

SAMPLED = 1_000, 2_000
"""Probes and faces of the sample that the bulk is read off."""

BLOCK = 1_024, 16_384
"""Probes and faces compared at once: 67 MB of similarities."""

FITTED_FROM = {"people": 2.0, "gallery": 1.0}
"""z from which on the parabola is fitted. Of the tail alone it is truer; where people had to be
told apart by likeness, more of the bulk makes it steadier."""

ANCHORS = np.array([0.5, 1.0, 2.0, 3.0])
"""FPIRs, in units of the least that is measured, where the extremal index is read off."""

LEAST_PROBES = 1_000

MOST_BENT = 1.3
"""How much more the second quarter of all similarities may spread than the first, were they
Gaussian, before pairs of one person are so many that strangers cannot be told: some third."""

MOST_WAITING = 2_000_000
"""Links kept until they are worked in: 32 MB."""

BIN_WIDTH = 0.0005
NUM_POINTS = 80
LINKS_FOLLOWED = 64
"""Nearest faces of a linked face that are looked at, in galleries too large to compare all."""


def calibrate_index(
    index: str | Path,
    *,
    people: str | None = None,
    by_likeness: bool = False,
    face: FaceChoice = "largest",
    on_progress: OnProgress = lambda _: None,
) -> Manifest:
    """Measure the false-positive identification rate of an index, and keep it with the index.

    Args:
        index: its folder.
        people: `folder`, or the column that says who is in a photo; by default `person`, where
            that says it of `LEAST_PEOPLE` people or more and of half of the faces, or else the
            gallery itself.
        by_likeness: go by the gallery itself whatever labels say.
        face: which of a photo's faces is that person's.
        on_progress: called with what is being done.

    Returns:
        The manifest now in force, with its calibration.

    Raises:
        WrongUsageError: there is no index, or it holds too few people to tell.
        BusyError: another process is writing the index.
    """
    if by_likeness and people is not None:
        raise WrongUsageError("go by labelled people or by the likeness of faces, not by both")
    read_current(Path(index))  # refuses what is no index before its folder is made
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        version = Snapshot.open(writer.path, "cpu")
        labels = None
        if not by_likeness:
            on_progress(Progress("reading labels"))
            labels = _labels(writer.path, version, people, face)
        try:
            calibration = _measured(version, labels, on_progress)
        except ValueError as error:
            raise WrongUsageError(
                f"the faces of index {index} are too much alike to tell strangers by"
            ) from error
        return writer.publish(replace(previous, calibration=calibration))


def _labels(
    index: Path, version: Snapshot, people: str | None, face: FaceChoice
) -> LabelledFaces | None:
    """The labelled faces, where there are enough to go by.

    Raises:
        WrongUsageError: `people` is given and there are not.
    """
    if people is None and "person" not in version.metadata.names:
        return None
    labels = labelled_faces(index, version, people=people, face=face)
    num_people, num_labelled = len(labels.names), len(labels.places)
    num_faces = version.manifest.num_faces
    if num_people >= LEAST_PEOPLE and num_labelled * MOST_GROWTH >= num_faces:
        return labels
    if people is None:
        return None
    raise WrongUsageError(
        f"{people!r} names {num_people:,} people of index {index} in {num_labelled:,} of "
        f"{num_faces:,} faces; a calibration by people takes {LEAST_PEOPLE} people and half of the "
        "faces; go --by-likeness of the faces"
    )


def _measured(
    version: Snapshot, labels: LabelledFaces | None, on_progress: OnProgress
) -> Calibration:
    if labels is not None:
        return _Compared(version, labels.places, labels.people, on_progress).calibration("people")
    places = np.flatnonzero(version.live())
    compared = _Compared(version, places, np.arange(len(places)), on_progress)
    compared.group_by_likeness()
    return compared.calibration("gallery")


class _Compared:
    """Faces that are compared with each other: some of them, the probes, with all.

    Args:
        version: that they are in.
        places: (n,) of them.
        people: (n,) whose they are.
        on_progress: called with what is being done.
    """

    def __init__(
        self,
        version: Snapshot,
        places: NDArray[np.int64],
        people: NDArray[np.int64],
        on_progress: OnProgress,
    ) -> None:
        if len(places) < LEAST_PEOPLE:
            raise _too_few(f"{len(places)} faces")
        self.version = version
        self.places = places
        self.people = people
        self.on_progress = on_progress
        rng = np.random.default_rng(0)
        self.probes = _probes(people, max(LEAST_PROBES, MOST_COMPARISONS // len(places)), rng)
        self._read_bulk(rng)

    def _read_bulk(self, rng: np.random.Generator) -> None:
        """Mean and standard deviation of strangers' similarities, by the lower half of all.

        Pairs of one person are few and alike, so they hardly move it.
        """
        from scipy.special import ndtri

        some = [rng.permutation(len(self.places))[:count] for count in SAMPLED]
        vectors = [self.version.embeddings(self.places[rows]) for rows in some]
        differ = self.people[some[0]][:, None] != self.people[some[1]][None, :]
        similarities = (vectors[0] @ vectors[1].T)[differ]
        shares = np.linspace(0.05, 0.5, 20)
        quantiles = np.quantile(similarities, shares)
        low, high = (
            np.polyfit(ndtri(shares[part]), quantiles[part], 1)[0]
            for part in (slice(0, 10), slice(10, 20))
        )
        if not 0 < high < MOST_BENT * low:
            raise WrongUsageError(
                "most pairs of faces seem to show one and the same person, so strangers cannot be "
                "told by likeness; calibrate by labelled people"
            )
        spread, mean = np.polyfit(ndtri(shares), quantiles, 1)
        self.bulk_mean, self.bulk_spread = float(mean), float(spread)

    def _at(self, share: float) -> float:
        """The similarity that this share of strangers' pairs would reach, were they Gaussian."""
        from scipy.special import ndtri

        return self.bulk_mean - self.bulk_spread * float(ndtri(share))

    def group_by_likeness(self) -> None:
        """Take faces that are linked, directly or through others, for one person's."""
        groups = _Groups(len(self.places))
        link = self._at(LINK_FPIR / len(self.places))
        linked = np.zeros(len(self.places), bool)
        for probes, rows, similarities in self._blocks("grouping faces by likeness"):
            first, second = np.nonzero(similarities >= link)
            groups.join(probes[first], rows[second])
            linked[rows[second]] = True
        if len(self.probes) < len(self.places):  # follow the links one step further
            linked[self.probes] = False
            for first, second in self._links_of(np.flatnonzero(linked), link):
                groups.join(first, second)
        self.people = groups.numbers()

    def _links_of(
        self, rows: NDArray[np.int64], link: float
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pairs of rows and faces that they are linked with, through the index."""
        k = min(LINKS_FOLLOWED, len(self.places))
        everywhere: PassingRows = [None] * len(self.version.segments)
        for start in range(0, len(rows), BLOCK[0]):
            self.on_progress(Progress("following links", start, len(rows)))
            some = rows[start : start + BLOCK[0]]
            vectors = self.version.embeddings(self.places[some])
            similarities, places = self.version.nearest(vectors, k, everywhere)
            first, second = np.nonzero((similarities >= link) & (places >= 0))
            yield some[first], np.searchsorted(self.places, places[first, second])

    def _blocks(
        self, step: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Rows of probes, rows of faces, and their similarities, some at a time."""
        vectors = self.version.embeddings(self.places[self.probes])
        num_faces = len(self.places)
        for start in range(0, num_faces, BLOCK[1]):
            self.on_progress(Progress(step, start, num_faces))
            rows = np.arange(start, min(num_faces, start + BLOCK[1]))
            faces = self.version.embeddings(self.places[rows])
            for first in range(0, len(vectors), BLOCK[0]):
                some = slice(first, first + BLOCK[0])
                yield self.probes[some], rows, vectors[some] @ faces.T

    def calibration(self, method: Literal["people", "gallery"]) -> Calibration:
        """What the comparisons of different people come to."""
        num_people = len(np.unique(self.people[self.probes]))
        if num_people < LEAST_PEOPLE:
            what = "people" if method == "people" else "groups of like faces"
            raise _too_few(f"faces of {num_people} {what}")
        measured = PEOPLE_AT_LEAST / num_people
        if method == "gallery":
            measured = max(measured, LEAST_FPIR_LINKED)
        strangers = self._strangers(method)
        rates = np.geomspace(0.99, measured / DECADE, NUM_POINTS)
        similarities = strangers.thresholds(rates, measured, FITTED_FROM[method])
        rates = rates[: len(similarities)]
        num_faces = self.version.manifest.num_faces
        growth = num_faces / len(self.places)  # unlabelled faces are chances too
        rates = -np.expm1(growth * np.log1p(-rates))
        kept = rates < 1 - 1e-9
        return Calibration(
            method=method,
            num_faces=num_faces,
            num_people=num_people,
            num_comparisons=strangers.num_comparisons,
            similarities=tuple(np.clip(similarities[kept], -1, 1).tolist()),
            rates=tuple(rates[kept].tolist()),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _strangers(self, method: Literal["people", "gallery"]) -> _Strangers:
        from scipy.special import ndtr

        num_faces, num_probes = len(self.places), len(self.probes)
        own = self.people[self.probes]
        # A stranger is anybody: each person counts once, however many photos there are. Groups by
        # likeness are no people: a person's poor photos stand apart, and would count for many.
        weights = np.ones(num_probes)
        if method == "people":
            weights = 1.0 / np.bincount(own)[own]
        floor = self._at(float(ndtr(-FITTED_FROM[method] + 0.2)))
        num_bins = max(1, int(np.ceil((1 - floor) / BIN_WIDTH)) + 1)
        histogram = np.zeros(num_bins)
        highest = np.full(num_probes, -1.0, np.float32)
        for probes, rows, similarities in self._blocks("comparing with strangers"):
            where = np.searchsorted(self.probes, probes)
            same = self.people[probes][:, None] == self.people[rows][None, :]
            similarities[same] = -2.0
            highest[where] = np.maximum(highest[where], similarities.max(axis=1))
            above, column = np.nonzero(similarities >= floor)
            bins = ((similarities[above, column] - floor) / BIN_WIDTH).astype(np.int64)
            histogram += np.bincount(
                bins.clip(0, num_bins - 1), weights[where][above], minlength=num_bins
            )
        others = num_faces - np.bincount(self.people)[own]
        return _Strangers(
            ends=floor + BIN_WIDTH * np.arange(num_bins, dtype=np.float64),
            survival=histogram[::-1].cumsum()[::-1] / (weights * others).sum(),
            highest=highest,
            weights=weights / weights.sum(),
            num_faces=num_faces,
            num_comparisons=int(others.sum()),
        )


def _probes(people: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of so many faces at most: of every person one, then of every person a second, ..."""
    order, turns = drawn_turns(people, rng)
    chosen = order[np.lexsort((rng.random(len(order)), turns))]
    return np.sort(chosen[:most])


class _Groups:
    """Faces joined into groups, by pairs."""

    def __init__(self, num_faces: int) -> None:
        self._groups = np.arange(num_faces)
        self._waiting: list[NDArray[np.int64]] = []
        self._num_waiting = 0

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Put the faces of each of some pairs into one group."""
        pairs = np.sort(np.stack([self._groups[first], self._groups[second]], axis=1), axis=1)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        self._waiting.append(pairs)
        self._num_waiting += len(pairs)
        if self._num_waiting > MOST_WAITING:
            self._merge()

    def numbers(self) -> NDArray[np.int64]:
        """(n,) number of each face's group, from 0."""
        self._merge()
        return np.unique(self._groups, return_inverse=True)[1].astype(np.int64)

    def _merge(self) -> None:
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._waiting])
        self._waiting, self._num_waiting = [], 0
        count = len(self._groups)
        graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
        _, numbers = connected_components(graph.tocsr(), directed=False)
        self._groups = numbers[self._groups].astype(np.int64)


@dataclass(frozen=True)
class _Strangers:
    """How alike different people are.

    Attributes:
        ends: (b,) similarities, ascending.
        survival: (b,) share of pairs at or above them.
        highest: (p,) similarity of each probe.
        weights: (p,) of the probes, of sum 1.
        num_faces: that each was compared with.
        num_comparisons: in all.
    """

    ends: NDArray[np.float64]
    survival: NDArray[np.float64]
    highest: NDArray[np.float32]
    weights: NDArray[np.float64]
    num_faces: int
    num_comparisons: int

    def thresholds(
        self, rates: NDArray[np.float64], measured: float, fitted_from: float
    ) -> NDArray[np.float64]:
        """(m,) similarities, ascending, at (m,) FPIRs, or fewer where the fit ends before.

        Args:
            rates: descending.
            measured: the least FPIR that the highest similarities tell by themselves.
            fitted_from: z from which on the parabola is fitted.
        """
        from scipy.special import ndtr, ndtri

        z = np.linspace(fitted_from, -float(ndtri(measured / self.num_faces)), 60)
        shares = ndtr(-z)
        parabola = np.polyfit(z, self._similarity_at(shares), 2, w=shares**0.1)
        anchors = ANCHORS[measured * ANCHORS < 0.8] * measured
        expected = self.num_faces * self._share_above(self._highest_at(anchors))
        theta = float(np.exp(np.mean(np.log(-np.log1p(-anchors) / expected))))
        shares = np.minimum(-np.log1p(-rates) / (theta * self.num_faces), 0.5)
        fitted = np.polyval(parabola, -ndtri(shares))
        by_probes = rates >= ANCHORS[-1] * measured
        found = np.where(by_probes, self._highest_at(rates), fitted)
        # Where the parabola turns back it tells nothing any more.
        back = np.flatnonzero(~by_probes[1:] & (np.diff(fitted) <= 0))
        end = int(back[0]) + 1 if len(back) else len(found)
        return np.maximum.accumulate(found[:end])

    def _similarity_at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        logs = np.log(np.maximum(self.survival, 1e-300))
        return np.interp(-np.log(shares), -logs, self.ends)

    def _share_above(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """At least that of one comparison."""
        logs = np.log(np.maximum(self.survival, 1 / self.num_comparisons))
        return np.exp(np.interp(similarities, self.ends, logs))

    def _highest_at(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Similarities that these shares of the probes reach."""
        order = np.argsort(-self.highest, kind="stable")
        reached = np.cumsum(self.weights[order])
        return np.interp(rates, reached, self.highest[order].astype(np.float64))


def _too_few(what: str) -> WrongUsageError:
    return WrongUsageError(
        f"an index with {what} is too small to calibrate; it takes {LEAST_PEOPLE}"
    )
