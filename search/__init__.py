"""Look faces up in an index: `FaceSearcher.open(index).search(photo)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.searcher import FaceSearcher as FaceSearcher


def __getattr__(name: str) -> object:
    """Load `FaceSearcher` when it is first asked for, so that `import search` is light."""
    if name == "FaceSearcher":
        from search.searcher import FaceSearcher

        return FaceSearcher
    raise AttributeError(f"module 'search' has no attribute {name!r}")
