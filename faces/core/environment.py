"""What libraries find while they are loaded: environment variables, and pandas or not.

Some libraries report their use to their makers, unless a variable says otherwise when they are
loaded, and some set variables that only harm: OpenCV lets every later child process load shared
libraries from its current folder. `loading_libraries` keeps both from happening, and leaves the
variables of the process as they were.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

from faces.core.machine import cache_dir

REPORTS_OFF = {
    # ONNX Runtime (from 1.32) reads this once, when its module is imported: measured with 1.32.0, a
    # process in which the variable was set only during the import wrote no file and looked up no
    # name. Its function disable_telemetry_events comes too late: the device id is written by then.
    "ORT_DISABLE_TELEMETRY": "1",
    # ultralytics, on which deepface's YOLO detectors run, reports to Google Analytics, and asks for
    # its newest version.
    "YOLO_OFFLINE": "true",
    # Hugging Face's hub, and other libraries that keep to this convention.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""The variables, with values, by which libraries are told to report nothing to their makers."""

_SET_BY_LIBRARIES = (
    # OpenCV; its value ends in a colon, which means the current folder.
    *("LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"),
    # deepface's detectors, for TensorFlow, which they load at once.
    *("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "TF_FORCE_GPU_ALLOW_GROWTH"),
)
"""The variables that libraries set when they are loaded, and need only then or not at all."""

_changing = threading.Lock()
_num_loading = 0
_before: dict[str, str | None] = {}


def folders_of_libraries() -> dict[str, str]:
    """Return the variables by which libraries keep their files in our cache instead of at home."""
    return {
        "MPLCONFIGDIR": str(cache_dir() / "matplotlib"),
        "KERAS_HOME": str(cache_dir() / "keras"),
        "YOLO_CONFIG_DIR": str(cache_dir() / "ultralytics"),
    }


@contextmanager
def loading_libraries(**settings: str) -> Iterator[None]:
    """Tell libraries that are loaded while the context is open to report nothing.

    Several threads may have the context open at once. When the last one leaves it, the variables
    are as they were before.

    Args:
        settings: further variables for the libraries; one that the user has set keeps its value.
    """
    global _num_loading  # noqa: PLW0603  # the environment is the process's too
    wanted = {name: os.environ.get(name, value) for name, value in settings.items()} | REPORTS_OFF
    with _changing:
        _num_loading += 1
        for name in (*wanted, *_SET_BY_LIBRARIES):
            _before.setdefault(name, os.environ.get(name))
        os.environ.update(wanted)
    try:
        yield
    finally:
        with _changing:
            _num_loading -= 1
            if _num_loading == 0:
                for name, value in _before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
                _before.clear()


class WithoutPandas(MetaPathFinder):
    """A finder of modules that makes importing pandas fail, as if it were not installed.

    Beam and PyArrow import pandas where they can, for a third to half of a second, and go without
    it else.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise ModuleNotFoundError for pandas."""
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not needed here", name="pandas")


@contextmanager
def without_pandas() -> Iterator[None]:
    """Make importing pandas fail while the context is open. For processes of our own alone."""
    finder = WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
