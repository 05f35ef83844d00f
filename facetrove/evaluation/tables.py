"""Tables of results, for terminals and pages alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from facetrove.evaluation.breakdown import REJECTED, GroupErrors, QualityErrors
from facetrove.evaluation.identify import Accuracy, Identification
from facetrove.evaluation.metrics import Rate
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.robustness import Robustness

TOO_FEW = "too few to tell"


class Table(NamedTuple):
    """Titles of columns, and rows as they are to be read."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def said(rate: Rate | None) -> str:
    """A rate with its interval in words."""
    if rate is None:
        return TOO_FEW
    low, high = rate.interval
    return f"{rate.value:.4f} ({low:.4f} to {high:.4f})"


def ways_of(result: Identification) -> dict[str, Accuracy]:
    """What is compared in an identification: the model, and where it differs the index."""
    ways = {"every face compared": result.model}
    if result.index is not None:
        ways["through the index"] = result.index
    return ways


def accept_table(result: Verification) -> Table:
    """True accept rate by false accept rate."""
    return Table(
        ("FAR", "TAR", "threshold"),
        [
            (f"{far:g}", said(rate), _number(result.thresholds[far]))
            for far, rate in result.true_accept_rates.items()
        ],
    )


def fold_table(result: Verification) -> Table:
    """Accuracy and threshold by fold."""
    folds = zip(result.fold_accuracies, result.fold_thresholds, strict=True)
    return Table(
        ("fold", "accuracy", "threshold"),
        [(str(number), f"{share:.4f}", f"{at:.3f}") for number, (share, at) in enumerate(folds, 1)],
    )


def closed_set_table(result: Identification) -> Table:
    """Rank-1 and rank-5."""
    return Table(
        ("closed set", "rank-1", "rank-5"),
        [(name, said(way.rank_one), said(way.rank_five)) for name, way in ways_of(result).items()],
    )


def open_set_table(result: Identification) -> Table:
    """FNIR by FPIR."""
    return Table(
        ("open set", "FPIR", "FNIR", "threshold"),
        [
            (name, f"{fpir:g}", said(rate), _number(way.thresholds[fpir]))
            for name, way in ways_of(result).items()
            for fpir, rate in way.false_negative.items()
        ],
    )


def corruption_table(result: Robustness) -> Table:
    """What each corruption does."""
    return Table(
        ("corruption", "strength", "found", "rank-1", "FNIR", "FPIR", "similarity"),
        [
            (
                corrupted.corruption,
                "" if corrupted.strength is None else f"{corrupted.strength:g}",
                f"{corrupted.found:.3f}",
                said(corrupted.rank_one),
                said(corrupted.false_negative),
                said(corrupted.false_positive),
                _number(corrupted.similarity),
            )
            for corrupted in result.corrupted
        ],
    )


def group_table(column: str, errors: Sequence[GroupErrors], miss: str, false_alarm: str) -> Table:
    """Error rates by the groups of a column."""
    return Table(
        (column, "mated", miss, "non-mated", false_alarm),
        [
            (
                *(group.group, f"{group.num_mated:,}", said(group.false_negative)),
                *(f"{group.num_non_mated:,}", said(group.false_positive)),
            )
            for group in errors
        ],
    )


def reject_table(qualities: Sequence[QualityErrors], miss: str) -> Table:
    """Misses when so many of the worst faces are left out."""
    return Table(
        (f"{miss} without the worst", *(f"{share:.0%}" for share in REJECTED)),
        [(q.name, *(f"{rate.value:.4f}" for rate in q.false_negative)) for q in qualities],
    )


def tenth_table(qualities: Sequence[QualityErrors], miss: str) -> Table:
    """Misses by tenths of a measure, the worst first."""
    return Table(
        (f"{miss} by tenths, the worst first", *map(str, range(1, 11))),
        [(q.name, *(f"{share:.3f}" for share in q.tenths)) for q in qualities],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
