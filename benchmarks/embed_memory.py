"""Memory of the embed job's processes over a long run.

    python -m benchmarks.embed_memory PHOTOS [--count 20000]

The photos are repeated under new names, a byte changed in each so that none is a copy, and
embedded by the command as a user runs it. Every half second the resident memory of the driver and
of each worker is read; the table says how much they held at most in each tenth of the run.
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
TENTHS = 10


def repeat_photos(folder: Path, count: int, into: Path) -> None:
    """Write `count` files into a new folder: the photos of another, again and again."""
    paths = sorted(folder.rglob("*.jpg"))
    into.mkdir()
    for number in range(count):
        content = paths[number % len(paths)].read_bytes()
        # Behind the end mark, where no decoder looks.
        (into / f"{number:06d}.jpg").write_bytes(content + number.to_bytes(4, "big"))


def resident_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def child_pids(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []


def photos_committed(dataset: Path) -> int:
    return len(list((dataset / "photos").glob("part-*"))) * MAX_SHARD_PHOTOS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of JPEGs, searched recursively")
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as name:
        photos, dataset = Path(name) / "photos", Path(name) / "dataset"
        repeat_photos(options.photos, options.count, photos)
        command = [str(Path(sys.executable).with_name("facetrove")), "embed", photos, dataset]
        start = time.monotonic()
        most = [[0, 0] for _ in range(TENTHS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            while driver.poll() is None:
                time.sleep(INTERVAL_SECONDS)
                share = photos_committed(dataset) / options.count
                row = most[min(TENTHS - 1, int(share * TENTHS))]
                row[0] = max(row[0], resident_bytes(driver.pid))
                row[1] = max([row[1], *map(resident_bytes, child_pids(driver.pid))])
            output = driver.stdout.read() if driver.stdout else ""
        print(output.strip())
        print(f"{time.monotonic() - start:.0f} s in all\n")
        print(f"{'of the photos':>14}{'driver MB':>12}{'largest worker MB':>20}")
        for tenth, (of_driver, of_worker) in enumerate(most, start=1):
            print(f"{tenth / TENTHS:>14.0%}{of_driver / 1e6:>12.0f}{of_worker / 1e6:>20.0f}")
        if driver.returncode:
            sys.exit("the job failed")


if __name__ == "__main__":
    main()
