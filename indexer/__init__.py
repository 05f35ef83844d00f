"""Dataset to index. `build_index` is the one call a user needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.build import build_index as build_index


def __getattr__(name: str) -> object:
    """Load `build_index` when it is first asked for, so that `import indexer` is light."""
    if name == "build_index":
        from indexer.build import build_index

        return build_index
    raise AttributeError(f"module 'indexer' has no attribute {name!r}")
