"""Embedders that are one network: what goes in, what comes out, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.models.alignment import Alignment, Crop
from faces.models.engines import Batch, Network
from faces.models.placement import PROVIDERS, Placement
from faces.models.preparation import prepare
from faces.models.weights import NetworkSource, Rewrite, smooth_images

Triple = tuple[float, float, float]

ACCELERATOR_BATCH_SIZE = 64
"""Crops run at once on a card, which has thousands of cores to fill."""


@dataclass(frozen=True)
class EmbedderSpec:
    """A network that embeds crops: an `EmbedderModel`.

    Attributes:
        name: as in `faces.models.registry`.
        locate: see `NetworkSource`.
        digest: of the weights and all that is said here of input and centre; see `ModelContract`.
        alignment: how crops are made, unless another is chosen. Its size is the network's.
        dimension: numbers in an embedding.
        output: name of the graph's output; None: its first.
        bgr: colour order of the input, RGB by default.
        channels_last: input (n, height, width, 3); by default (n, 3, height, width).
        low, high: what the pixel values 0 and 255 become.
        mean, std: then subtracted and divided by, in the input's colour order.
        whole_pixels: crops that are no whole numbers are rounded down first.
        flip_averaging: the embedding is that of a crop plus that of its mirror image.
        mean_vector: (dimension,) subtracted from that; (): nothing.
        batch_size: crops run at once on a processor; more gain nothing (measured with the
            architectures of `benchmarks/deepface_models.py`).
        rewrite, tolerance: see `NetworkSource`.
        cache_name: what its files in the cache are called, `name` by default.
    """

    name: str
    locate: Callable[[], Path]
    digest: str
    alignment: Alignment
    dimension: int
    output: str | None = None
    bgr: bool = False
    channels_last: bool = False
    low: float = 0.0
    high: float = 255.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    whole_pixels: bool = False
    flip_averaging: bool = False
    mean_vector: tuple[float, ...] = ()
    batch_size: int = 16
    rewrite: Rewrite | None = None
    tolerance: float = 1e-3
    cache_name: str = ""

    @property
    def source(self) -> NetworkSource:
        """Its network."""
        return NetworkSource(
            self.cache_name or self.name,
            self.locate,
            self.digest,
            self.sample_input,
            self.rewrite,
            self.tolerance,
        )

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> NetworkEmbedder:
        """See `faces.models.family.EmbedderModel`."""
        return NetworkEmbedder(self, threads=threads, placement=placement, alignment=alignment)

    def sample_input(self) -> Batch:
        """The input for some crops that are no faces."""
        # Of the built-in networks, tolerances and speeds are known with two.
        count = 2 if self.rewrite is not None else 8
        return self.network_input(smooth_images(count, self.alignment.height, self.alignment.width))

    def network_input(self, crops: Crop) -> Batch:
        """(n, height, width, 3) RGB crops, 0 to 255, to what the network takes."""
        if self.whole_pixels and crops.dtype != np.uint8:
            crops = crops.astype(np.uint8)
        if self.bgr:  # all of them as one tall image, which is seven times as fast as numpy
            tall = np.ascontiguousarray(crops).reshape(-1, *crops.shape[2:])
            crops = cv2.cvtColor(tall, cv2.COLOR_RGB2BGR).reshape(crops.shape)
        if not self.channels_last:
            crops = crops.transpose(0, 3, 1, 2)
        std = np.asarray(self.std)
        factor = (self.high - self.low) / 255 / std
        offset = (self.low - np.asarray(self.mean)) / std
        shape = (3,) if self.channels_last else (3, 1, 1)
        pixels = np.empty(crops.shape, np.float32)
        if (factor == factor[0]).all():  # three times as fast as one for each colour
            np.multiply(crops, np.float32(factor[0]), out=pixels, dtype=np.float32)
        else:
            np.multiply(crops, np.float32(factor).reshape(shape), out=pixels, dtype=np.float32)
        if offset.any():
            pixels += np.float32(offset).reshape(shape)
        return pixels


class NetworkEmbedder:
    """A network that embeds crops, loaded when it is first used.

    Args:
        spec: which.
        threads: processor cores to use.
        placement: where it runs.
        alignment: how crops are made, the spec's by default.

    Raises:
        ModelUnavailableError: its weights cannot be had.
        WrongUsageError: they are no network that can be run, or not there.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        *,
        threads: int,
        placement: Placement = Placement("cpu"),
        alignment: Alignment | None = None,
    ) -> None:
        self.prepared = prepare(spec.source, placement)
        self._spec = spec
        self._threads = threads
        on_card = self.prepared.placement.device in PROVIDERS
        self._batch_size = ACCELERATOR_BATCH_SIZE if on_card else spec.batch_size
        self.runs_on = str(self.prepared)
        self.name = spec.name
        self.weights_digest = spec.digest
        self.dimension = spec.dimension
        self.alignment = alignment or spec.alignment

    @cached_property
    def _network(self) -> Network:
        return self.prepared.open(threads=self._threads)

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """See `faces.models.pipeline.FaceEmbedder`."""
        size = self._batch_size
        batches = [self._run(crops[start : start + size]) for start in range(0, len(crops), size)]
        if not batches:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = np.concatenate(batches)
        if self._spec.mean_vector:
            vectors -= np.array(self._spec.mean_vector, np.float32)
        return vectors

    def _run(self, crops: Crop) -> Batch:
        """(n, dimension)."""
        batch = self._spec.network_input(crops)
        if not self._spec.flip_averaging:
            return self._output(batch)
        across = 2 if self._spec.channels_last else 3
        return self._output(batch) + self._output(np.ascontiguousarray(np.flip(batch, across)))

    def _output(self, batch: Batch) -> Batch:
        outputs = self._network.run(batch)
        output = self._spec.output or next(iter(outputs))
        return outputs[output].reshape(len(batch), self.dimension)
