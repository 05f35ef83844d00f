"""FAISS, imported here alone, once its OpenBLAS has the kernels that suit the processor."""

from indexer.blas import choose_kernels

choose_kernels()
import faiss  # noqa: E402

__all__ = ["faiss"]
