"""Preparing networks, once on each machine: rewrite the graph, check it, and time the engines.

The built-in networks are published by OpenCV, with block-quantised weights behind DequantizeLinear,
for a batch size of 1 and (YuNet) one image size. Preparing makes their weights plain float32, and
their batch and image size dynamic. Of any other network, preparing changes only a batch size of 1
to a dynamic one, if the network then computes the same. Finally, the outputs of every engine are
compared with those of the published file, and the engines are timed to find the fastest on this
CPU. Later processes read the prepared network from the cache, once something outside of the cache
has vouched for it.

`onnx` is imported only while a network is being prepared.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.core.documents import json_text, parse
from faces.core.errors import ModelUnavailableError, WrongUsageError, cause_of, first_line
from faces.core.hashing import sha256_of
from faces.core.locks import file_lock
from faces.core.storage import Folder
from faces.models.engines import (
    ENGINES,
    Batch,
    Network,
    OneAtATime,
    OnnxRuntimeNetwork,
    OpenCvNetwork,
    output_shapes,
    resolve_placement,
)
from faces.models.placement import PROVIDERS, Placement
from faces.models.register import register, registered_at
from faces.models.weights import (
    NetworkSource,
    PreparationRecord,
    PreparedNetwork,
    Rewrite,
    prepared_path,
)

HALF_PRECISION_TOLERANCE = 0.03
"""Minimum tolerance of the comparison of fp16 outputs with the CPU's; see
`NetworkSource.tolerance`."""

_log = logging.getLogger(__name__)


def prepare(source: NetworkSource, placement: Placement = Placement("cpu")) -> PreparedNetwork:
    """Return a prepared network from the cache, or prepare it now.

    Args:
        source: the published network, and how it is prepared.
        placement: device and precision that the network will run with. Where device "auto" means a
            GPU that cannot run the network, or computes something else, the CPU is used instead.

    Raises:
        ModelUnavailableError: the published file cannot be fetched, or an engine that was asked for
            computes something else than the published file.
        WrongUsageError: the file is not a network that can be run, or not on that device.
    """
    requested, placement = placement, resolve_placement(placement)
    path = prepared_path(source.name)
    record_path = path.with_suffix(".json")
    record = _from_cache(record_path, source)
    if record is None or _is_untried(placement, record):  # only then is anything written or locked
        with _writing(record_path, source.name):
            record = _from_cache(record_path, source)
            if record is None:
                record = _prepare_now(source.locate(), record_path, source)
            if _is_untried(placement, record):
                try:
                    record = _try_device(source, placement, record, record_path)
                except (WrongUsageError, ModelUnavailableError) as error:
                    if requested.device != "auto":
                        raise
                    _log.warning("%s; running on the CPU instead", error)
                    placement = Placement("cpu")
    if placement.device == "openvino" and "openvino" not in record.milliseconds:
        raise WrongUsageError(
            f"OpenVINO cannot run {source.name}, or its outputs differ from the published file's; "
            "use --device cpu"
        )
    return PreparedNetwork(
        path,
        record.sha256,
        "openvino" if placement.device == "openvino" else record.engine,
        placement,
        record.one_at_a_time,
        record.milliseconds,
    )


@contextmanager
def _writing(record_path: Path, name: str) -> Iterator[None]:
    """Hold the lock under which a network is prepared.

    Raises:
        ModelUnavailableError: the cache cannot be written.
    """
    held = ExitStack()
    try:
        held.enter_context(file_lock(record_path.with_suffix(".lock"), needed=False))
    except OSError as error:
        raise ModelUnavailableError(
            f"the network {name} has to be prepared in {record_path.parent}, which cannot be "
            f"written ({cause_of(error)}); whoever may write there should run `facetrove models "
            "MODEL`, or name a folder of your own in the environment variable FACETROVE_CACHE"
        ) from error
    with held:
        yield


def _from_cache(record_path: Path, source: NetworkSource) -> PreparationRecord | None:
    """Read the record of a prepared network, if something outside of the cache vouches for it.

    Of a built-in network, the program knows the prepared file's digest, and the record only says
    which engine is the fastest. Other records have to be registered.

    Returns:
        The record; None if it is missing or invalid, or is not of this source, or if the prepared
        file has another digest than the record says, or if nothing vouches for it.
    """
    try:
        content = record_path.read_bytes()
        record = parse(content, PreparationRecord)
        vouched_for = record.sha256 == _built_in_result(source) or registered_at(content)
        valid = (
            vouched_for
            and record.source == source.digest
            and record.engine in ENGINES
            and record.sha256 == sha256_of(record_path.with_suffix(".onnx"))
        )
        return record if valid else None
    except (OSError, ValueError):
        return None


def _built_in_result(source: NetworkSource) -> str | None:
    return source.rewrite.result if source.rewrite is not None else None


def _is_untried(placement: Placement, record: PreparationRecord) -> bool:
    """Tell whether a network has still to be compared on an accelerator with the CPU."""
    return placement.device in PROVIDERS and _key(placement) not in record.milliseconds


def _prepare_now(original: Path, record_path: Path, source: NetworkSource) -> PreparationRecord:
    path = record_path.with_suffix(".onnx")
    with tempfile.TemporaryDirectory(dir=record_path.parent) as work_dir:
        draft = Path(work_dir) / path.name
        if source.rewrite is not None:
            _rewrite(original, draft, source.rewrite)
            one_at_a_time = False
            milliseconds = _check_and_time_all(source, original, draft)
        else:
            one_at_a_time, milliseconds = _with_free_batch(source, original, draft)
        record = PreparationRecord(
            source.digest,
            sha256_of(draft),
            engine=min(milliseconds, key=milliseconds.__getitem__),
            one_at_a_time=one_at_a_time,
            milliseconds=milliseconds,
        )
        content = _registered(record, record_path, source)
        draft.replace(path)
        _write_record(content, record_path)
    return record


def _registered(record: PreparationRecord, record_path: Path, source: NetworkSource) -> bytes:
    """Return the content of a record's file, after registering it if the program cannot vouch."""
    content = json_text(asdict(record)).encode()
    if record.sha256 != _built_in_result(source):
        register(content, record_path.name)
    return content


def _write_record(content: bytes, record_path: Path) -> None:
    with Folder(record_path.parent).put(record_path.name) as file:
        file.write(content)


def _rewrite(original: Path, draft: Path, rewrite: Rewrite) -> None:
    """Rewrite the published graph of a built-in network, and write the result to `draft`."""
    from faces.models.onnx_graph import (
        fold_batch_norm,
        free_batch,
        load_folded,
        quantise,
        write_model,
    )

    model = free_batch(load_folded(original), image_size=rewrite.image_size)
    if rewrite.input_ranges:
        quantise(fold_batch_norm(model), rewrite.input_ranges, rewrite.max_pair_sum)
    write_model(model, draft)


def _check_and_time_all(source: NetworkSource, original: Path, draft: Path) -> dict[str, float]:
    """Check every engine against OpenCV on the published file, and time it.

    Returns:
        Milliseconds that a row of the sample takes, by the engine's name.

    Raises:
        ModelUnavailableError: an engine's outputs differ from OpenCV's.
    """
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
    """Write the network to `draft`, with a dynamic batch size if it then computes the same.

    Returns:
        Whether the written network keeps a batch size of 1; and milliseconds that a row of the
        sample takes, by the name of each engine that agrees with ONNX Runtime on the published
        file.
    """
    from faces.models.onnx_graph import free_batch, has_free_batch, load_folded, write_model

    is_free = has_free_batch(original)  # before it is run: this refuses a file that is not whole
    sample = source.sample()
    output_shapes(original, sample)
    reference = OnnxRuntimeNetwork(original, threads=1)
    expected = [reference.run(row[np.newaxis]) for row in sample]
    try:
        if is_free:
            shutil.copyfile(original, draft)
        else:
            write_model(free_batch(load_folded(original)), draft)
        return False, _check_and_time_some(source, draft, sample, expected)
    except Exception as error:  # any node may depend on the batch size, and fail in its own way
        _log.info("%s keeps a batch size of 1 (%s)", source.name, first_line(error))
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
    """Check each engine, and time those that agree with the published file.

    Args:
        source: the network's source, for its tolerance and name.
        draft: path of the prepared network.
        sample: (n, ...) float32 input.
        expected: the published file's outputs for each row of the sample, by name.
        one_at_a_time: whether the prepared network has a batch size of 1.

    Returns:
        Milliseconds that a row of the sample takes, by the name of each engine that agrees.

    Raises:
        ModelUnavailableError: ONNX Runtime does not agree.
    """
    milliseconds = {}
    for name, engine in ENGINES.items():
        try:
            network: Network = engine(draft, threads=1)
            network = OneAtATime(network) if one_at_a_time else network
            milliseconds[name] = _check_and_time(
                network, sample, expected, source.tolerance, source.name
            )
        except Exception as error:  # an engine may not support every operation
            if name == "onnxruntime":
                raise
            _log.info("%s cannot be run by %s (%s)", source.name, name, first_line(error))
    return milliseconds


def _try_device(
    source: NetworkSource, placement: Placement, record: PreparationRecord, record_path: Path
) -> PreparationRecord:
    """Check an accelerator's outputs against the CPU's, and add its time to the record.

    Returns:
        The new record, which is written too.

    Raises:
        ModelUnavailableError: the outputs differ.
        WrongUsageError: the network cannot run on the device.
    """
    path = record_path.with_suffix(".onnx")
    sample = source.sample()
    on_cpu = PreparedNetwork(
        path, record.sha256, record.engine, Placement("cpu"), record.one_at_a_time, {}
    )
    on_device = replace(on_cpu, placement=placement)
    expected = [on_cpu.open(threads=1).run(sample)]
    half = placement.precision == "fp16"
    tolerance = max(source.tolerance, HALF_PRECISION_TOLERANCE) if half else source.tolerance
    key = _key(placement)
    network = on_device.open(threads=1)
    taken = _check_and_time(network, sample, expected, tolerance, f"{source.name} ({key})")
    record = replace(record, milliseconds={**record.milliseconds, key: taken})
    _write_record(_registered(record, record_path, source), record_path)
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
    """Check a network's outputs for a sample, then time the network.

    Args:
        network: the network to check.
        sample: (n, ...) float32 input.
        expected: expected outputs by name, whose rows together are those of the sample.
        tolerance: see `NetworkSource.tolerance`.
        what: name of the network or engine, for the error message.

    Returns:
        Milliseconds that a row of the sample takes.

    Raises:
        ModelUnavailableError: an output differs by more than the tolerance.
    """
    for output, values in network.run(sample).items():
        reference: NDArray[np.float32] = np.concatenate([rows[output] for rows in expected])
        same_shape = values.shape == reference.shape
        largest = np.abs(values - reference).max() if same_shape else np.inf
        difference = largest / max(1.0, np.abs(reference).max())
        if not difference <= tolerance:
            raise ModelUnavailableError(
                f"{what} differs from the published file by {difference:.2g} in output {output}, "
                f"more than {tolerance:g}: this device or engine version computes it wrongly; "
                "please report it"
            )
    return _median_milliseconds(network, sample) / len(sample)


def _median_milliseconds(network: Network, batch: Batch) -> float:
    """Compute the median time of a run in milliseconds.

    The network runs seven times, or fewer if that takes over two seconds, but at least three times.
    """
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < 7 and sum(seconds) < 2):
        start = time.perf_counter()
        network.run(batch)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1000
