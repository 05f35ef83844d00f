"""The resources of this machine: processor cores and a cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def available_threads() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_dir() -> Path:
    """Return the folder for downloaded and prepared files.

    The environment variable FACETROVE_CACHE names the folder; without it, the folder is in the
    user's cache folder.
    """
    chosen = os.environ.get("FACETROVE_CACHE")
    return Path(chosen).absolute() if chosen else user_cache_path("facetrove", appauthor=False)
