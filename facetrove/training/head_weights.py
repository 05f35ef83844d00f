"""The weights of a head, and the ONNX file that they become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.storage import put_file
from faces.models.onnx_writing import network_of_matrices


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """A head: embeddings times a matrix, and, with two layers, a small network's output added.

    Attributes:
        linear: (d, d) float32, multiplied with embeddings from the right; 1 for no change.
        hidden: (d, h) float32 weights of the hidden layer; None: there is none.
        bias: (h,) float32 bias of the hidden layer, before its ReLU; None likewise.
        added: (h, d) float32 weights from the hidden layer to what is added; None likewise.
    """

    linear: NDArray[np.float32]
    hidden: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    added: NDArray[np.float32] | None = None

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the (n, d) float32 vectors, of any length, of (n, d) embeddings."""
        vectors = embeddings @ self.linear
        if self.hidden is not None and self.bias is not None and self.added is not None:
            vectors = vectors + np.maximum(embeddings @ self.hidden + self.bias, 0) @ self.added
        return np.asarray(vectors, np.float32)

    def towards_identity(self, strength: float) -> HeadWeights:
        """Return the head between no head, at strength 0, and this one, at strength 1.

        The weights are interpolated, as Wortsman et al. do between a model before and after fine
        tuning ("Robust fine-tuning of zero-shot models", CVPR 2022).
        """
        same = np.eye(len(self.linear), dtype=np.float32)
        linear = same + np.float32(strength) * (self.linear - same)
        added = None if self.added is None else np.float32(strength) * self.added
        return HeadWeights(linear, self.hidden, self.bias, added)

    def write(self, path: Path) -> None:
        """Write the head as an ONNX file: `embeddings` (n, d) to `output` (n, d)."""
        nodes: list[tuple[str, tuple[str, ...], str]]
        nodes = [("MatMul", ("embeddings", "linear"), "output")]
        if self.added is not None:
            nodes = [
                ("MatMul", ("embeddings", "linear"), "same_size"),
                ("MatMul", ("embeddings", "hidden"), "features"),
                ("Add", ("features", "bias"), "biased"),
                ("Relu", ("biased",), "active"),
                ("MatMul", ("active", "added"), "difference"),
                ("Add", ("same_size", "difference"), "output"),
            ]
        weights = {name: value for name, value in vars(self).items() if value is not None}
        content = network_of_matrices(nodes, weights, len(self.linear))
        with put_file(path) as file:
            file.write(content)
