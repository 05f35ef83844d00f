"""Progress of long work, as every job reports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far one step of a job is.

    Attributes:
        step: what the job is doing now, as a phrase: "embedding", "reading faces".
        done: items of this step that are done.
        total: items that the step has to do; None where the number is not known.
        unit: what the items are, in the plural: `faces`, `photos`.
        counts: further counts that belong to the step, by what was counted: `faces`, `rejected`.
    """

    step: str
    done: int = 0
    total: int | None = None
    unit: str = "faces"
    counts: Mapping[str, int] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]
"""Called now and then with the job's progress, from the job's own thread or another."""


def ignore_progress(_: Progress) -> None:
    """The `OnProgress` of a caller that does not want to know."""
