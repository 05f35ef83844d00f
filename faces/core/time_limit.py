"""A limit on the processor time of what is computed for one photo, checked between its steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

MAX_SHARED = 256
"""Maximum number of faces, or of places that may be faces, of a photo that is computed together
with others. A photo of more is computed alone, so that its time is known to be its own."""


class OutOfTimeError(Exception):
    """An error raised because the time that was allowed is over."""


class TooManyFacesError(Exception):
    """An error raised because a photo of very many faces is computed together with others."""


_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_shared: ContextVar[bool] = ContextVar("shared", default=False)


@contextmanager
def time_limited(seconds: float) -> Iterator[None]:
    """Have `require_time` raise when this process has computed so long, while the context is open.

    Args:
        seconds: processor time of the process in seconds.
    """
    token = _deadline.set(time.process_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def sharing_time() -> Iterator[None]:
    """Have `require_few` raise for more than `MAX_SHARED`, while the context is open."""
    token = _shared.set(True)
    try:
        yield
    finally:
        _shared.reset(token)


def require_time(seconds: float = 0.0) -> None:
    """Raise OutOfTimeError if the time limit in force, if any, is over, or will be by a step.

    Call it between steps of less than a second, and before a longer one.

    Args:
        seconds: processor time in seconds that the next step takes, if that is over a second.
    """
    deadline = _deadline.get()
    if deadline is not None and time.process_time() + seconds > deadline:
        raise OutOfTimeError


def require_few(count: int) -> None:
    """Raise TooManyFacesError if a photo that is computed together with others has so many faces.

    Args:
        count: number of faces of the photo, or of places in it that may be faces.
    """
    if count > MAX_SHARED and _shared.get():
        raise TooManyFacesError


def paced_blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield items in blocks, and give up as soon as those that are left cannot end in time.

    Args:
        items: the items, which are equal steps.
        size: number of items in a block.

    Raises:
        OutOfTimeError: the items left would take too long at the pace so far.
    """
    pace = Pace(len(items))
    for start in range(0, len(items), size):
        pace.require_time(start)
        yield items[start : start + size]


class Pace:
    """How fast many equal steps go, so that those that cannot end in time are given up at once.

    Args:
        total: number of steps.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = time.process_time()

    def require_time(self, done: int) -> None:
        """Raise OutOfTimeError if the steps left would take too long at the pace so far.

        Args:
            done: number of steps done.
        """
        spent = time.process_time() - self._started
        require_time(spent / done * max(0, self._total - done) if done else 0.0)
