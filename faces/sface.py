"""SFace: crops of 112x112 pixels to 128 numbers, in float or in 8-bit arithmetic."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from faces.alignment import ARCFACE_112
from faces.embedder import EmbedderSpec
from faces.weights import SFACE_FILE, published

if TYPE_CHECKING:
    from onnx import ModelProto

BATCH_SIZE = 4
"""Crops run at once: as many as stay in a core's cache between layers (measured: 14.3 ms a face
for 1 and for 16, 13.5 for 4)."""


INPUT_RANGES = (
    (-0.9961, 0.9961),
    (-4.755, 7.045),
    (-4.871, 7.55),
    (-3.029, 7.699),
    (-3.063, 8.622),
    (-2.471, 6.219),
    (-2.766, 8.491),
    (-2.694, 5.89),
    (-4.35, 7.322),
    (-2.59, 6.069),
    (-2.531, 8.506),
    (-2.531, 7.178),
    (-4.504, 8.402),
    (-2.207, 6.914),
    (-2.951, 9.918),
    (-2.491, 6.725),
    (-3.336, 10.49),
    (-2.683, 7.364),
    (-4.02, 12.18),
    (-2.206, 7.644),
    (-2.844, 10.34),
    (-1.988, 7.48),
    (-2.595, 10.01),
    (-1.725, 7.426),
    (-3.076, 9.065),
    (-1.141, 6.544),
    (-0.7466, 8.173),
    (-0.5488, 0.5929),
)
"""Inputs of SFace's layers, by which they are quantised: the medians over 500 faces of each
face's smallest and largest value, found by `benchmarks/sface_ranges.py`."""


MOST_OF_A_PAIR = 127
"""See `faces.onnx_graph.quantise`: with it all processors give the same embeddings; without, those
without VNNI gave a similarity of 0.90 to the float network's instead of 0.996."""


def _free_batch(model: ModelProto) -> ModelProto:
    from faces.onnx_graph import free_batch

    return free_batch(model)


def _quantise(model: ModelProto) -> ModelProto:
    from faces.onnx_graph import fold_batch_norm, free_batch, quantise

    return quantise(fold_batch_norm(free_batch(model)), INPUT_RANGES, MOST_OF_A_PAIR)


SFACE = EmbedderSpec(
    name="sface",
    locate=published(SFACE_FILE),
    digest=SFACE_FILE.sha256,
    alignment=ARCFACE_112,
    dimension=128,
    output="fc1",
    batch_size=BATCH_SIZE,  # RGB 0 to 255: the graph itself scales
    rewrite=_free_batch,
)
"""The network in float arithmetic, as published; see `faces.weights` for source and licence."""

SFACE_INT8 = replace(
    SFACE,
    name="sface-int8",
    digest=hashlib.sha256(
        f"{SFACE_FILE.sha256} {INPUT_RANGES} {MOST_OF_A_PAIR}".encode()
    ).hexdigest(),
    rewrite=_quantise,
    # Measured: 0.22 on these images, 0.07 (similarity 0.997) on faces.
    tolerance=0.35,
)
"""The network in 8-bit arithmetic: 2.4 times as fast on a processor with VNNI instructions. Its
embeddings are like the float network's, but of another contract."""
