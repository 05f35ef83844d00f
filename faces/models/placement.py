"""The device and the precision that networks run in, as a user asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from faces.core.errors import WrongUsageError
from faces.core.settings import ModelDevice, Precision

PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", ""),
}
"""ONNX Runtime's execution provider for each device, and the package that has it; "": the usual
one, on a Mac."""


@dataclass(frozen=True)
class Placement:
    """Where networks run.

    Attributes:
        device: see `ModelDevice`.
        precision: see `Precision`; of cuda, tensorrt and coreml.
    """

    device: ModelDevice = "auto"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.precision == "fp16" and self.device not in PROVIDERS:
            raise WrongUsageError(
                f"precision fp16 is for the devices {', '.join(PROVIDERS)}, not {self.device}; "
                "name one of them, or leave the precision out"
            )
        if self.device not in get_args(ModelDevice):
            raise WrongUsageError(
                f"no device is called {self.device!r}; choose from "
                f"{', '.join(get_args(ModelDevice))}"
            )
