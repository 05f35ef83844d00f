"""Tests, in folders like the rooms.

Two processes run them on two cores, so OpenMP's threads, which wait for each other within FAISS,
must not keep a core busy while they wait: the other process needs it. Set here, before anything
loads OpenMP; the commands that tests start inherit it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
