"""What holds for the whole: light imports, honest documents."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("apache_beam", "faiss", "openvino", "onnxruntime", "onnx", "cv2", "pyarrow", "rich")


@pytest.mark.parametrize("room", ["faces", "beam_jobs", "indexer", "search", "facetrove.main"])
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    script = f"import sys, {room}; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_missing_name_in_a_room_is_an_attribute_error() -> None:
    import indexer
    import search

    for room in (indexer, search):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = room.nonsense  # type: ignore[attr-defined]
