"""Embedders that are one network: their preprocessing, batching and postprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.models.alignment import Alignment, Crop
from faces.models.engines import Batch, Network
from faces.models.placement import PROVIDERS, Placement
from faces.models.preparation import prepare
from faces.models.weights import NetworkSource, Rewrite, smooth_images
from faces.photos.opencv import cv2

Triple = tuple[float, float, float]

ACCELERATOR_BATCH_SIZE = 64
"""Crops in a batch on a GPU, whose thousands of cores a small batch would not fill."""


@dataclass(frozen=True)
class EmbedderSpec:
    """An `EmbedderModel` that is one network, with the preprocessing that its input needs.

    Attributes:
        name: the embedder's name, as in `faces.models.registry`.
        locate: function that returns the path of the published file, see `NetworkSource`.
        digest: hexadecimal sha256 of the weights, and of what else may vary in the embeddings of
            one name; see `ModelContract.embedder_digest`.
        alignment: the alignment that crops are made with unless another is chosen; it has the size
            of the network's input.
        dimension: number of dimensions of an embedding.
        output: name of the graph's output that is the embedding; None: the first output.
        bgr: whether the input's colour order is BGR instead of RGB.
        channels_last: whether the input is (n, height, width, 3) instead of (n, 3, height, width).
        low, high: values that the pixel values 0 and 255 are scaled to.
        mean, std: values that are then subtracted and divided by, in the input's colour order.
        whole_pixels: whether the pixel values of a float crop are first rounded down.
        flip_averaging: whether the embedding of the mirrored crop is added.
        mean_vector: (dimension,) vector that is then subtracted from the embedding; (): none.
        batch_size: number of crops in a batch on a CPU; larger batches gain nothing (measured with
            the architectures of `benchmarks/deepface_models.py`).
        rewrite, tolerance: see `NetworkSource`.
        cache_name: name of the network's files in the cache; "": the same as `name`.
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
        """The source that the network is prepared from."""
        return NetworkSource(
            self.cache_name or self.name,
            self.locate,
            self.digest,
            self.sample_input,
            self.rewrite,
            self.tolerance,
        )

    def load(self, *, threads: int, placement: Placement, alignment: Alignment) -> NetworkEmbedder:
        """Load the embedder; see `faces.models.family.EmbedderModel.load`."""
        return NetworkEmbedder(self, threads=threads, placement=placement, alignment=alignment)

    def sample_input(self) -> Batch:
        """Make a network input from generated crops, to compare and time engines with."""
        # The tolerances of the built-in networks were measured with two crops.
        count = 2 if self.rewrite is not None else 8
        return self.network_input(smooth_images(count, self.alignment.height, self.alignment.width))

    def network_input(self, crops: Crop) -> Batch:
        """Convert crops to the network's input.

        Args:
            crops: (n, height, width, 3) RGB, 0 to 255.

        Returns:
            (n, 3, height, width) float32, or (n, height, width, 3) if `channels_last`.
        """
        if self.whole_pixels and crops.dtype != np.uint8:
            crops = crops.astype(np.uint8)
        if self.bgr:  # converting one tall image by OpenCV is seven times as fast as by numpy
            tall = np.ascontiguousarray(crops).reshape(-1, *crops.shape[2:])
            crops = cv2.cvtColor(tall, cv2.COLOR_RGB2BGR).reshape(crops.shape)
        if not self.channels_last:
            crops = crops.transpose(0, 3, 1, 2)
        std = np.asarray(self.std)
        factor = (self.high - self.low) / 255 / std
        offset = (self.low - np.asarray(self.mean)) / std
        shape = (3,) if self.channels_last else (3, 1, 1)
        pixels = np.empty(crops.shape, np.float32)
        if (factor == factor[0]).all():  # a scalar is three times as fast as a factor a colour
            np.multiply(crops, np.float32(factor[0]), out=pixels, dtype=np.float32)
        else:
            np.multiply(crops, np.float32(factor).reshape(shape), out=pixels, dtype=np.float32)
        if offset.any():
            pixels += np.float32(offset).reshape(shape)
        return pixels


class NetworkEmbedder:
    """An embedder that runs one network, which is loaded when it is first used.

    Args:
        spec: the network and its preprocessing.
        threads: number of CPU cores to use.
        placement: device and precision that the network runs with.
        alignment: the alignment that crops are made with; None: that of `spec`.

    Attributes:
        prepared: the prepared network in the cache.

    Raises:
        ModelUnavailableError: the weights cannot be fetched, or no engine computes them correctly.
        WrongUsageError: the network cannot be run, or not on that device.
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
        on_gpu = self.prepared.placement.device in PROVIDERS
        self._batch_size = ACCELERATOR_BATCH_SIZE if on_gpu else spec.batch_size
        self.runs_on = str(self.prepared)
        self.name = spec.name
        self.weights_digest = spec.digest
        self.dimension = spec.dimension
        self.alignment = alignment or spec.alignment

    @cached_property
    def _network(self) -> Network:
        return self.prepared.open(threads=self._threads)

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """Embed crops in batches; see `faces.models.pipeline.FaceEmbedder.embed`."""
        size = self._batch_size
        batches = [self._run(crops[start : start + size]) for start in range(0, len(crops), size)]
        if not batches:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = np.concatenate(batches)
        if self._spec.mean_vector:
            if self._spec.flip_averaging:
                vectors /= 2  # the mean vector is that of one output, not of a sum of two
            vectors -= np.array(self._spec.mean_vector, np.float32)
        return vectors

    def _run(self, crops: Crop) -> Batch:
        """Embed one batch of crops; returns (n, dimension) float32."""
        batch = self._spec.network_input(crops)
        if not self._spec.flip_averaging:
            return self._output(batch)
        width_axis = 2 if self._spec.channels_last else 3
        return self._output(batch) + self._output(np.ascontiguousarray(np.flip(batch, width_axis)))

    def _output(self, batch: Batch) -> Batch:
        outputs = self._network.run(batch)
        output = self._spec.output or next(iter(outputs))
        return outputs[output].reshape(len(batch), self.dimension)
