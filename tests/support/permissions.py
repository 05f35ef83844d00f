"""Running a command without root's right to read everything."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
"""linux/prctl.h, linux/capability.h: what lets root read files that forbid it."""


def obey_permissions() -> None:
    """Called in a child process: even root is then held to the permissions of files.

    It stays root, so that it can enter a checkout and an environment that only root may enter.
    """
    if os.geteuid() == 0 and sys.platform == "linux":
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def permissions_are_obeyed(unreadable: Path) -> bool:
    """Whether a command with `obey_permissions` cannot open a file that it may not read."""
    finished = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; open(sys.argv[1])", unreadable],
        preexec_fn=obey_permissions,
        capture_output=True,
        check=False,
    )
    return finished.returncode != 0
