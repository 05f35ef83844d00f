"""Commands that run without root's right to read every file."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
"""Numbers from linux/prctl.h and linux/capability.h, of the capabilities by which root reads files
whose permissions forbid it."""


def obey_permissions() -> None:
    """Drop the capabilities of this process, a child, by which root ignores file permissions.

    The process stays root, as the checkout and the environment may be readable by root alone.
    """
    if os.geteuid() == 0 and sys.platform == "linux":
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def permissions_are_obeyed(unreadable: Path) -> bool:
    """Tell whether a command with `obey_permissions` fails to open an unreadable file."""
    finished = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; open(sys.argv[1])", unreadable],
        preexec_fn=obey_permissions,
        capture_output=True,
        check=False,
    )
    return finished.returncode != 0
