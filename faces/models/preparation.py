"""Preparing networks: once for each machine, then they are read from the cache.

The built-in ones are OpenCV's, which store block-quantised weights behind DequantizeLinear, for a
batch of one and (YuNet) one image size. Prepared, the weights are plain float32 and batch and
image size are free. Of any other network only a batch size of one is freed, where it then still
computes the same. Preparing ends with a check that every engine agrees with the original file,
and with a stopwatch that finds the fastest engine on this processor.

`onnx` is loaded where a network is made, so by the first process that uses it.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from faces.core.errors import ModelUnavailableError, WrongUsageError, first_line
from faces.core.files import atomic_write
from faces.core.hashing import sha256_of
from faces.models.engines import (
    ENGINES,
    Batch,
    Network,
    OneAtATime,
    OnnxRuntimeNetwork,
    OpenCvNetwork,
    output_shapes,
    placement_here,
)
from faces.models.placement import PROVIDERS, Placement
from faces.models.weights import NetworkSource, PreparedNetwork, Rewrite, prepared_path

HALF_PRECISION_TOLERANCE = 0.03
"""As of `NetworkSource.tolerance`, for fp16."""

_log = logging.getLogger(__name__)


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
            _rewrite(original, draft, source.rewrite)
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


def _rewrite(original: Path, draft: Path, rewrite: Rewrite) -> None:
    """Write the network that is run, out of a published one."""
    from faces.models.onnx_graph import (
        fold_batch_norm,
        free_batch,
        load_folded,
        quantise,
        write_model,
    )

    model = free_batch(load_folded(original), image_size=rewrite.image_size)
    if rewrite.input_ranges:
        quantise(fold_batch_norm(model), rewrite.input_ranges, rewrite.max_of_a_pair)
    write_model(model, draft)


def _check_and_time_all(source: NetworkSource, original: Path, draft: Path) -> dict[str, float]:
    """Milliseconds on each engine; every one of them must agree with OpenCV on the original."""
    from faces.models.onnx_graph import first_input

    sample = source.sample()
    reference = OpenCvNetwork(original, input_name=first_input(original))
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
    from faces.models.onnx_graph import free_batch, has_free_batch, load_folded, write_model

    sample = source.sample()
    output_shapes(original, sample)
    reference = OnnxRuntimeNetwork(original, threads=1)
    expected = [reference.run(row[np.newaxis]) for row in sample]
    try:
        if has_free_batch(original):
            shutil.copyfile(original, draft)
        else:
            write_model(free_batch(load_folded(original)), draft)
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
