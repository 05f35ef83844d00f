from __future__ import annotations

import os
from pathlib import Path

import pytest

from faces.core import machine
from faces.core.machine import available_threads, available_workers

GIGABYTE = 1_000_000_000


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the files of a kernel, on a machine of 16 cores and 64 GB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    write(tmp_path, {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {64 * GIGABYTE // 1024} kB\n"})
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_without_a_quota_all_cores_are_used(kernel: Path) -> None:
    assert (available_threads(), available_workers()) == (16, 16)
    write(kernel, {"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "max 100000\n"})
    write(kernel, {"cgroup/memory.max": "max\n", "cgroup/memory.current": "5\n"})
    assert (available_threads(), available_workers()) == (16, 16)


@pytest.mark.parametrize(("quota", "cores"), [(100_000, 1), (150_000, 2), (20_000, 1), (10**7, 16)])
def test_the_quota_of_a_container_counts(kernel: Path, quota: int, cores: int) -> None:
    write(kernel, {"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": f"{quota} 100000\n"})
    assert available_threads() == cores


def test_the_least_quota_of_all_groups_above_counts(kernel: Path) -> None:
    write(
        kernel,
        {
            "proc/self/cgroup": "0::/a.slice/b.scope\n",
            "cgroup/a.slice/b.scope/cpu.max": "800000 100000",
            "cgroup/a.slice/cpu.max": "300000 100000",
        },
    )
    assert available_threads() == 3


@pytest.mark.parametrize("path", ["/", "/docker/abc"])
def test_quotas_of_the_first_kind_of_groups_count(kernel: Path, path: str) -> None:
    """In a container, the path that the kernel tells may be that on the host."""
    write(
        kernel,
        {
            "proc/self/cgroup": f"3:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:/x\n",
            "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000",
            "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "cgroup/memory/memory.limit_in_bytes": str(GIGABYTE),
            "cgroup/memory/memory.usage_in_bytes": str(GIGABYTE // 2),
            "cgroup/memory/memory.stat": f"cache 1\ntotal_inactive_file {GIGABYTE // 4}\n",
        },
    )
    assert (available_threads(), available_workers()) == (2, 1)
    write(kernel, {"cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1"})
    assert available_threads() == 16


def test_there_are_no_more_workers_than_memory(kernel: Path) -> None:
    write(
        kernel,
        {
            "proc/self/cgroup": "0::/\n",
            "cgroup/memory.max": str(3 * GIGABYTE),
            "cgroup/memory.current": str(GIGABYTE),
            "cgroup/memory.stat": "anon 5\ninactive_file 0\n",
        },
    )
    assert available_workers() == 4
    write(kernel, {"proc/meminfo": "MemAvailable: 1200000 kB\n"})
    assert available_workers() == 2
    write(kernel, {"proc/meminfo": "MemAvailable: 9 kB\n"})
    assert available_workers() == 1
