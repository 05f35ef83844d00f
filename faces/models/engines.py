"""The seam to the libraries that run networks: float arrays in, float arrays out.

OpenVINO and ONNX Runtime are imported nowhere else, and here by the first network that runs on
them: a process holds only the engines that it uses.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError, first_line
from faces.core.settings import ModelDevice
from faces.models.placement import PROVIDERS, Placement

Batch = NDArray[np.float32]


class Network(Protocol):
    """A loaded network with one input."""

    def run(self, batch: Batch) -> dict[str, Batch]:
        """A float32 batch to every output by its name, a row for each of the batch's."""
        ...


class OpenVinoNetwork:
    """Intel's engine, also the fastest for convolutions on AMD processors we measured."""

    def __init__(self, path: Path, *, threads: int) -> None:
        # OpenVINO would report its use to its makers, over the network, when it is imported.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, the threads of several worker processes would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
            # Left to itself OpenVINO computes in bfloat16 where the processor has it; that
            # moves embeddings by far more than any two engines differ.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        model = core.read_model(str(path))
        self._outputs = [output.any_name for output in model.outputs]
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._in_use = threading.Lock()  # a request serves one thread at a time

    def run(self, batch: Batch) -> dict[str, Batch]:
        """See `Network`."""
        with self._in_use:
            values = [np.array(value) for value in self._request.infer([batch]).to_tuple()]
        return dict(zip(self._outputs, values, strict=True))


class OnnxRuntimeNetwork:
    """Microsoft's engine: runs everywhere, the fastest on networks of few channels.

    Args:
        path: of the ONNX file.
        threads: processor cores to use.
        placement: None: on the processor.

    Raises:
        WrongUsageError: the device that was asked for cannot be had.
    """

    def __init__(self, path: Path, *, threads: int, placement: Placement | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; the rest is advice to the file's maker
        providers: list[object] = ["CPUExecutionProvider"]
        model: str | bytes = str(path)
        if placement is not None:
            provider = _require_provider(placement.device)
            providers.insert(0, (provider, _provider_options(placement)))
            if placement.precision == "fp16" and placement.device == "cuda":
                model = _in_half_precision(path)
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        used = self._session.get_providers()[0]
        if placement is not None and used != provider:  # it would go on with another
            raise WrongUsageError(
                f"ONNX Runtime cannot use {provider} here and would run on {used} instead: the "
                f"driver or a library is missing; use --device cpu, or see that "
                f"{placement.device} works"
            )
        self._session.disable_fallback()
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: Batch) -> dict[str, Batch]:
        """See `Network`."""
        values = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, values, strict=True))


class OneAtATime:
    """A network whose graph takes one input at a time, made to look as if it took batches."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def run(self, batch: Batch) -> dict[str, Batch]:
        """See `Network`."""
        rows = [self._network.run(row[np.newaxis]) for row in batch]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


class OpenCvNetwork:
    """OpenCV's engine, for which the built-in files were made: slow, and the reference for them."""

    def __init__(self, path: Path, *, input_name: str) -> None:
        self._input = input_name
        self._network = cv2.dnn.readNetFromONNX(str(path))
        self._outputs = list(self._network.getUnconnectedOutLayersNames())

    def run(self, batch: Batch) -> dict[str, Batch]:
        """See `Network`."""
        self._network.setInput(batch, self._input)
        values = self._network.forward(self._outputs)
        return {name: np.array(value) for name, value in zip(self._outputs, values, strict=True)}


ENGINES: dict[str, type[OpenVinoNetwork] | type[OnnxRuntimeNetwork]] = {
    "openvino": OpenVinoNetwork,
    "onnxruntime": OnnxRuntimeNetwork,
}
"""The engines that run networks on the processor."""


def placement_here(placement: Placement) -> Placement:
    """What a placement comes to on this machine: auto becomes cuda or cpu.

    Raises:
        WrongUsageError: the device that was asked for cannot be had.
    """
    if placement.device == "auto":
        return Placement("cuda" if _has_cuda() else "cpu")
    if placement.device in PROVIDERS:
        _require_provider(placement.device)
    return placement


def _has_cuda() -> bool:
    """Whether there is a card and ONNX Runtime was built for cards."""
    if not Path("/dev/nvidiactl").exists():
        return False
    import onnxruntime

    return PROVIDERS["cuda"][0] in onnxruntime.get_available_providers()


def _require_provider(device: ModelDevice) -> str:
    import onnxruntime

    provider, package = PROVIDERS[device]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        here = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
        needed = f"{package}, installed in place of onnxruntime" if package else "a Mac"
        raise WrongUsageError(
            f"device {device} needs {needed}; the ONNX Runtime installed here has {here}; "
            "use --device cpu"
        )
    return provider


def _provider_options(placement: Placement) -> dict[str, str]:
    if placement.device == "tensorrt" and placement.precision == "fp16":
        return {"trt_fp16_enable": "1"}
    if placement.device == "coreml":
        low = "1" if placement.precision == "fp16" else "0"
        return {"ModelFormat": "MLProgram", "AllowLowPrecisionAccumulationOnGPU": low}
    if placement.device == "cuda":
        return {"use_tf32": "0"}  # else products have 10 bits, as in half precision
    return {}


def _in_half_precision(path: Path) -> bytes:
    """The network computing in float16, its input and outputs in float32 as before."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    return bytes(model.SerializeToString())


def output_shapes(path: Path, batch: Batch) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's outputs, by their names, for the first input of a batch.

    Raises:
        WrongUsageError: ONNX Runtime cannot run the file on such an input.
    """
    try:
        outputs = OnnxRuntimeNetwork(path, threads=1).run(batch[:1])
    except Exception as error:  # of ONNX Runtime's own, which share no base
        raise WrongUsageError(
            f"{path} cannot be run by ONNX Runtime on an input of shape {(1, *batch.shape[1:])} "
            f"({first_line(error)})"
        ) from error
    return {name: values.shape for name, values in outputs.items()}
