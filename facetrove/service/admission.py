"""Admission of requests: how many at a time, how many per second, and how many bytes."""

from __future__ import annotations

import time
from collections import OrderedDict

from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import RefusedError, busy

MAX_CLIENTS = 10_000
"""Number of clients whose rate is remembered; the one that was quiet for longest is forgotten."""


class Rates:
    """A token bucket for each client, which fills at `per_second` and holds one second's worth.

    Args:
        per_second: requests per second that a client may make; None: any number.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Take a token of a client.

        Args:
            client: name of its key, or its address.

        Raises:
            RefusedError: there is none left.
        """
        if self._per_second is None:
            return
        now, most = time.monotonic(), max(1.0, self._per_second)
        tokens, since = self._buckets.pop(client, (most, now))
        tokens = min(most, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RefusedError(
                429,
                "over_max_rate",
                f"more than {self._per_second:g} requests per second; wait and try again",
                headers={"Retry-After": "1"},
            )


class Admission:
    """The room that there is for requests. It is used by the event loop alone.

    Args:
        limits: the limits of the service.

    Attributes:
        num_working: number of requests that are being worked on.
        num_bytes: size in bytes of all bodies that are held.
        num_streams: number of open streams of events.
        rates: how fast clients may ask.
    """

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self.num_working = 0
        self.num_bytes = 0
        self.num_streams = 0
        self.rates = Rates(limits.max_rate)

    def begin_work(self) -> None:
        """Count a request whose body has arrived.

        Raises:
            RefusedError: too many are being worked on.
        """
        if self.num_working >= self._limits.max_concurrent:
            raise busy(
                f"the server works on {self.num_working} requests already; try again in a second"
            )
        self.num_working += 1

    def hold(self, num_bytes: int) -> None:
        """Count a piece of a body that has arrived.

        Raises:
            RefusedError: too much is held.
        """
        if self.num_bytes + num_bytes > self._limits.max_buffered_bytes:
            raise busy("the server is receiving too much at a time; try again in a second")
        self.num_bytes += num_bytes

    def require_stream(self) -> None:
        """Check that a further stream of events may be opened; it is counted when it begins.

        Raises:
            RefusedError: too many are open.
        """
        if self.num_streams >= self._limits.max_streams:
            raise busy(f"{self.num_streams} streams of events are open; ask for the job instead")
