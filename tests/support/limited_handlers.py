"""What tests have limited processes do: things that no decoder should, but each could."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from faces.core.channel import Channel, Message


def spin(_: Channel, __: Message, ___: bytes) -> tuple[Message, Any]:
    """Compute without end, in one call of a function written in C."""
    return {}, str(pow(3, 10**9) == 0).encode()


def allocate(_: Channel, message: Message, __: bytes) -> tuple[Message, Any]:
    """Take memory."""
    return {"size": len(bytearray(message["size"]))}, b""


def crash(_: Channel, message: Message, __: bytes) -> tuple[Message, Any]:
    """End by a signal."""
    os.kill(os.getpid(), message.get("signal", signal.SIGSEGV))
    time.sleep(10)
    return {}, b""


def refuse(_: Channel, __: Message, ___: bytes) -> tuple[Message, Any]:
    """Raise an error."""
    raise ValueError("no such thing")


def pid(_: Channel, __: Message, ___: bytes) -> tuple[Message, Any]:
    """Tell which process this is."""
    return {"pid": os.getpid()}, b""


def ask(channel: Channel, _: Message, block: bytes) -> tuple[Message, Any]:
    """Ask the other side something, and answer with what it replied."""
    channel.send({"how many": len(block)})
    reply, _ = channel.receive()
    return reply, block[::-1]
