"""The least that photos can cost: decoding them and the networks' arithmetic, nothing else.

The job's own steps are run once in this process, on one thread, and note the shape of every
batch that a network gets. Then each part is timed by itself: reading and decoding the photos, and
each network on random batches of exactly these shapes. Memory once used is kept meanwhile: taking
it from the system anew for every photo can cost more than decoding does.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from beam_jobs.shard import embed_shard
from faces.dataset.schema import PHOTO_SCHEMA
from faces.models.choice import ModelChoice
from faces.models.engines import ENGINES, Network
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.decoding import Photo, decode_photo
from faces.photos.listing import list_photos


@dataclass(frozen=True)
class Limit:
    """Processor time that photos need at least, in milliseconds a photo.

    Attributes:
        decode: reading and decoding, as far reduced as the pipeline wants it.
        detect: the detector's network.
        embed: the embedder's network.
        steps: for comparison, everything that a worker does, by one thread in one process.
    """

    decode: float
    detect: float
    embed: float
    steps: float

    @property
    def total(self) -> float:
        """The limit itself: decoding and both networks."""
        return self.decode + self.detect + self.embed


@dataclass(frozen=True)
class Call:
    """One batch that a network was given."""

    network: Network
    shape: tuple[int, ...]


class LimitBench:
    """Measures the limit of a folder of photos for one embedder; see the module.

    Args:
        photos: flat folder of photos and nothing else.
        embedder: as in `faces.models.registry`.
    """

    def __init__(self, photos: Path, embedder: str) -> None:
        _keep_freed_memory()
        self._photos = photos
        self._pipeline = load_pipeline(ModelChoice(embedder=embedder), threads=1)
        with recorded_calls() as calls, recorded_finer() as self._decode_again:
            embed_like_worker(self._pipeline, photos)
        crop = self._pipeline.embedder.alignment.width
        self._embedder_calls = [call for call in calls if call.shape[2:] == (crop, crop)]
        self._detector_calls = [call for call in calls if call.shape[2:] != (crop, crop)]
        self._num_photos = sum(1 for _ in photos.iterdir())

    def measure(self) -> Limit:
        """Time every part once."""
        return Limit(
            decode=self._cpu_ms(self._decode_all),
            detect=self._replay_ms(self._detector_calls),
            embed=self._replay_ms(self._embedder_calls),
            steps=self._cpu_ms(lambda: embed_like_worker(self._pipeline, self._photos)),
        )

    def batches(self) -> str:
        """What the networks were given, for the report: `3x 2x3x256x256` and so on."""
        counted = Counter(call.shape for call in self._detector_calls + self._embedder_calls)
        return ", ".join(f"{n}x {'x'.join(map(str, shape))}" for shape, n in counted.most_common(6))

    def _decode_all(self) -> None:
        for path in self._photos.iterdir():
            reduction_for = self._pipeline.detector.reduction_for
            decode_photo(path.read_bytes(), reduction_for=reduction_for)
        for decode in self._decode_again:
            decode()

    def _replay_ms(self, calls: list[Call]) -> float:
        random = np.random.default_rng(0)
        shapes = {call.shape for call in calls}
        batches = {shape: random.uniform(0, 255, shape).astype(np.float32) for shape in shapes}

        def replay() -> None:
            for call in calls:
                call.network.run(batches[call.shape])

        return self._cpu_ms(replay)

    def _cpu_ms(self, work: Callable[[], object]) -> float:
        before = time.process_time()
        work()
        return (time.process_time() - before) * 1000 / self._num_photos


@contextmanager
def recorded_calls() -> Iterator[list[Call]]:
    """The batches that networks are given while the context is open, in order."""
    calls: list[Call] = []

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_and_note(network: Network, batch: Any, *args: Any, **more: Any) -> Any:
            calls.append(Call(network, batch.shape))
            return run(network, batch, *args, **more)

        return run_and_note

    with ExitStack() as stack:
        for engine in ENGINES.values():
            stack.enter_context(patch.object(engine, "run", noting(engine.run)))
        yield calls


@contextmanager
def recorded_finer() -> Iterator[list[Callable[[], object]]]:
    """Functions that decode again what was decoded in more detail while the context is open."""
    again: list[Callable[[], object]] = []
    finer = Photo.finer

    def finer_and_note(photo: Photo, reduction: int) -> Photo:
        result = finer(photo, reduction)
        if result is not photo and photo._decode is not None:
            again.append(partial(photo._decode, reduction))
        return result

    with patch.object(Photo, "finer", finer_and_note):
        yield again


def _keep_freed_memory() -> None:
    """Keep glibc from giving memory back to the system; see mallopt(3)."""
    mmap_max, trim_threshold = -4, -1
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def embed_like_worker(pipeline: FacePipeline, photos: Path) -> None:
    """All that a worker of the job does with photos, but for writing the dataset."""
    cv2.setNumThreads(1)
    embed_shard(pipeline, list_photos([photos]).photos, PHOTO_SCHEMA)
