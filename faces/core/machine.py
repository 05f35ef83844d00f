"""What this machine offers: processor cores, and a folder for what can be fetched again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def available_threads() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_dir() -> Path:
    """The folder of fetched and prepared files: FACETROVE_CACHE, or the user's cache folder."""
    chosen = os.environ.get("FACETROVE_CACHE")
    return Path(chosen).absolute() if chosen else user_cache_path("facetrove", appauthor=False)
