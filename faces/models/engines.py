"""Inference engines: the libraries that run networks, behind one interface of float32 arrays.

OpenVINO and ONNX Runtime are imported nowhere else. Each is imported by the first network that runs
on it, so that a process loads only the engines that it uses.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faces.core.environment import loading_libraries
from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import ModelDevice
from faces.models.compiled import CompiledFile
from faces.models.placement import PROVIDERS, Placement
from faces.photos.opencv import cv2

_log = logging.getLogger(__name__)

_NOT_IMPORTED = (
    "openvino_telemetry",  # reports OpenVINO's use over the internet
    "openvino.tools.ovc",  # the converter of models, half of the time of the import
)
"""Modules that OpenVINO imports if it can, and that we do not need."""

Batch = NDArray[np.float32]
"""Float32 input or output of a network, whose first axis runs over the batch."""


class Network(Protocol):
    """A loaded network with one input."""

    def run(self, batch: Batch) -> dict[str, Batch]:
        """Run the network on a batch.

        Args:
            batch: (n, ...) float32.

        Returns:
            Each output, (n, ...) float32, by its name in the graph.
        """
        ...


def _openvino() -> Any:
    """Import OpenVINO without `_NOT_IMPORTED`, which it goes without if they cannot be imported."""
    absent = [name for name in _NOT_IMPORTED if name not in sys.modules]
    is_first = "openvino" not in sys.modules
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        with loading_libraries():
            import openvino
    finally:
        for name in absent:
            sys.modules.pop(name, None)
    if is_first and not hasattr(openvino, "convert_model"):
        openvino.__getattr__ = _converter
    return openvino


def _converter(name: str) -> Any:
    """Import OpenVINO's converter of models when another program asks the package for it."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    from openvino.tools.ovc import convert_model

    return convert_model


def _onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off; see `faces.core.environment`."""
    with loading_libraries():
        import onnxruntime
    return onnxruntime


def _imported(core: Any, content: bytes, settings: dict[str, object]) -> Any:
    """Return a network that was compiled before; None if OpenVINO cannot use it here."""
    try:
        return core.import_model(content, "CPU", settings)
    except RuntimeError as error:
        _log.info("a compiled network cannot be used: %s", first_line(error))
        return None


class OpenVinoNetwork:
    """A `Network` run by OpenVINO on the CPU.

    OpenVINO is Intel's engine, and the fastest for convolutions on the AMD CPUs measured too.

    Args:
        path: path of the ONNX file.
        threads: number of CPU cores to use.
        compiled: where the compiled network is kept; None: nowhere.
    """

    def __init__(self, path: Path, *, threads: int, compiled: CompiledFile | None = None) -> None:
        openvino = _openvino()
        settings: dict[str, object] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # With pinning, the threads of all worker processes would share the first cores.
            "ENABLE_CPU_PINNING": False,
            # By default OpenVINO computes in bfloat16 where the CPU supports it, which changes
            # embeddings by far more than any two engines differ.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core, version = openvino.Core(), openvino.get_version()
        content = None if compiled is None else compiled.read(version, settings)
        names, _, blob = (content or b"").partition(b"\n")
        network = None if content is None else _imported(core, blob, settings)
        if network is None:
            model = core.read_model(str(path))
            # A compiled network has the outputs in this order, but not always by these names.
            names = json.dumps([output.any_name for output in model.outputs]).encode()
            network = core.compile_model(model, "CPU", settings)
            if compiled is not None:
                exported = BytesIO()
                network.export_model(exported)
                compiled.write(names + b"\n" + exported.getvalue(), version, settings)
        self._outputs: list[str] = json.loads(names)
        self._request = network.create_infer_request()
        self._in_use = threading.Lock()  # a request serves one thread at a time

    def run(self, batch: Batch) -> dict[str, Batch]:
        """Run the network on a batch; see `Network.run`."""
        with self._in_use:
            values = [np.array(value) for value in self._request.infer([batch]).to_tuple()]
        return dict(zip(self._outputs, values, strict=True))


class OnnxRuntimeNetwork:
    """A `Network` run by ONNX Runtime, on the CPU or an accelerator.

    ONNX Runtime is Microsoft's engine. It runs everywhere, and is the fastest on networks with few
    channels.

    Args:
        path: path of the ONNX file.
        threads: number of CPU cores to use.
        placement: the accelerator, a device of `PROVIDERS`, and its precision; None: the CPU.

    Raises:
        WrongUsageError: ONNX Runtime cannot use the device.
    """

    def __init__(self, path: Path, *, threads: int, placement: Placement | None = None) -> None:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # By a file's ending or content, ONNX Runtime would also take its own format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 4  # errors are raised; warnings are for the file's publisher
        providers: list[object] = ["CPUExecutionProvider"]
        model: str | bytes = str(path)
        if placement is not None:
            provider = _require_provider(placement.device)
            providers.insert(0, (provider, _provider_options(placement)))
            if placement.precision == "fp16" and placement.device == "cuda":
                model = _to_half_precision(path)
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        used = self._session.get_providers()[0]
        # Where a provider fails to start, ONNX Runtime only warns and goes on with the next.
        if placement is not None and used != provider:
            raise WrongUsageError(
                f"ONNX Runtime cannot use {provider} here and would run on {used} instead: the "
                f"driver or a library is missing; use --device cpu, or install what "
                f"{placement.device} needs"
            )
        self._session.disable_fallback()
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: Batch) -> dict[str, Batch]:
        """Run the network on a batch; see `Network.run`."""
        values = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, values, strict=True))


class OneAtATime:
    """A `Network` that runs a graph with a fixed batch size of one, row by row.

    Args:
        network: the network that takes one row at a time.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def run(self, batch: Batch) -> dict[str, Batch]:
        """Run the network on each row of a batch; see `Network.run`."""
        rows = [self._network.run(row[np.newaxis]) for row in batch]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


class OpenCvNetwork:
    """A `Network` run by OpenCV, for which the built-in networks were published.

    It is slow, and serves as the reference that the other engines are checked against.

    Args:
        path: path of the ONNX file.
        input_name: name of the graph's input.
    """

    def __init__(self, path: Path, *, input_name: str) -> None:
        self._input = input_name
        self._network = cv2.dnn.readNetFromONNX(str(path))
        self._outputs = list(self._network.getUnconnectedOutLayersNames())

    def run(self, batch: Batch) -> dict[str, Batch]:
        """Run the network on a batch; see `Network.run`."""
        self._network.setInput(batch, self._input)
        values = self._network.forward(self._outputs)
        return {name: np.array(value) for name, value in zip(self._outputs, values, strict=True)}


ENGINES: dict[str, type[OpenVinoNetwork] | type[OnnxRuntimeNetwork]] = {
    "openvino": OpenVinoNetwork,
    "onnxruntime": OnnxRuntimeNetwork,
}
"""The engines that run networks on the CPU, by the names that records of prepared networks use."""


def resolve_placement(placement: Placement) -> Placement:
    """Resolve the device "auto" to "cuda" or "cpu", and check that another device is supported.

    Raises:
        WrongUsageError: the ONNX Runtime installed here was not built for the device.
    """
    if placement.device == "auto":
        return Placement("cuda" if _has_cuda() else "cpu")
    if placement.device in PROVIDERS:
        _require_provider(placement.device)
    return placement


def _has_cuda() -> bool:
    """Tell whether this machine has an NVIDIA GPU and ONNX Runtime was built for CUDA."""
    if not Path("/dev/nvidiactl").exists():
        return False
    return PROVIDERS["cuda"][0] in _onnxruntime().get_available_providers()


def _require_provider(device: ModelDevice) -> str:
    provider, package = PROVIDERS[device]
    available = _onnxruntime().get_available_providers()
    if provider not in available:
        supported = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
        needed = f"{package}, installed in place of onnxruntime" if package else "a Mac"
        raise WrongUsageError(
            f"device {device} needs {needed}; the ONNX Runtime installed here supports only "
            f"{supported}; use --device cpu"
        )
    return provider


def _provider_options(placement: Placement) -> dict[str, str]:
    if placement.device == "tensorrt" and placement.precision == "fp16":
        return {"trt_fp16_enable": "1"}
    if placement.device == "coreml":
        low = "1" if placement.precision == "fp16" else "0"
        return {"ModelFormat": "MLProgram", "AllowLowPrecisionAccumulationOnGPU": low}
    if placement.device == "cuda":
        return {"use_tf32": "0"}  # TF32 has 10 bits of mantissa, no more than half precision
    return {}


def _to_half_precision(path: Path) -> bytes:
    """Convert a network to float16, except its input and outputs, which stay float32.

    Returns:
        The converted ONNX file's content.
    """
    import onnx

    with loading_libraries():
        from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(path, load_external_data=False), keep_io_types=True)
    return bytes(model.SerializeToString())


def output_shapes(path: Path, batch: Batch) -> dict[str, tuple[int, ...]]:
    """Run a network on the first row of a batch, to find the shapes of its outputs.

    Args:
        path: path of the ONNX file.
        batch: (n, ...) float32 input, n at least 1.

    Returns:
        Each output's shape, by the output's name.

    Raises:
        WrongUsageError: ONNX Runtime cannot run the file on such an input.
    """
    try:
        outputs = OnnxRuntimeNetwork(path, threads=1).run(batch[:1])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise WrongUsageError(
            f"{path} cannot be run by ONNX Runtime on an input of shape {(1, *batch.shape[1:])} "
            f"({first_line(error)}); fetch or export the network again"
        ) from error
    return {name: values.shape for name, values in outputs.items()}
