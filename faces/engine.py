"""The seam to the libraries that run networks: float arrays in, float arrays out.

OpenVINO and ONNX Runtime are imported nowhere else.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.float32]


class Network(Protocol):
    """A loaded network with one input."""

    def run(self, batch: Batch) -> dict[str, Batch]:
        """(n, channels, height, width) float32 to every output by its name, n rows each."""
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
    """Microsoft's engine: runs everywhere, the fastest on networks of few channels."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: the rest is advice to whoever made the file
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: Batch) -> dict[str, Batch]:
        """See `Network`."""
        values = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, values, strict=True))


class OpenCvNetwork:
    """OpenCV's engine, for which the built-in files were made: slow, and the reference for them."""

    def __init__(self, path: Path, *, input_name: str) -> None:
        import cv2

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


def available_threads() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
