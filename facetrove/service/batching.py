"""Micro-batches: requests that arrive while others are worked on are worked on together.

Nothing waits for a batch to fill: whatever is in the queue when the worker becomes free is its next
batch. So one request at a time has no delay, and many at a time share the cost of each step.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from facetrove.service.metrics import Metrics
from facetrove.service.refusals import busy

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Sequence[Item]], Sequence[Result | BaseException]]
"""A function that works on a batch, in a thread; returns a result or an error for each item."""


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]
    loop: asyncio.AbstractEventLoop


class Batcher(Generic[Item, Result]):
    """A bounded queue and the threads that work on it in batches.

    Args:
        name: name of the queue, for measures and messages.
        work: function that works on a batch.
        max_batch: maximum number of items in a batch.
        max_queued: maximum number of items that wait.
        num_threads: number of threads.
        metrics: measures.
    """

    def __init__(
        self,
        name: str,
        work: Work[Item, Result],
        *,
        max_batch: int,
        max_queued: int,
        num_threads: int = 1,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._work = work
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._condition = threading.Condition()
        self._is_closed = False
        self._length = metrics.queued.labels(name)
        self._sizes = metrics.batch.labels(name)
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, item: Item) -> Result:
        """Have an item worked on, and return its result.

        Raises:
            RefusedError: too many items wait.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._condition:
            if self._is_closed or len(self._queue) >= self._max_queued:
                raise busy(f"{len(self._queue)} {self._name} wait already; try again in a second")
            self._queue.append(_Waiting(item, future, loop))
            self._condition.notify()
        return await future

    def close(self) -> None:
        """Have the threads end when they have done what they are doing."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while batch := self._next_batch():
            # A client that is gone has cancelled its future.
            batch = [waiting for waiting in batch if not waiting.future.cancelled()]
            if not batch:
                continue
            self._sizes.observe(len(batch))
            results: Sequence[Result | BaseException]
            try:
                results = self._work([waiting.item for waiting in batch])
            except BaseException as error:
                results = [error] * len(batch)
            with suppress(RuntimeError):  # the loop has ended
                batch[0].loop.call_soon_threadsafe(_deliver, batch, results)
            del batch, results

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        with self._condition:
            while not self._queue and not self._is_closed:
                self._condition.wait()
            if self._is_closed:
                return []
            count = min(len(self._queue), self._max_batch)
            batch = [self._queue.popleft() for _ in range(count)]
            self._length.set(len(self._queue))
            return batch


def _deliver(
    batch: Sequence[_Waiting[Item, Result]], results: Sequence[Result | BaseException]
) -> None:
    for waiting, result in zip(batch, results, strict=True):
        if waiting.future.done():
            continue
        if isinstance(result, BaseException):
            waiting.future.set_exception(result)
        else:
            waiting.future.set_result(result)
