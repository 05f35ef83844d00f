"""Tests, in folders like the rooms. What is set here holds before anything else is loaded, and for
the commands that tests start."""

import os
import shutil
import tempfile
from pathlib import Path

# Two processes run the tests on two cores. OpenMP's threads, which FAISS has, would keep a core
# busy while they wait for each other, and the other process needs it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Files that must survive a power cut are waited for. No test cuts the power: in memory, where the
# system has room there, that wait takes no time.
IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30

if (
    "TMPDIR" not in os.environ
    and os.access(IN_MEMORY, os.W_OK)
    and shutil.disk_usage(IN_MEMORY).free > ROOM_BYTES
):
    os.environ["TMPDIR"] = str(IN_MEMORY)
    tempfile.tempdir = None  # to be looked up again
