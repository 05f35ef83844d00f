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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.labels import FaceChoice, labelled_faces
from faces.errors import WrongUsageError
from indexer.build import IndexProgress
from indexer.folder import IndexWriter
from indexer.manifest import Manifest
from indexer.thresholds import Calibration
from search.version import Version

OnProgress = Callable[[IndexProgress], None]

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

BIN_WIDTH = 0.0005
NUM_POINTS = 80
LINKS_FOLLOWED = 64
"""Nearest faces of a linked face that are looked at, in galleries too large to compare all."""


def calibrate_index(
    index: str | Path,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    on_progress: OnProgress = lambda _: None,
) -> Manifest:
    """Measure the false-positive identification rate of an index, and keep it with the index.

    Args:
        index: its folder.
        people: `folder`, or the column that says who is in a photo; by default `person`, where
            that says it of `LEAST_PEOPLE` people or more, or else the gallery itself.
        face: which of a photo's faces is that person's.
        on_progress: called with what is being done.

    Returns:
        The manifest now in force, with its calibration.

    Raises:
        WrongUsageError: the index holds too few people to tell.
        BusyError: another process is writing the index.
    """
    with IndexWriter.open(Path(index)) as writer:
        previous = writer.require_previous()
        version = Version.open(writer.path, "cpu")
        calibration = measure(
            writer.path, version, people=people, face=face, on_progress=on_progress
        )
        return writer.publish(replace(previous, calibration=calibration))


def measure(
    index: Path,
    version: Version,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    on_progress: OnProgress = lambda _: None,
) -> Calibration:
    """As `calibrate_index`, without keeping it."""
    labels = None
    if people is not None or "person" in version.metadata.names:
        on_progress(IndexProgress("reading labels"))
        labels = labelled_faces(index, version, people=people, face=face)
        if len(labels.names) < LEAST_PEOPLE:
            if people is not None:
                raise WrongUsageError(
                    f"{people!r} names {len(labels.names)} people of index {index}, and a "
                    f"calibration by people takes {LEAST_PEOPLE}; leave --people out to go by "
                    "the likeness of faces"
                )
            labels = None
    rng = np.random.default_rng(0)
    if labels is None:
        places = np.flatnonzero(version.live())
        compared = _Compared(version, places, np.arange(len(places)), rng, on_progress)
        return compared.grouped().calibration("gallery")
    return _Compared(version, labels.places, labels.people, rng, on_progress).calibration("people")


@dataclass
class _Compared:
    """Faces that are compared with each other.

    Attributes:
        version: that they are in.
        places: (n,) of them.
        people: (n,) whose they are.
        rng: what chooses probes.
        on_progress: called with what is being done.
    """

    version: Version
    places: NDArray[np.int64]
    people: NDArray[np.int64]
    rng: np.random.Generator
    on_progress: OnProgress

    def __post_init__(self) -> None:
        num_faces = len(self.places)
        if num_faces < LEAST_PEOPLE:
            raise _too_few(f"{num_faces} faces")
        num_probes = min(num_faces, max(LEAST_PEOPLE, MOST_COMPARISONS // num_faces))
        self.probes = np.sort(self.rng.permutation(num_faces)[:num_probes])
        self.bulk_mean, self.bulk_spread = self._bulk()

    def _bulk(self) -> tuple[float, float]:
        """Mean and standard deviation of the similarities of strangers, by their lower half.

        Pairs of one person are few and alike, so they hardly move it.
        """
        from scipy.special import ndtri

        num_probes, num_faces = (min(count, len(self.places)) for count in SAMPLED)
        some = [self.rng.permutation(len(self.places))[:count] for count in (num_probes, num_faces)]
        vectors = [self.version.embeddings(self.places[rows]) for rows in some]
        differ = self.people[some[0]][:, None] != self.people[some[1]][None, :]
        similarities = (vectors[0] @ vectors[1].T)[differ]
        shares = np.linspace(0.05, 0.5, 20)
        spread, mean = np.polyfit(ndtri(shares), np.quantile(similarities, shares), 1)
        return float(mean), float(spread)

    def _at(self, share: float) -> float:
        """The similarity that this share of strangers' pairs would reach, were they Gaussian."""
        from scipy.special import ndtri

        return self.bulk_mean - self.bulk_spread * float(ndtri(share))

    def grouped(self) -> _Compared:
        """The same faces, with those that are linked taken for one person's."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        num_faces = len(self.places)
        link = self._at(LINK_FPIR / num_faces)
        first, second = [], []
        for probes, rows, similarities in self._blocks("grouping faces by likeness"):
            found = np.nonzero(similarities >= link)
            first.append(probes[found[0]])
            second.append(rows[found[1]])
        edges = [np.concatenate(ends) for ends in (first, second)]
        if len(self.probes) < num_faces:  # follow the links one step further
            linked = np.setdiff1d(edges[1], self.probes)
            further = self._links_of(linked, link)
            edges = [np.concatenate(ends) for ends in zip(edges, further, strict=True)]
        graph = coo_matrix((np.ones(len(edges[0]), bool), tuple(edges)), (num_faces, num_faces))
        _, groups = connected_components(graph.tocsr(), directed=False)
        return replace(self, people=groups.astype(np.int64))

    def _links_of(
        self, rows: NDArray[np.int64], link: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of rows with the faces that they are linked with, through the index."""
        first, second = [], []
        k = min(LINKS_FOLLOWED, len(self.places))
        for start in range(0, len(rows), BLOCK[0]):
            self.on_progress(IndexProgress("following links", start, len(rows)))
            some = rows[start : start + BLOCK[0]]
            vectors = self.version.embeddings(self.places[some])
            similarities, places = self.version.nearest(
                vectors, k, [None] * len(self.version.segments)
            )
            found = np.nonzero((similarities >= link) & (places >= 0))
            first.append(some[found[0]])
            second.append(np.searchsorted(self.places, places[found]))
        nothing = np.zeros(0, np.int64)
        return np.concatenate([nothing, *first]), np.concatenate([nothing, *second])

    def _blocks(
        self, step: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Rows of probes, rows of faces, and their similarities, some at a time."""
        vectors = self.version.embeddings(self.places[self.probes])
        num_faces = len(self.places)
        for start in range(0, num_faces, BLOCK[1]):
            self.on_progress(IndexProgress(step, start, num_faces))
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
        counts = np.bincount(self.people)
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
        others = num_faces - counts[own]
        return _Strangers(
            ends=floor + BIN_WIDTH * np.arange(num_bins, dtype=np.float64),
            survival=histogram[::-1].cumsum()[::-1] / (weights * others).sum(),
            highest=highest,
            weights=weights / weights.sum(),
            num_faces=num_faces,
            num_comparisons=int(others.sum()),
        )


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
        """(m,) similarities, ascending, at (m,) FPIRs.

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
        fitted = np.polyval(parabola, -ndtri(-np.log1p(-rates) / (theta * self.num_faces)))
        by_probes = rates >= ANCHORS[-1] * measured
        found = np.where(by_probes, self._highest_at(rates), fitted)
        return np.maximum.accumulate(found)

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
