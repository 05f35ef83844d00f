"""FAISS, which is imported here alone, when it is first used.

Before that, its OpenBLAS gets the kernels that suit the processor. A search of a small index, or of
one with a filter that selects few faces, does without FAISS, whose import takes as long as a tenth
of such a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.blas import choose_kernels

if TYPE_CHECKING:
    import faiss
else:

    class _Faiss:
        """The package `faiss`, whose names are looked up when they are first used."""

        def __getattr__(self, name: str) -> Any:
            choose_kernels()
            import faiss

            value = getattr(faiss, name)
            setattr(self, name, value)
            return value

    faiss = _Faiss()

__all__ = ["faiss"]
