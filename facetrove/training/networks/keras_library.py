"""Keras and TensorFlow, which are imported here alone, so that they leave the process alone.

Keras writes its configuration into its home when it is imported, which is a folder of our cache
here. TensorFlow sends nothing to anybody, and its messages stay off the terminal.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from faces.core.environment import folders_of_libraries, loading_libraries
from facetrove.training.requirements import require_keras


@contextmanager
def leaving_generators_alone() -> Iterator[None]:
    """Give the global generators of Python and NumPy their states back, which Keras seeds."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def _leaving_environment_alone() -> Iterator[None]:
    """Remove the variables that TensorFlow and Keras add while they are loaded.

    One of them, ENABLE_RUNTIME_UPTIME_TELEMETRY, is meant for child processes, too.
    """
    before = set(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            os.environ.pop(name, None)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep off the terminal what TensorFlow's C++ code says while it is loaded.

    It says which instructions it uses before it has read the variable that silences it.
    """
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


require_keras()
with (
    leaving_generators_alone(),
    _leaving_environment_alone(),
    loading_libraries(
        **folders_of_libraries(),
        KERAS_BACKEND="tensorflow",
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="-1",
    ),
    _silent_stderr(),
):
    import keras
    import tensorflow as tf
    import tf2onnx

    tf.get_logger().setLevel("ERROR")

__all__ = ["keras", "leaving_generators_alone", "make_deterministic", "tf", "tf2onnx"]


def make_deterministic(seed: int, *, threads: int) -> None:
    """Make everything that is computed from now on depend on a seed alone.

    Layers that are made afterwards are initialised from the seed, by Python's global generator; see
    `leaving_generators_alone`.

    Args:
        seed: the seed, from 0 to 2^32 - 1.
        threads: number of processor cores to use. It is fixed once the process has computed
            anything, since TensorFlow cannot change it then.
    """
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
