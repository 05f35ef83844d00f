from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from faces.core.environment import loading_libraries

LOAD_ALL = """
import os
before = dict(os.environ)
import numpy as np
from faces.models.registry import load_pipeline
load_pipeline(threads=1).find_faces([np.zeros((64, 64, 3), np.uint8)])
from faces.core.machine import cache_dir
from faces.models.engines import OnnxRuntimeNetwork, OpenVinoNetwork
path = next((cache_dir() / "weights").glob("yunet.prepared-*.onnx"))
for engine in (OnnxRuntimeNetwork, OpenVinoNetwork):
    engine(path, threads=1)
import cv2, onnxruntime, openvino, sys
assert "openvino_telemetry" not in sys.modules
assert dict(os.environ) == before, os.environ
"""


def test_the_environment_of_the_host_is_as_it_was_after_networks_are_loaded() -> None:
    subprocess.run([sys.executable, "-c", LOAD_ALL], check=True)


FORKS = {"GRPC_ENABLE_FORK_SUPPORT": "1"}

LOAD_BEAM = """
import os
before = dict(os.environ)
import facetrove as ft
import facetrove.beam
ft.embed_photos, ft.reembed, ft.import_faces
import apache_beam, grpc
assert dict(os.environ) == before, os.environ
server = grpc.server(None)
server.start()
if os.fork() == 0:
    os._exit(0)
os.wait()
os._exit(0)
"""


@pytest.mark.lasting
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gRPC prepares for forks on Linux alone")
def test_the_environment_is_as_it_was_after_beam_is_loaded_and_grpc_is_told_nevertheless() -> None:
    told = {"GRPC_VERBOSITY": "INFO", "GRPC_TRACE": "fork"}
    hidden = ("GRPC_VERBOSITY", "GRPC_ENABLE_FORK_SUPPORT")
    usual = {name: value for name, value in os.environ.items() if name not in hidden}
    for environment, forks in ((usual | told, False), ({**usual, **told, **FORKS}, True)):
        finished = subprocess.run(
            [sys.executable, "-c", LOAD_BEAM],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("fork" in finished.stderr.replace("Tracers: fork", "")) is forks, finished.stderr


def test_variables_are_restored_when_the_last_thread_has_loaded_its_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    entered, leave = threading.Event(), threading.Event()

    def load() -> None:
        with loading_libraries(KERAS_HOME="/keras"):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=load)
    with loading_libraries():
        other.start()
        assert entered.wait(10)
        os.environ["LD_LIBRARY_PATH"] = "/cv2:"  # as OpenCV does
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"  # the other thread is not done
    assert os.environ["KERAS_HOME"] == "/keras"
    leave.set()
    other.join()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert os.environ["LD_LIBRARY_PATH"] == "/opt/lib"
    assert "KERAS_HOME" not in os.environ


def test_a_folder_that_the_user_named_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", "/mine")
    with loading_libraries(KERAS_HOME="/keras"):
        assert os.environ["KERAS_HOME"] == "/mine"
