"""Nothing is sent to anybody: no name is looked up, and no file made outside of named folders."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.support.command import facetrove_command
from tests.support.deepface_home import make_deepface_home
from tests.support.labelled_faces import labelled_index, people_around
from tests.support.network_watch import Watch

STAYS_SECONDS = 30
"""How long processes are watched. ONNX Runtime looks its maker's collector up after nine seconds,
where it is not told to be quiet."""

USE_AS_A_LIBRARY = f"""
import os, sys, time
before = dict(os.environ)
dataset, probe, labelled, folder = sys.argv[1:]
import facetrove as ft
index = ft.build_index(dataset, f"{{folder}}/index")
assert len(index.search(probe, k=3, where="score > 0.5").to_pandas())
ft.compare(probe, probe)
ft.evaluate_identification(labelled, protocol=ft.Protocol(splits=2))
from facetrove.cli.main import cli
report = ["evaluate", "identify", labelled, "--splits", "2", "--report", f"{{folder}}/r.html"]
cli(report, standalone_mode=False)
from faces.models.deepface_weights import library
try:
    library()
except ft.ModelUnavailableError:
    pass  # deepface is not installed
changed = {{name for name in before.keys() | os.environ.keys()
           if before.get(name) != os.environ.get(name)}}
print("changed", sorted(changed))
time.sleep({STAYS_SECONDS})
"""


def test_the_watch_sees_names_and_addresses(tmp_path: Path) -> None:
    watch = Watch.make(tmp_path)
    script = """
import socket
for ask in (lambda: socket.getaddrinfo("example.invalid", 443),
            lambda: socket.gethostbyname_ex("other.invalid"),
            lambda: socket.create_connection(("192.0.2.1", 80)),
            lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.2", 53))):
    try:
        ask()
    except OSError:
        pass
socket.getaddrinfo("localhost", 80)
"""
    process = watch.start([sys.executable, "-c", script])
    assert process.communicate(timeout=60)[0] == ""
    seen = watch.log()
    assert {"name example.invalid", "name other.invalid"} <= set(seen)
    assert {"address 192.0.2.1", "address 192.0.2.2"} <= set(seen)
    assert not [line for line in seen if "localhost" in line]


@pytest.mark.slow
@pytest.mark.lasting
def test_no_name_is_looked_up_and_no_file_made_elsewhere(
    tmp_path: Path, demo_photos: Path, demo_dataset: Path, probe_photo: Path
) -> None:
    vectors, people = people_around(120, 3, spread=0.6, dimension=64)
    labelled = labelled_index(tmp_path, vectors, people)
    watch, out = Watch.make(tmp_path / "watch"), tmp_path / "out"
    out.mkdir()
    script = [sys.executable, "-c", USE_AS_A_LIBRARY]
    processes = [
        watch.start([*script, *map(str, (demo_dataset, probe_photo, labelled, out))]),
        watch.start(
            facetrove_command("embed", demo_photos, out / "d", "--workers", "1"),
            lingers="local_worker",
        ),
    ]
    printed = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert "changed []" in printed[0]  # the host's environment is as it was
    deadline = time.monotonic() + 60
    while not watch.log() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert set(watch.log()) == {"lingered local_worker"}  # and processes that it forked
    assert watch.files() == []


@pytest.mark.slow
@pytest.mark.lasting
def test_models_of_deepface_send_nothing(
    tmp_path: Path, demo_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("deepface", reason="deepface is not installed: pip install -e '.[dev]'")
    watch = Watch.make(tmp_path / "watch")
    models = ("--detector", "deepface:yunet", "--embedder", "deepface:Facenet")
    with make_deepface_home(tmp_path_factory):
        process = watch.start(
            facetrove_command("embed", demo_photos, tmp_path / "d", "--workers", "1", *models),
            lingers="local_worker",
        )
        printed = process.communicate(timeout=200)[0]
    assert process.returncode == 0, printed
    deadline = time.monotonic() + 60
    while not watch.log() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert set(watch.log()) == {"lingered local_worker"}  # and processes that it forked
    assert watch.files() == []
