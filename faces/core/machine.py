"""The resources of this machine: processor cores, memory, and folders of cache and settings."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path, user_config_path

from faces.core.named import absolute

WORKER_BYTES = 500_000_000
"""Memory in bytes that a worker process takes: its libraries, networks and a batch of photos."""

_PROC = Path("/proc")

_CGROUPS = Path("/sys/fs/cgroup")
"""Where the kernel tells the limits of groups of processes, in containers too."""


def available_threads() -> int:
    """Return the number of processor cores that this process may use.

    That is the least of the cores that the process is bound to and of the quotas of the control
    groups that it is in, rounded up, as containers have them.
    """
    bound = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return max(1, math.ceil(min([len(bound), *_quotas()])))


@cache
def processor_flags() -> frozenset[str]:
    """Return the instruction sets of this machine's processor by Linux's names; none elsewhere."""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = (line.partition(":") for line in lines)
    return frozenset(
        next((value.split() for name, _, value in named if name.strip() == "flags"), [])
    )


def available_workers() -> int:
    """Return the number of worker processes for which there are processor cores and memory."""
    return max(1, int(min(available_threads(), available_memory() // WORKER_BYTES)))


def available_memory() -> float:
    """Return the bytes of memory that this process may still take; infinite if unknown."""
    return min([_free_memory(), *_memory_limits()])


def _quotas() -> Iterator[float]:
    """Yield the processor quotas of this process's control groups, in cores."""
    for folder in _groups("cpu"):
        numbers = _numbers(folder / "cpu.max") or [  # of cgroup v2: "max 100000" is no limit
            *_numbers(folder / "cpu.cfs_quota_us"),  # of cgroup v1: -1 is no limit
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(numbers) == 2 and 0 < numbers[0] < math.inf and numbers[1] > 0:
            yield numbers[0] / numbers[1]


def _memory_limits() -> Iterator[float]:
    """Yield the memory in bytes that this process's control groups may still take."""
    for folder in _groups("memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            if numbers := _numbers(folder / limit):
                # What was read from files is given back where memory is needed.
                free = _named_number(folder / "memory.stat", cached)
                yield numbers[0] - sum(_numbers(folder / used)) + free


def _free_memory() -> float:
    """Return the bytes that this machine's processes may still take; infinite if unknown."""
    kilobytes = _named_number(_PROC / "meminfo", "MemAvailable:")
    return kilobytes * 1024 if kilobytes else math.inf


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, and of those that they lie in.

    In a container, the path that the kernel tells may be that outside it; then the folder at the
    top is the container's own group.
    """
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = _CGROUPS / controllers if controllers else _CGROUPS
        if controllers and not top.is_dir():
            top = _CGROUPS / controller
        folder = top / path.lstrip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _numbers(path: Path) -> list[float]:
    """Read the numbers of a file of the kernel, where "max" is infinite; [] if it has none."""
    try:
        words = path.read_text().split()
        return [math.inf if word == "max" else float(word) for word in words]
    except (OSError, ValueError):
        return []


def _named_number(path: Path, name: str) -> float:
    """Read a number by its name, which begins its line; 0 if there is none."""
    try:
        lines = path.read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.split()[:1] == [name])
    except (OSError, ValueError, IndexError, StopIteration):
        return 0.0


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
