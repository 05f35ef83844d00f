"""What training needs of the machine, checked before an hour of work: Keras, and memory."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from faces.core.errors import WrongUsageError
from faces.core.machine import available_memory

_LIBRARIES = ("keras", "tensorflow", "tf2onnx")

KERAS_BYTES = 1_200_000_000
"""Memory in bytes that Keras and TensorFlow take before anything is trained, measured with the
networks of this package and batches of 64 crops."""


def require_keras() -> None:
    """Raise WrongUsageError unless the libraries of the extra `train` are installed."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise WrongUsageError(
            f"training needs {' and '.join(missing)}, which is not installed; install it by "
            "pip install keras==3.15.1 tensorflow-cpu==2.21.0 tf2onnx==1.17.0"
        )


def tensorflow_version() -> str:
    """Return the version of TensorFlow, which comes in packages of two names; "" without it."""
    for package in ("tensorflow-cpu", "tensorflow"):
        with suppress(PackageNotFoundError):
            return version(package)
    return ""


def require_memory(num_bytes: int, what: str) -> None:
    """Raise WrongUsageError unless there is memory for something beside Keras.

    Args:
        num_bytes: bytes that it takes.
        what: what takes them, for the message.
    """
    needed, free = KERAS_BYTES + num_bytes, available_memory()
    if needed > free:
        raise WrongUsageError(
            f"training on {what} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            "are free; close other programs, or train on a smaller dataset"
        )
