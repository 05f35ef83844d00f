"""The room that there is for requests, and the queues before networks and index."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from facetrove.service.admission import Admission
from facetrove.service.batching import Batcher
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import RefusedError


def test_requests_streams_and_bytes_are_counted_up_to_their_limits() -> None:
    admission = Admission(ServiceLimits(max_concurrent=1, max_streams=1, max_buffered_bytes=10))
    admission.begin_work()
    admission.require_stream()
    admission.num_streams += 1
    admission.hold(10)
    for attempt in (admission.begin_work, admission.require_stream, lambda: admission.hold(1)):
        with pytest.raises(RefusedError) as refused:
            attempt()
        assert (refused.value.status, refused.value.code) == (503, "busy")
        assert refused.value.headers == {"Retry-After": "1"}
    assert (admission.num_working, admission.num_streams, admission.num_bytes) == (1, 1, 10)


def test_the_rate_of_one_client_is_not_that_of_another() -> None:
    rates = Admission(ServiceLimits(max_rate=2)).rates
    rates.take("ann")
    rates.take("ann")
    with pytest.raises(RefusedError, match="2 requests per second"):
        rates.take("ann")
    rates.take("ben")


def test_what_waits_while_a_batch_is_worked_on_is_the_next_batch() -> None:
    begun, go_on = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def work(batch: Sequence[int]) -> Sequence[int | BaseException]:
        batches.append(list(batch))
        begun.set()
        assert go_on.wait(30)
        return [ValueError(number) if number == 3 else 10 * number for number in batch]

    async def run() -> list[int | BaseException]:
        batcher = Batcher("numbers", work, max_batch=4, max_queued=6, metrics=Metrics())
        first = asyncio.ensure_future(batcher.submit(1))
        await asyncio.to_thread(begun.wait, 30)
        others = [asyncio.ensure_future(batcher.submit(number)) for number in range(2, 8)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="6 numbers wait already"):
            await batcher.submit(8)
        others[-1].cancel()
        go_on.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        batcher.close()
        with pytest.raises(RefusedError):
            await batcher.submit(9)
        return found

    found = asyncio.run(run())
    assert batches == [[1], [2, 3, 4, 5], [6]]
    assert found[:2] == [10, 20] and found[3:6] == [40, 50, 60]
    assert isinstance(found[2], ValueError) and isinstance(found[6], asyncio.CancelledError)
