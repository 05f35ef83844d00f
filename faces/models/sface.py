"""SFace, an embedder of 112x112 crops in 128 dimensions, in float or in 8-bit arithmetic."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from faces.models.alignment import ARCFACE_112
from faces.models.embedder import EmbedderSpec
from faces.models.weights import SFACE_FILE, Rewrite, published

BATCH_SIZE = 4
"""Number of crops in a batch on a CPU, as many as fit into a core's cache between layers (measured:
13.5 ms a face with 4, 14.3 ms with 1 and with 16)."""


INPUT_RANGES = (
    (-0.9961, 0.9961),
    (-4.803, 7.124),
    (-4.907, 7.542),
    (-3.041, 7.715),
    (-3.042, 8.637),
    (-2.451, 6.23),
    (-2.756, 8.461),
    (-2.674, 5.934),
    (-4.337, 7.36),
    (-2.599, 6.018),
    (-2.573, 8.38),
    (-2.521, 7.223),
    (-4.469, 8.426),
    (-2.2, 6.97),
    (-2.955, 9.947),
    (-2.486, 6.726),
    (-3.391, 10.47),
    (-2.664, 7.27),
    (-3.947, 12.17),
    (-2.2, 7.617),
    (-2.83, 10.21),
    (-1.977, 7.486),
    (-2.569, 9.787),
    (-1.59, 7.302),
    (-3.148, 9.045),
    (-1.138, 6.611),
    (-0.7552, 8.329),
    (-0.5553, 0.5971),
)
"""Ranges (min, max) to which the inputs of SFace's layers are quantised: the medians, over 500
faces, of a face's smallest and largest value. Computed by `benchmarks/sface_constants.py`."""

MEAN_VECTOR = (
    *(-0.82, -0.22, 0.43, 0.24, 0.61, 0.40, 0.20, 0.21),
    *(-0.55, 0.05, -0.23, 0.46, -0.08, 0.00, 0.19, -0.16),
    *(-0.66, -0.21, -1.04, 0.10, 0.02, 0.10, 0.21, -0.27),
    *(-0.02, -0.31, -0.13, -0.14, -0.02, -0.19, 0.01, 0.59),
    *(0.11, -0.13, 0.14, 0.12, -0.38, 0.41, 0.20, -0.03),
    *(0.37, -0.31, -0.23, 0.09, 0.26, -0.07, -0.25, 0.39),
    *(-0.12, 0.09, -0.34, 0.20, 0.00, 0.16, -0.16, -0.34),
    *(0.37, -0.26, -0.19, 0.02, -0.03, 0.58, -1.02, 0.07),
    *(0.20, -0.22, 0.11, -0.10, 0.18, -0.19, 0.52, -0.15),
    *(0.05, -0.33, 0.44, -0.32, -0.23, -0.01, -0.75, 0.08),
    *(-0.29, 0.00, -0.30, 0.09, -0.52, -0.07, 0.38, -0.19),
    *(-0.16, -0.11, 0.02, 0.41, 0.71, 0.36, -0.33, -0.34),
    *(-0.05, 0.49, -0.19, 0.11, 0.08, -0.23, -0.32, -0.66),
    *(-0.08, -0.44, -0.08, 0.09, 0.62, -0.32, 0.55, -0.30),
    *(-0.35, -0.05, 0.60, 0.38, -0.34, -0.03, 0.17, -0.04),
    *(-0.28, -0.48, 0.60, -0.15, 0.47, -0.41, -0.22, 0.28),
)
"""Mean vector, (128,), of the network's outputs over 2,181 people of LFW, computed by
`benchmarks/sface_constants.py`. It is subtracted, since what all faces have in common tells nobody
apart: at FPIR 0.01, the FNIR falls by a fifth."""


MAX_PAIR_SUM = 127
"""Maximum sum of two integer weights; see `faces.models.onnx_graph.quantise`. With this limit, all
CPUs give the same embeddings. Without it, embeddings on CPUs without VNNI had a similarity of 0.90
to the float network's, instead of 0.996."""


def _digest(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


SFACE = EmbedderSpec(
    name="sface",
    locate=published(SFACE_FILE),
    digest=_digest(SFACE_FILE.sha256, MEAN_VECTOR),
    alignment=ARCFACE_112,
    dimension=128,
    output="fc1",
    # The input is RGB, 0 to 255, as by default: the graph itself scales it.
    mean_vector=MEAN_VECTOR,
    batch_size=BATCH_SIZE,
    rewrite=Rewrite(result="27857cc9df454875d206912ae065cdba159879507603daffaf9d312c0c6d7603"),
)
"""SFace in float arithmetic, as published, less the mean vector; see `faces.models.weights` for its
source and licence."""

SFACE_INT8 = replace(
    SFACE,
    name="sface-int8",
    digest=_digest(SFACE_FILE.sha256, INPUT_RANGES, MAX_PAIR_SUM, MEAN_VECTOR),
    rewrite=Rewrite(
        input_ranges=INPUT_RANGES,
        max_pair_sum=MAX_PAIR_SUM,
        result="0884bc87be9ac2240847c445ca9726878c5f5a3d07dc9e51c36b9b0c75067092",
    ),
    # Measured differences: 0.22 on the generated images, 0.07 (similarity 0.997) on faces.
    tolerance=0.35,
)
"""SFace in 8-bit arithmetic, 2.4 times as fast on a CPU with VNNI instructions. The embeddings are
close to the float network's, but have another contract."""

SFACE_INT8_MIRRORED = replace(
    SFACE_INT8, name="sface-int8-mirrored", flip_averaging=True, cache_name=SFACE_INT8.name
)
"""The same network, which embeds every face and its mirror image. Its name is another, and so is
the contract."""
