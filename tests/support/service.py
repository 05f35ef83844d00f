"""A running service in tests: in a thread of the test's process, or as the real command."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.dataset.header import DatasetSettings
from faces.dataset.schema import faces_table
from faces.dataset.writing import DatasetWriter
from facetrove.service.options import ServiceOptions
from facetrove.service.server import Stopping, run_server
from indexer.build import build_index
from tests.support.command import ROOT
from tests.support.parts import QUALITY
from tests.support.small_collections import NO_FACES, Collection, many_photos
from tests.support.vectors import unit_vectors

DEADLINE_SECONDS = 60.0


def small_index(folder: Path, num_photos: int = 40) -> tuple[Collection, Path]:
    """Make a dataset and an index of three random faces in each photo, without networks."""
    collection = Collection(folder / "faces.dataset")
    collection.embed(many_photos(num_photos))
    index = folder / "faces.index"
    build_index(collection.path, index)
    return collection, index


@contextmanager
def serving(index: Path, **options: Any) -> Iterator[httpx.Client]:
    """Serve an index in a thread, on a free port, and yield a client of it."""
    found: queue.Queue[str | BaseException] = queue.Queue()
    stopping = Stopping()

    def run() -> None:
        try:
            run_server(
                ServiceOptions(index, port=0, **options), on_ready=found.put, stopping=stopping
            )
        except BaseException as error:
            found.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    address = found.get(timeout=DEADLINE_SECONDS)
    if isinstance(address, BaseException):
        thread.join()
        raise address
    try:
        with httpx.Client(base_url=address, timeout=DEADLINE_SECONDS, trust_env=False) as client:
            yield client
    finally:
        stopping.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


class ServiceProcess:
    """The real command in a process of its own."""

    def __init__(self, index: Path, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "facetrove", "serve", str(index), "--port", "0"),
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=index.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.client = httpx.Client()
        address = re.search(r"http://\S+", line)
        assert address, line + self.end()
        self.client = httpx.Client(base_url=address[0], timeout=DEADLINE_SECONDS, trust_env=False)

    def kill(self) -> None:
        """End the process as kill -9 does."""
        self._process.kill()
        self.end()

    def end(self) -> str:
        """End the process as Ctrl-C does, if it runs, and return what it said to stderr."""
        self.client.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=DEADLINE_SECONDS)
        return said


def eventually(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """Wait until a condition holds, and return its value; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def finished_job(client: httpx.Client, job_id: str, **options: Any) -> dict[str, Any]:
    """Wait until a job has ended, and return it."""

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", **options).json()
        return job if job["state"] in ("done", "failed", "cancelled") else None

    found: dict[str, Any] = eventually(ended)
    return found


def begun_job(answer: httpx.Response) -> str:
    """Return the id of the job that an answer is about."""
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    return job_id


def as_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error, whose envelope is checked."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, error["code"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def index_of_contract(folder: Path, contract: ModelContract) -> Path:
    """Make an index of a few random embeddings that says that some networks made them."""
    settings = DatasetSettings(contract)
    vectors = unit_vectors(5, contract.dimension, seed=0)
    rows = [
        {
            "face_id": f"{number:032x}",
            "photo_id": f"{number:064x}",
            "uri": f"/photos/{number}.jpg",
            "box": [0, 0, 1, 1],
            "landmarks": [0] * 10,
            "score": 0.5,
            **dict.fromkeys(QUALITY, 0.5),
        }
        for number in range(len(vectors))
    ]
    photos = [
        {**NO_FACES, "uri": row["uri"], "num_bytes": 1, "mtime_ns": 1, "photo_id": row["photo_id"]}
        | {"width": 9, "height": 9, "num_faces": 1, "status": "embedded"}
        for row in rows
    ]
    with DatasetWriter.open(folder / "d", settings) as writer:
        table = pa.Table.from_pylist(photos, schema=writer.dataset.photo_schema)
        faces = faces_table(rows, vectors, contract.dimension)
        writer.write_part(writer.part_name(0), table, faces, {})
        writer.finish(None)
    build_index(folder / "d", folder / "i")
    return folder / "i"
