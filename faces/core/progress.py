"""The progress reports of long jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """A report of how far one step of a job has come.

    Attributes:
        step: what the job is doing now, as a phrase: "embedding", "reading faces".
        done: number of items of this step that are done.
        total: number of items that this step has in all; None where it cannot be told.
        unit: plural noun for the items, such as "faces" or "photos".
        counts: further counts of this step by what was counted, such as "faces" or "rejected".
    """

    step: str
    done: int = 0
    total: int | None = None
    unit: str = "faces"
    counts: Mapping[str, int] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]
"""Callback that a job calls now and then with its progress, from its own thread or another."""


def ignore_progress(_: Progress) -> None:
    """Ignore a progress report: the `OnProgress` of callers that want no reports."""
