"""Tests, in folders like the rooms.

Environment variables are set here, before any other module is imported; the commands that tests
start inherit them.
"""

import os
import shutil
import tempfile
from pathlib import Path

# Two processes run the tests on two cores. FAISS's OpenMP threads would by default keep a core busy
# while they wait for each other, and the other process needs that core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Of TensorFlow, which trains networks here, and ONNX Runtime deepface would take TensorFlow.
os.environ.setdefault("DEEPFACE_BACKEND_ENGINE", "onnx")

# The program syncs files to the disk so that they survive a power cut, which takes long. No test
# needs that, so temporary files are in memory, where syncing is free, if there is room.
IN_MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 6 << 30

if (
    "TMPDIR" not in os.environ
    and os.access(IN_MEMORY, os.W_OK)
    and shutil.disk_usage(IN_MEMORY).free > MIN_FREE_BYTES
):
    os.environ["TMPDIR"] = str(IN_MEMORY)
    tempfile.tempdir = None  # so that tempfile reads TMPDIR again
