"""The options of an index, and the recipes by which its segments are searched.

Inner product on unit vectors is the only metric. `exact` compares with every face. Any other
recipe is a FAISS factory string: its index proposes candidates, and these are compared exactly,
so similarities are exact always and only the choice of candidates is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from faces.core.errors import WrongUsageError

EXACT, AUTO = "exact", "auto"

RecallOf = Literal["matches", "neighbours"]


@dataclass(frozen=True)
class IndexOptions:
    """The options of an index; stored with it, and in force until others are given.

    Attributes:
        recipe: `auto`, `exact` or a FAISS factory string.
        target_recall: least share of what exact search finds, in (0, 1].
        recall_of: what is counted: `matches`, those of the ten nearest that are above the
            operating threshold, or all ten `neighbours`, which are mostly strangers.
        memory_bytes: what the search may hold in memory, vectors on disk apart; None: anything.
        threshold: least similarity of a match; None: the model's, at the gallery's size.
    """

    recipe: str = AUTO
    target_recall: float = 0.999
    recall_of: RecallOf = "matches"
    memory_bytes: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise WrongUsageError(
                f"the target recall is {self.target_recall}; give a share above 0 and up to 1"
            )

    def changed_by(self, given: GivenOptions) -> IndexOptions:
        """A copy with every option of `given` that is not None applied."""
        changes: dict[str, Any] = {n: value for n, value in given.items() if value is not None}
        if "memory" in changes:
            changes["memory_bytes"] = changes.pop("memory")
        return replace(self, **changes)


class GivenOptions(TypedDict, total=False):
    """Options of an index as a caller gives them; those missing or None stay as they were.

    They are the fields of `IndexOptions`, under the command's names: `memory` is in bytes.
    """

    recipe: str | None
    target_recall: float | None
    recall_of: RecallOf | None
    memory: int | None
    threshold: float | None


@dataclass(frozen=True)
class Recipe:
    """How a segment is searched.

    Attributes:
        factory: `exact`, or the FAISS factory string of its candidates.
        nprobe: groups looked at, of recipes that group faces.
        ef_search: faces kept in view, of graphs.
        candidates: candidates compared exactly for every match wanted.
        exact_share: where a filter leaves a smaller share of the faces, comparing with all of
            these is faster.
        reason: why this one.
    """

    factory: str = EXACT
    nprobe: int | None = None
    ef_search: int | None = None
    candidates: int = 1
    exact_share: float = 1.0
    reason: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether every face is compared."""
        return self.factory == EXACT
