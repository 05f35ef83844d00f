"""How fast the HTTP service answers, and how much memory it takes.

    python -m benchmarks.service speed COUNT --work FOLDER [--photos LFW_FOLDER] [--wrk PATH]
    python -m benchmarks.service memory COUNT --work FOLDER --minutes 60 [--wrk PATH]

COUNT generated faces (benchmarks/galleries.py) are indexed in the folder WORK, which is kept. The
load comes from wrk, a compiled generator (Debian's package `wrk`), on the same cores as the server.
Printed are medians of `ROUNDS` rounds:

- searches by one embedding, from 1 and from 32 clients;
- 10,000 embeddings as an Arrow stream, beside `FaceSearcher` in this process, in alternation;
- searches by photos of Labeled Faces in the Wild, from 1 and from 16 clients;
- the server's memory after a minute and at the end of mixed load, with versions of the index
  published meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import facetrove as ft
from benchmarks.galleries import generate_faces, write_gallery_dataset
from benchmarks.measure import print_header
from search.rendering import matches_to_json

ROUNDS = 3
SECONDS = 10
NUM_BODIES = 200
"""Number of different requests that the generator sends in turn."""

ARROW_EMBEDDINGS = 10_000

FIRST_STRANGER = 50_400_000
"""Number of the first generated face that is searched for: that of a block beyond any gallery."""

UPDATES = 20
"""Number of versions of the index that are published during the mixed load."""

_SCRIPT = """
local bodies, number = {{}}, 0
for body = 1, {count} do
  local file = io.open("{folder}/" .. body, "rb")
  bodies[body] = file:read("*a")
  file:close()
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "{kind}"
function request()
  number = number % {count} + 1
  return wrk.format(nil, nil, nil, bodies[number])
end
"""


def index_of(count: int, work: Path) -> Path:
    """Return the index of generated faces, which is made unless it is there."""
    dataset, index = work / f"service-{count}.dataset", work / f"service-{count}.index"
    if not dataset.exists():
        write_gallery_dataset(dataset, count)
    ft.build_index(dataset, index)
    return index


@contextmanager
def served(index: Path) -> Iterator[tuple[str, int]]:
    """Serve an index by the real command, and yield the server's address and process id."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "facetrove", "serve", str(index), "--port", "0"]
        server = subprocess.Popen([*command, "--state", state], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found, "the server did not start"
            yield found[0], server.pid
        finally:
            server.terminate()
            server.wait()


def bodies_in(folder: Path, bodies: list[bytes], kind: str) -> Path:
    """Write requests' bodies and a script for wrk, and return the script's path."""
    folder.mkdir()
    for number, body in enumerate(bodies, start=1):
        (folder / str(number)).write_bytes(body)
    script = folder / "requests.lua"
    script.write_text(_SCRIPT.format(count=len(bodies), folder=folder, kind=kind))
    return script


def load(wrk: str, url: str, script: Path, clients: int, seconds: int = SECONDS) -> list[float]:
    """Return requests per second, and the latencies p50 and p99 in milliseconds."""
    threads = str(min(2, clients))
    finished = subprocess.run(
        [
            *(wrk, "-t", threads, "-c", str(clients), "-d", f"{seconds}s", "--latency"),
            *("-s", str(script), url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    text = finished.stdout
    if "Non-2xx" in text or "Socket errors" in text:
        print(text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    quantiles = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s))", text))
    assert rate, text
    return [float(rate[1]), *(_milliseconds(quantiles[q]) for q in ("50", "99"))]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def probes(count: int) -> np.ndarray:
    """Return embeddings of people who are not in the index."""
    return np.concatenate([some for some, _ in generate_faces(count, first=FIRST_STRANGER)])


def print_load(wrk: str, url: str, script: Path, what: str, clients: tuple[int, ...]) -> None:
    """Print rates and latencies of one kind of request, one line for each number of clients."""
    for count in clients:
        load(wrk, url, script, count, 2)
        rounds = [load(wrk, url, script, count) for _ in range(ROUNDS)]
        rate, p50, p99 = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(
            f"{what}, {count} clients: {rate:,.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )


def print_arrow(address: str, index: Path) -> None:
    """Print how fast many embeddings are answered, beside the same search in this process."""
    searcher, many = ft.open_index(index), probes(ARROW_EMBEDDINGS)
    with ft.ServiceClient(address, timeout=600) as service:
        ways = {
            "over HTTP, as Arrow": lambda: service.search_embeddings(many, 10),
            "FaceSearcher, to Arrow": lambda: searcher.search_embeddings(many, 10).to_arrow(),
            "FaceSearcher, without": lambda: searcher.search_embeddings(many, 10),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 1):
            for name, search in ways.items():
                started = time.perf_counter()
                search()
                if number:
                    seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        rate = ARROW_EMBEDDINGS / statistics.median(values)
        print(f"{ARROW_EMBEDDINGS:,} embeddings, {name}: {rate:,.0f} embeddings/s")


def print_searcher(index: Path) -> None:
    """Print how fast `FaceSearcher` itself finds and renders the same, one by one and together."""
    searcher, some = ft.open_index(index), probes(NUM_BODIES)
    for count in (1, 32):
        number, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            batch = some[number % (NUM_BODIES - count) :][:count]
            matches_to_json([*searcher.search_embeddings(batch, 10)])
            number += count
        rate = number / (time.perf_counter() - started)
        print(
            f"FaceSearcher in one process, {count} at once, as dictionaries: {rate:,.0f} probes/s"
        )


def photo_bodies(photos: Path, boundary: str) -> list[bytes]:
    """Return forms with one photo each."""
    found = sorted((photos / "photos").rglob("*.jpg"))[:NUM_BODIES]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    return [head + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode() for path in found]


def embedding_bodies() -> list[bytes]:
    """Return searches by one embedding each."""
    rows = probes(NUM_BODIES).round(6).tolist()
    return [json.dumps({"embeddings": [row]}).encode() for row in rows]


def speed(options: argparse.Namespace) -> None:
    """Print how fast the service answers."""
    index = index_of(options.count, options.work)
    with served(index) as (address, pid), tempfile.TemporaryDirectory() as scratch:
        url = f"{address}/v1/search?k=10"
        script = bodies_in(Path(scratch) / "json", embedding_bodies(), "application/json")
        print_load(options.wrk, url, script, "one embedding", (1, 32))
        print_searcher(index)
        print_arrow(address, index)
        if options.photos is not None:
            kind = "multipart/form-data; boundary=photo"
            bodies = photo_bodies(options.photos, "photo")
            script = bodies_in(Path(scratch) / "photos", bodies, kind)
            print_load(options.wrk, url, script, "one photo", (1, 16))
        print(f"memory of the server: {resident_bytes(pid) / 1e6:,.0f} MB")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process itself takes, without files that it maps."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    assert found
    return 1024 * int(found[1])


def memory(options: argparse.Namespace) -> None:
    """Print the server's memory during mixed load, while the index is updated."""
    index = index_of(options.count, options.work)
    dataset = Path(ft.open_index(index).manifest.dataset)
    faces = ft.open_index(index).search_embeddings(probes(UPDATES), 1)
    with served(index) as (address, pid), tempfile.TemporaryDirectory() as scratch:
        script = bodies_in(Path(scratch) / "json", embedding_bodies(), "application/json")
        url, seconds = f"{address}/v1/search?k=10", int(60 * options.minutes)
        command = [options.wrk, "-t1", "-c8", f"-d{seconds}s", "-s", str(script), url]
        generator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started = time.monotonic()
        time.sleep(min(60, seconds / 10))
        beginning = resident_bytes(pid)
        for number in range(UPDATES):
            due = started + (number + 1) * seconds / (UPDATES + 1)
            time.sleep(max(0.0, due - time.monotonic()))
            deleted = ft.delete_faces(dataset, index, faces=faces[number].face_ids)
            if deleted.deletion_id is not None:
                ft.undo(dataset, deleted.deletion_id, index)
        said, _ = generator.communicate()
        end = resident_bytes(pid)
        print(said)
        print(
            f"memory of the server: {beginning / 1e6:,.0f} MB in the beginning, "
            f"{end / 1e6:,.0f} MB after {options.minutes:g} minutes and {UPDATES} updates "
            f"({end / beginning - 1:+.1%})"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("count", type=int)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--wrk", default=shutil.which("wrk"))
    options = parser.parse_args()
    if options.wrk is None:
        sys.exit("wrk is not installed; run `apt-get install wrk`, or name it by --wrk")
    print_header()
    version = subprocess.run([options.wrk, "-v"], capture_output=True, text=True, check=False)
    print(f"load by {(version.stdout or version.stderr).splitlines()[0]}\n")
    {"speed": speed, "memory": memory}[options.what](options)


if __name__ == "__main__":
    main()
