"""Grouping of faces by person, compared with labels.

Faces of an index are grouped without a look at the labels; then the groups are compared with the
people whom the labels name. BCubed precision of a face is the share of its group's labelled faces
that are of its person, and BCubed recall the share of its person's labelled faces that are in its
group (Bagga and Baldwin 1998; Amigo et al., Information Retrieval 12, 2009). Pairwise precision and
recall are those of all pairs of labelled faces, in which large groups and people count most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress, ignore_progress
from facetrove.evaluation.as_json import JsonResult
from facetrove.evaluation.labels import FaceChoice, labelled_faces
from indexer.face_groups import IndexFaces
from indexer.group_decisions import DecidedFaces, Decisions
from indexer.group_rules import joined
from indexer.snapshot import Snapshot

SIZES = ((1, 1), (2, 4), (5, 9), (10, 49), (50, 10**9))
"""Sizes of people, in labelled faces, by which BCubed figures are told."""

SINGLE_LINKAGE_FPIR = 0.001
"""FPIR of the threshold from which faces are linked in `PeopleEvaluation.single_linkage`."""


@dataclass(frozen=True)
class Agreement:
    """How far groups agree with people; precision, recall and F are in [0, 1].

    Attributes:
        bcubed_precision, bcubed_recall, bcubed_f: means over faces, and their harmonic mean.
        pairwise_precision, pairwise_recall, pairwise_f: of pairs of faces; 1 where there are none.
    """

    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float


@dataclass(frozen=True)
class SizeAgreement:
    """BCubed figures of the faces of people of some size.

    Attributes:
        min_faces, max_faces: smallest and largest number of labelled faces of these people.
        num_faces: number of labelled faces that they have together.
        precision, recall: means over these faces.
    """

    min_faces: int
    max_faces: int
    num_faces: int
    precision: float
    recall: float


@dataclass(frozen=True)
class PeopleEvaluation(JsonResult):
    """Groups of an index's faces compared with labels.

    Attributes:
        num_faces: number of faces that were grouped, labelled or not.
        num_labelled: number of labelled faces.
        num_people: number of people whom the labels name.
        num_groups: number of groups with a labelled face.
        num_edges: number of pairs of similar faces that the groups were made of.
        agreement: the groups' figures.
        by_size: BCubed figures by size of person.
        single_linkage: the figures of groups in which every pair above `single_threshold` is
            linked, for comparison; None: the models have no threshold.
        single_threshold: the threshold at an FPIR of 0.001, of the calibration or the models.
    """

    num_faces: int
    num_labelled: int
    num_people: int
    num_groups: int
    num_edges: int
    agreement: Agreement
    by_size: tuple[SizeAgreement, ...]
    single_linkage: Agreement | None
    single_threshold: float | None


def evaluate_people(
    index: str | Path,
    *,
    people: str | None = None,
    face: FaceChoice = "largest",
    precision: float = 0.99,
    on_progress: OnProgress = ignore_progress,
) -> PeopleEvaluation:
    """Group the faces of an index by person, and compare the groups with labels.

    All faces are grouped, bystanders too; only labelled ones are compared. Two faces of one photo
    are never in one group.

    Args:
        index: path of the index's folder.
        people: `folder`, or the column with the name of the person in a photo; None: `person`.
        face: which of a photo's faces the label is for: `largest`, `central` or `only`.
        precision: share of the pairs of faces in one group that are of one person, which is
            promised; a higher one makes more and purer groups.
        on_progress: function called with the step that is being done.

    Returns:
        The figures, with those of single linkage beside them.

    Raises:
        WrongUsageError: there is no index, no label, no figure of its models to group by, or
            a precision that cannot be promised.
        CorruptFileError: a file of the index is corrupt.
    """
    version = Snapshot.open(index, "cpu")
    labelled = labelled_faces(Path(index), version, people=people, face=face)
    if len(labelled.people) == 0:
        raise WrongUsageError(f"index {index} has no labelled face to compare groups with")
    faces = IndexFaces.of(version, precision)
    on_progress(Progress("finding similar faces"))
    similar = faces.similar()
    on_progress(Progress("grouping"))
    decided = DecidedFaces(Decisions(), faces.face_ids, faces.photo_ids)
    groups, _ = faces.grouped(np.arange(len(faces.live)), similar, decided.constraints)
    rows = np.searchsorted(faces.live, labelled.index_rows)
    threshold = _single_threshold(version)
    single = None
    if threshold is not None:
        linked = joined(len(faces.live), similar.pairs[similar.similarities >= threshold])
        single = agreement_of(linked[rows], labelled.people)
    return PeopleEvaluation(
        num_faces=len(faces.live),
        num_labelled=len(rows),
        num_people=len(labelled.names),
        num_groups=len(np.unique(groups[rows])),
        num_edges=len(similar.pairs),
        agreement=agreement_of(groups[rows], labelled.people),
        by_size=_by_size(groups[rows], labelled.people),
        single_linkage=single,
        single_threshold=threshold,
    )


def agreement_of(groups: NDArray[np.int64], people: NDArray[np.int64]) -> Agreement:
    """Compare groups with people.

    Args:
        groups: (n,) number of each face's group.
        people: (n,) number of each face's person.
    """
    both, in_group, of_person = _counts(groups, people)
    precision, recall = float((both / in_group).mean()), float((both / of_person).mean())
    pairs, in_groups, of_people = ((count - 1).sum() / 2 for count in (both, in_group, of_person))
    pairwise = (
        float(pairs / in_groups) if in_groups else 1.0,
        float(pairs / of_people) if of_people else 1.0,
    )
    return Agreement(
        precision, recall, _harmonic(precision, recall), *pairwise, _harmonic(*pairwise)
    )


def _counts(
    groups: NDArray[np.int64], people: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return for each face how many are of its group and person, of its group, of its person."""
    counts = []
    for numbers in (np.stack([groups, people], axis=1), groups[:, None], people[:, None]):
        _, inverse, count = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
        counts.append(count[inverse.ravel()])
    return counts[0], counts[1], counts[2]


def _by_size(groups: NDArray[np.int64], people: NDArray[np.int64]) -> tuple[SizeAgreement, ...]:
    both, in_group, of_person = _counts(groups, people)
    found = []
    for lowest, highest in SIZES:
        here = (of_person >= lowest) & (of_person <= highest)
        if here.any():
            precision, recall = (both / in_group)[here].mean(), (both / of_person)[here].mean()
            sizes = of_person[here]
            found.append(
                SizeAgreement(
                    int(sizes.min()),
                    int(sizes.max()),
                    int(here.sum()),
                    float(precision),
                    float(recall),
                )
            )
    return tuple(found)


def _single_threshold(version: Snapshot) -> float | None:
    lowest = version.rates.min_fpir
    return None if lowest is None else version.rates.threshold(max(lowest, SINGLE_LINKAGE_FPIR))


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
