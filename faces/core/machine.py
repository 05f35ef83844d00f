"""The resources of this machine: processor cores, a cache folder and a folder of settings."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from platformdirs import user_cache_path, user_config_path

from faces.core.named import absolute


def available_threads() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_dir() -> Path:
    """Return the folder for downloaded and prepared files.

    The environment variable FACETROVE_CACHE names the folder; without it, the folder is in the
    user's cache folder.
    """
    chosen = os.environ.get("FACETROVE_CACHE")
    return absolute(chosen) if chosen else user_cache_path("facetrove", appauthor=False)


def config_dir() -> Path:
    """Return the folder for what the user has decided, which lies outside of the cache.

    The environment variable FACETROVE_CONFIG names the folder; without it, the folder is in the
    user's folder of settings.
    """
    chosen = os.environ.get("FACETROVE_CONFIG")
    return absolute(chosen) if chosen else user_config_path("facetrove", appauthor=False)


def anyone_may_write(folder: Path) -> bool:
    """Tell whether every user of this machine may write in a folder.

    Groups are not looked at: on many systems a user has a group of their own, which may write.
    """
    return hasattr(os, "geteuid") and bool(folder.stat().st_mode & stat.S_IWOTH)
