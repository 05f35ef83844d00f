"""The options of an index, and the recipes by which its segments are searched.

The only metric is the inner product of unit vectors. The recipe `exact` compares a probe with every
face. Any other recipe is a FAISS factory string: its index proposes candidates, which are compared
with the probe exactly. So similarities are always exact; only the choice of candidates is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from faces.core.documents import Count, Share
from faces.core.errors import WrongUsageError

EXACT, AUTO = "exact", "auto"

Setting = Annotated[int, Meta(ge=1, le=10**6)]
"""A setting of a search: a number of lists or of faces that are looked at for each match."""

RecallOf = Literal["matches", "neighbours"]


@dataclass(frozen=True)
class IndexOptions:
    """The options of an index, stored in its manifest and kept until others are given.

    Attributes:
        recipe: `auto`, `exact` or a FAISS factory string.
        target_recall: smallest acceptable share of what exact search finds, in (0, 1].
        recall_of: which faces the recall counts: `matches`, those of the ten nearest that reach
            the operating threshold, or all ten `neighbours`, which are mostly strangers.
        memory_bytes: largest size in bytes of what a search holds in memory, the memory-mapped
            embeddings not counted; None: no limit.
        threshold: the operating threshold, a similarity; None: see
            `indexer.model_rates.operating_threshold`.

    Raises:
        WrongUsageError: `target_recall` is out of range.
    """

    recipe: str = AUTO
    target_recall: float = 0.999
    recall_of: RecallOf = "matches"
    memory_bytes: Count | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise WrongUsageError(
                f"the target recall is {self.target_recall}; give a share above 0 and up to 1"
            )

    def changed_by(self, given: GivenOptions) -> IndexOptions:
        """Return a copy with every option of `given` that is not None applied."""
        changes: dict[str, Any] = {n: value for n, value in given.items() if value is not None}
        if "memory" in changes:
            changes["memory_bytes"] = changes.pop("memory")
        return replace(self, **changes)


class GivenOptions(TypedDict, total=False):
    """The options of an index as a caller gives them; a missing one or None keeps its value.

    These are the fields of `IndexOptions` by the names of the command's options; `memory`, in
    bytes, is `memory_bytes` there.
    """

    recipe: str | None
    target_recall: float | None
    recall_of: RecallOf | None
    memory: int | None
    threshold: float | None


@dataclass(frozen=True)
class Recipe:
    """A method and its settings by which a segment is searched.

    Attributes:
        factory: `exact`, or the FAISS factory string of the index that proposes candidates.
        nprobe: number of inverted lists that are searched for each probe; None: not IVF.
        ef_search: size of the candidate queue of a graph search (efSearch); None: not HNSW.
        candidates: number of candidates that are compared exactly for each match asked for.
        exact_share: share of the segment's rows, [0, 1]; if a mask selects a smaller one, exact
            search among these rows is faster.
        reason: why this recipe was chosen, for people.
    """

    factory: str = EXACT
    nprobe: Setting | None = None
    ef_search: Setting | None = None
    candidates: Setting = 1
    exact_share: Share = 1.0
    reason: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether a search compares with every face."""
        return self.factory == EXACT
