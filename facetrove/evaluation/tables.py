"""Tables of evaluation results, for the terminal and for report pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from facetrove.evaluation.breakdown import REJECTED, GroupErrors, QualityErrors
from facetrove.evaluation.identify import Accuracy, Identification
from facetrove.evaluation.metrics import Rate
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.robustness import Robustness

TOO_FEW = "too few trials"
"""Cell of a rate that too few comparisons or searches were made to measure."""


class Table(NamedTuple):
    """A table of text cells.

    Attributes:
        titles: the titles of the columns.
        rows: the cells of each row, one per title.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def said(rate: Rate | None) -> str:
    """Format a rate with its confidence interval, such as `0.0352 (0.0277 to 0.0448)`."""
    if rate is None:
        return TOO_FEW
    low, high = rate.interval
    return f"{rate.value:.4f} ({low:.4f} to {high:.4f})"


def ways_of(result: Identification) -> dict[str, Accuracy]:
    """Return the error rates of each way to search that was measured, by its name."""
    ways = {"every face compared": result.model}
    if result.index is not None:
        ways["through the index"] = result.index
    return ways


def accept_table(result: Verification) -> Table:
    """Tabulate the true accept rate (TAR) by false accept rate (FAR)."""
    return Table(
        ("FAR", "TAR", "threshold"),
        [
            (f"{far:g}", said(rate), _number(result.thresholds[far]))
            for far, rate in result.true_accept_rates.items()
        ],
    )


def fold_table(result: Verification) -> Table:
    """Tabulate the accuracy and the threshold of each fold."""
    folds = zip(result.fold_accuracies, result.fold_thresholds, strict=True)
    return Table(
        ("fold", "accuracy", "threshold"),
        [
            (str(number), f"{accuracy:.4f}", f"{threshold:.3f}")
            for number, (accuracy, threshold) in enumerate(folds, 1)
        ],
    )


def closed_set_table(result: Identification) -> Table:
    """Tabulate the closed-set rank-1 and rank-5 rates of each way to search."""
    return Table(
        ("closed set", "rank-1", "rank-5"),
        [(name, said(way.rank_one), said(way.rank_five)) for name, way in ways_of(result).items()],
    )


def open_set_table(result: Identification) -> Table:
    """Tabulate the open-set FNIR by FPIR of each way to search."""
    return Table(
        ("open set", "FPIR", "FNIR", "threshold"),
        [
            (name, f"{fpir:g}", said(rate), _number(way.thresholds[fpir]))
            for name, way in ways_of(result).items()
            for fpir, rate in way.false_negative.items()
        ],
    )


def corruption_table(result: Robustness) -> Table:
    """Tabulate the error rates under each corruption at each strength."""
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
    """Tabulate error rates by group.

    Args:
        column: the column to group by.
        errors: the error rates of its groups.
        miss: name of the false-negative rate, FRR or FNIR.
        false_alarm: name of the false-positive rate, FAR or FPIR.
    """
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
    """Tabulate the false-negative rate (named `miss`) with the lowest-quality faces left out."""
    return Table(
        (f"{miss} without the worst", *(f"{share:.0%}" for share in REJECTED)),
        [(q.name, *(f"{rate.value:.4f}" for rate in q.false_negative)) for q in qualities],
    )


def tenth_table(qualities: Sequence[QualityErrors], miss: str) -> Table:
    """Tabulate the false-negative rate (named `miss`) by decile of each quality measure."""
    return Table(
        (f"{miss} by decile, lowest quality first", *map(str, range(1, 11))),
        [(q.name, *(f"{share:.3f}" for share in q.tenths)) for q in qualities],
    )


def _number(value: float | None) -> str:
    """Format a similarity, or nothing for None."""
    return "" if value is None else f"{value:.3f}"
