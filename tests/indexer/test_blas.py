"""FAISS's OpenBLAS gets the kernels that suit the processor, and nothing else of the process does.

OpenBLAS chooses once in a process, so most tests look into a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from faces.core.errors import WrongUsageError
from faces.core.machine import processor_flags
from indexer import blas
from indexer.blas import KERNELS, wider_kernels
from tests.support.command import ROOT

HAS_WHEEL = blas._library_path() is not None
with_wheel = pytest.mark.skipif(not HAS_WHEEL, reason="FAISS's wheel here has no OpenBLAS")
NEHALEM = {"FACETROVE_BLAS_KERNELS": "Nehalem"}  # which run on every x86-64, and none takes today

LOAD = "from indexer.faiss_library import faiss; faiss.IndexFlat"

PROBE = """
import ctypes, json, os, sys
{first}
from dataclasses import asdict
from indexer.blas import choose_kernels
before = len(os.listdir("/proc/self/task"))
chosen = choose_kernels()
{then}
from threadpoolctl import threadpool_info
found = [i for i in threadpool_info() if i["user_api"] == "blas"]
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(json.dumps({{
    **asdict(chosen),
    "threads": len(os.listdir("/proc/self/task")) - before,
    "faiss": [i["architecture"] for i in found if "faiss" in i["filepath"]],
    "numpy": [i["architecture"] for i in found if "numpy" in i["filepath"]],
    "variable": [os.environ.get("OPENBLAS_CORETYPE"), str(getenv(b"OPENBLAS_CORETYPE"))],
}}))
"""


def seen(first: str = "", then: str = "", **variables: str) -> dict[str, Any]:
    """Return what a process sees of its libraries, once FAISS's kernels are chosen in it."""
    ours = ("OPENBLAS_CORETYPE", blas.KERNELS_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", PROBE.format(first=first, then=then)]
    done = subprocess.run(
        command, env=environment | variables, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("own", "flags", "expected"),
    [
        # Sapphire Rapids, which OpenBLAS 0.3.15 takes for a processor of 2004.
        ("Prescott", KERNELS["SkylakeX"] | {"avx"}, "SkylakeX Haswell Sandybridge"),
        ("Zen", KERNELS["SkylakeX"] | {"avx"}, "SkylakeX"),  # Zen 4
        ("Zen", KERNELS["Haswell"] | {"avx"}, ""),  # Zen 3
        ("Haswell", KERNELS["SkylakeX"] - {"avx512bw"}, ""),  # Xeon Phi has other 512-bit vectors
        ("Prescott", frozenset({"avx", "sse4_2"}), "Sandybridge Nehalem"),
        ("Core2", frozenset({"pni"}), ""),
        ("SapphireRapids", KERNELS["SkylakeX"], ""),  # of a newer OpenBLAS, which knows better
        ("armv8", frozenset(), ""),
    ],
)
def test_kernels_are_chosen_where_the_processor_has_wider_vectors(
    own: str, flags: frozenset[str], expected: str
) -> None:
    assert wider_kernels(own, flags) == expected.split()


class FakeLibrary:
    """An OpenBLAS whose kernels of some names compute wrong products."""

    def __init__(self, *wrong: str) -> None:
        self.kernels = "Prescott"
        self._wrong = wrong

    def use(self, name: str | None) -> bool:
        right = name not in self._wrong
        self.kernels = name if right and name else "Prescott"
        return right

    def is_right(self) -> bool:
        return True


def test_wrong_kernels_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blas, "processor_flags", lambda: KERNELS["SkylakeX"])
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert blas._chosen(FakeLibrary(), None) == ("SkylakeX", "processor")
    assert not caplog.messages
    assert blas._chosen(FakeLibrary("SkylakeX"), None) == ("Haswell", "processor")
    assert "SkylakeX" in caplog.text
    assert blas._chosen(FakeLibrary("SkylakeX", "Haswell"), None) == ("Prescott", "library")
    with pytest.raises(WrongUsageError, match="Haswell, whose products are wrong"):
        blas._chosen(FakeLibrary("Haswell"), "Haswell")


@with_wheel
def test_a_wrong_product_is_noticed_and_the_library_chooses_again() -> None:
    """One wrong value is enough, and the kernels are then those of the library's own choice."""
    spoil = """
from indexer import blas
right, tried = blas._Library.is_right, []
def is_right(library):
    tried.append(library.kernels)
    multiply = library._multiply
    def wrong(*args):
        multiply(*args)
        rows, columns = args[3:5]
        ctypes.c_float.from_address(args[12] + 4 * (rows * columns - 1)).value += 0.01
    library._multiply = wrong
    try:
        return right(library)
    finally:
        library._multiply = multiply
blas._Library.is_right = is_right
"""
    told = 'print(tried, file=sys.stderr); assert tried or chosen.chosen_by == "library"'
    own = seen(**{blas.KERNELS_VARIABLE: blas.OWN})
    spoilt = seen(spoil, told)
    assert spoilt["faiss"] == own["faiss"] == [spoilt["kernels"]]
    assert spoilt["chosen_by"] == "library"


@with_wheel
def test_the_processor_decides_and_numpy_keeps_its_kernels() -> None:
    alone = seen("import numpy", "", **{blas.KERNELS_VARIABLE: blas.OWN})
    own = alone["kernels"]
    expected = [*wider_kernels(own, processor_flags()), own][0]
    for first in ("", "import numpy", "import numpy, scipy.linalg"):
        chosen = seen(first, LOAD)
        assert chosen["faiss"] == [chosen["kernels"]] == [expected]
        assert chosen["chosen_by"] == ("library" if expected == own else "processor")
        assert chosen["numpy"] == alone["numpy"]
        assert chosen["variable"] == [None, "None"]
        assert chosen["threads"] <= 1  # NumPy's own; FAISS's would be missing in a forked process


@with_wheel
@pytest.mark.parametrize("first", ["", "import numpy"])
def test_the_users_variable_decides_for_faiss_alone(first: str) -> None:
    usual = seen(first)
    forced = seen(first, LOAD, **NEHALEM)
    assert forced["faiss"] == [forced["kernels"]] == ["Nehalem"]
    assert forced["chosen_by"] == "FACETROVE_BLAS_KERNELS"
    assert forced["numpy"] == usual["numpy"]
    assert forced["variable"] == [None, "None"]


@with_wheel
def test_openblas_own_variable_is_obeyed_and_left_as_it_is() -> None:
    for variables in ({}, NEHALEM):
        found = seen(OPENBLAS_CORETYPE="Haswell", **variables)
        assert found["faiss"] == ["Nehalem" if variables else "Haswell"]
        assert found["chosen_by"] == (
            "FACETROVE_BLAS_KERNELS" if variables else "OPENBLAS_CORETYPE"
        )
        assert found["numpy"] == ["Haswell"]
        assert found["variable"] == ["Haswell", "b'Haswell'"]


@with_wheel
def test_a_library_that_the_host_has_loaded_before_is_left_alone() -> None:
    own = seen(**{blas.KERNELS_VARIABLE: blas.OWN})
    for variables in ({}, NEHALEM):
        found = seen("import faiss", LOAD, **variables)
        assert found["faiss"] == own["faiss"] == [found["kernels"]]
        assert found["chosen_by"] == "loaded before"


def test_kernels_that_cannot_run_are_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "processor_flags", lambda: KERNELS["Haswell"])
    monkeypatch.setenv(blas.KERNELS_VARIABLE, "SkylakeX")
    with pytest.raises(WrongUsageError, match="processor lacks avx512bw, avx512cd"):
        blas._asked()
    monkeypatch.setenv(blas.KERNELS_VARIABLE, "Zen4")
    with pytest.raises(WrongUsageError, match="is 'Zen4'; give SkylakeX, Haswell"):
        blas._asked()


@with_wheel
def test_threads_that_come_first_together_choose_once() -> None:
    """While one thread changes the kernels, no other may compute with the library."""
    several = """
import threading, time
from indexer import blas
chosen_by_all, chosen_once = [], blas._chosen
def slowly(*args):
    chosen_by_all.append(args)
    time.sleep(0.2)
    return chosen_once(*args)
blas._chosen = slowly
threads = [threading.Thread(target=blas.choose_kernels) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(chosen_by_all) == 1
"""
    assert seen(several, LOAD)["threads"] <= 1


@with_wheel
def test_children_choose_the_same_and_answers_do_not_depend_on_kernels() -> None:
    """A forked child computes with its parent's kernels, and another process with those asked."""
    search = """
import numpy as np
from indexer.exact_search import nearest_rows
def answer():
    vectors = np.sin(np.arange(20_000 * 128, dtype=np.float32) ** 1.1).reshape(-1, 128)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities, rows = nearest_rows(vectors, vectors[:64], 5)
    return [rows.tolist(), similarities.round(5).tolist()]
print(json.dumps([chosen.kernels, answer()]), flush=True) if not os.fork() else os.wait()
os._exit(0)
"""
    names = [name for name in KERNELS if KERNELS[name] <= processor_flags()]
    answers = []
    for name in names:
        variables = os.environ | {blas.KERNELS_VARIABLE: name}
        command = [sys.executable, "-W", "ignore", "-c", PROBE.format(first="", then=search)]
        done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, check=True)
        used, found = json.loads(done.stdout)
        assert used == name
        answers.append(found)
    assert len(answers) > 1
    for rows, similarities in answers:
        assert rows == answers[0][0]
        np.testing.assert_allclose(similarities, answers[0][1], atol=2e-5)
