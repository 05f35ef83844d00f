"""The device and the floating-point precision that a user chooses for the networks."""

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
"""ONNX Runtime's execution provider for each accelerator, and the package on PyPI that contains the
provider; "": the package onnxruntime on a Mac."""


@dataclass(frozen=True)
class Placement:
    """The device and precision that networks run with.

    Attributes:
        device: see `faces.core.settings.ModelDevice`.
        precision: see `faces.core.settings.Precision`; "fp16" needs a device of `PROVIDERS`.

    Raises:
        WrongUsageError: there is no such device, or it does not support the precision.
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
