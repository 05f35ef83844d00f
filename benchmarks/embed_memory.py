"""Memory of the embed job's processes over a long run.

    python -m benchmarks.embed_memory PHOTOS [--count 20000]

The photos are repeated under new names, each with other bytes at its end so that none is a copy,
and embedded by the command as a user runs it. The resident memory of the driver and of each worker
is read every half second; the table shows its maximum in each tenth of the run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beam_jobs.shards import MAX_SHARD_PHOTOS
from benchmarks.measure import print_header

INTERVAL_SECONDS = 0.5
"""Interval between two readings of memory."""

TENTHS = 10
"""Number of rows of the table."""


def repeat_photos(folder: Path, count: int, into: Path) -> None:
    """Write `count` photo files into a new folder, repeating the photos of another folder."""
    paths = sorted(folder.rglob("*.jpg"))
    into.mkdir()
    for number in range(count):
        content = paths[number % len(paths)].read_bytes()
        # Decoders ignore bytes after the end mark.
        (into / f"{number:06d}.jpg").write_bytes(content + number.to_bytes(4, "big"))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, or 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def child_pids(pid: int) -> list[int]:
    """Return the ids of a process's child processes."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []


def photos_committed(dataset: Path) -> int:
    """Estimate the number of photos in a dataset from its number of parts."""
    return len(list((dataset / "photos").glob("part-*"))) * MAX_SHARD_PHOTOS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of JPEGs, searched recursively")
    parser.add_argument("--count", type=int, default=20_000, help="number of photos to embed")
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as name:
        photos, dataset = Path(name) / "photos", Path(name) / "dataset"
        repeat_photos(options.photos, options.count, photos)
        command = [str(Path(sys.executable).with_name("facetrove")), "embed", photos, dataset]
        start = time.monotonic()
        peaks = [[0, 0] for _ in range(TENTHS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            while driver.poll() is None:
                time.sleep(INTERVAL_SECONDS)
                share = photos_committed(dataset) / options.count
                peak = peaks[min(TENTHS - 1, int(share * TENTHS))]
                peak[0] = max(peak[0], resident_bytes(driver.pid))
                peak[1] = max([peak[1], *map(resident_bytes, child_pids(driver.pid))])
            output = driver.stdout.read() if driver.stdout else ""
        print(output.strip())
        print(f"{time.monotonic() - start:.0f} s in all\n")
        print(f"{'photos done':>14}{'driver MB':>12}{'largest worker MB':>20}")
        for tenth, (driver_bytes, worker_bytes) in enumerate(peaks, start=1):
            print(f"{tenth / TENTHS:>14.0%}{driver_bytes / 1e6:>12.0f}{worker_bytes / 1e6:>20.0f}")
        if driver.returncode:
            sys.exit(f"facetrove embed failed with exit code {driver.returncode}")


if __name__ == "__main__":
    main()
