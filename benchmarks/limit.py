"""A lower bound of the embed job's cost: decoding and the networks' arithmetic alone.

The job's own steps run once in this process, on one thread, while the shape of every batch that a
network gets is recorded. Then each part is timed separately: reading and decoding the photos, and
each network on random batches of exactly these shapes. Freed memory is kept by the process
meanwhile, because getting it from the system again for every photo can cost more than decoding.
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
    """The minimum processor time of photos by part, in milliseconds per photo.

    Attributes:
        decode: reading and decoding photos, at the reduced size that the pipeline asks for.
        detect: running the detector's network.
        embed: running the embedder's network.
        steps: for comparison, all that a worker does, on one thread.
    """

    decode: float
    detect: float
    embed: float
    steps: float

    @property
    def total(self) -> float:
        """The limit: decoding and both networks."""
        return self.decode + self.detect + self.embed


@dataclass(frozen=True)
class Call:
    """A recorded call of a network, with the shape of its batch."""

    network: Network
    shape: tuple[int, ...]


class LimitBench:
    """A measurement of the limit for a folder of photos and an embedder.

    Args:
        photos: a folder that holds photos and nothing else.
        embedder: the embedder's name, as in `faces.models.registry`.
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
        """Describe the most frequent batches of the networks, such as `3x 2x3x256x256`."""
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
    """Record the calls of networks while the context is open, in order."""
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
    """Record each photo that is decoded again in more detail while the context is open.

    Yields:
        Functions that repeat these decodings.
    """
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
    """Keep glibc from returning freed memory to the system; see mallopt(3)."""
    mmap_max, trim_threshold = -4, -1
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def embed_like_worker(pipeline: FacePipeline, photos: Path) -> None:
    """Do all that a worker of the job does with photos, except writing the dataset."""
    cv2.setNumThreads(1)
    embed_shard(pipeline, list_photos([photos]).photos, PHOTO_SCHEMA)
