"""Messages between a process and the limited processes that work for it, over a Unix socket.

A message is a JSON object and a block of bytes. Nothing is pickled, so that a limited process,
which handles files of strangers, cannot make the other side run code.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap.mmap
"""A block of bytes."""

Message: TypeAlias = dict[str, Any]
"""The JSON object of a message."""

INLINE_BYTES = 1_000_000
"""Maximum size in bytes of a block that is sent through the socket itself. A larger one is passed
as a file in memory, which the receiver maps, where the system has such files (Linux)."""

_MAX_SENT_BYTES = INLINE_BYTES if hasattr(os, "memfd_create") else 1 << 32
"""Maximum size in bytes of a block that comes through the socket itself."""

MAX_MESSAGE_BYTES = 16_000_000
"""Maximum size in bytes of the JSON object of a message."""

_PREFIX = struct.Struct("<IQ?")
"""What each message begins with: bytes of the JSON object, bytes of the block, and whether the
block is passed as a file in memory."""


class ChannelClosedError(Exception):
    """An error raised because the process at the other end has ended, or closed its end."""


class Channel:
    """One end of a connection between two processes, for one thread at a time.

    Args:
        connection: a connected Unix stream socket, which the channel closes.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def close(self) -> None:
        """Close this end; the other end then gets a `ChannelClosedError`."""
        self._socket.close()

    def wait_at_most(self, seconds: float | None) -> None:
        """Make every later wait longer than this raise TimeoutError; None: wait without end."""
        self._socket.settimeout(seconds)

    def send(self, message: Mapping[str, Any], block: Any = b"", *, descriptor: int = -1) -> None:
        """Send a message.

        Args:
            message: the JSON object.
            block: any object with the buffer protocol whose memory is contiguous.
            descriptor: a file descriptor to pass to the other process; -1: none. The block must be
                empty then.

        Raises:
            ChannelClosedError: the other process has ended.
            TimeoutError: see `wait_at_most`.
        """
        content = memoryview(block)
        content = content.cast("B") if content.nbytes else memoryview(b"")
        text = json.dumps(message).encode()
        in_memory_file = len(content) > INLINE_BYTES and hasattr(os, "memfd_create")
        head = _PREFIX.pack(len(text), len(content), in_memory_file) + text
        try:
            if in_memory_file:
                file = os.memfd_create("facetrove")
                try:
                    _write_all(file, content)
                    self._send_with(head, file)
                finally:
                    os.close(file)
            elif descriptor >= 0:
                self._send_with(head, descriptor)
            elif len(content) < 1 << 16:
                self._socket.sendall(head + content)
            else:
                self._socket.sendall(head)
                self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosedError from error

    def _send_with(self, head: bytes, descriptor: int) -> None:
        sent = socket.send_fds(self._socket, [head], [descriptor])
        self._socket.sendall(head[sent:])

    def receive(self, *, as_bytes: bool = False) -> tuple[Message, Buffer]:
        """Wait for a message and return its JSON object and its block.

        Args:
            as_bytes: whether the block has to be `bytes`; else a large block may be a private,
                writable mapping of a file in memory.

        Raises:
            ChannelClosedError: the other process has ended.
            TimeoutError: see `wait_at_most`.
        """
        message, block, descriptor = self.receive_descriptor(as_bytes=as_bytes)
        if descriptor >= 0:
            os.close(descriptor)
        return message, block

    def receive_descriptor(self, *, as_bytes: bool = False) -> tuple[Message, Buffer, int]:
        """Receive a message like `receive`, and the descriptor that was passed with it.

        Returns:
            The JSON object, the block, and the file descriptor, which the caller closes; -1: none
            was passed.
        """
        try:
            prefix, descriptors = self._receive_prefix()
            text_bytes, block_bytes, in_memory_file = _PREFIX.unpack(prefix)
            if text_bytes > MAX_MESSAGE_BYTES:
                raise ChannelClosedError(f"a message has {text_bytes} bytes")
            if not in_memory_file and block_bytes > _MAX_SENT_BYTES:
                raise ChannelClosedError(f"a block has {block_bytes} bytes")
            message = json.loads(bytes(self._receive_bytes(text_bytes)))
            if not isinstance(message, dict):
                raise ChannelClosedError("a message is no JSON object")
            if not in_memory_file:
                block: Buffer = self._receive_bytes(block_bytes)
                descriptor = descriptors[0] if descriptors else -1
                return message, bytes(block) if as_bytes else block, descriptor
        except (ConnectionResetError, ValueError) as error:  # ValueError: not JSON
            raise ChannelClosedError(str(error)) from error
        if not descriptors:
            raise ChannelClosedError("a message came without its file in memory")
        try:
            return message, _read_file(descriptors[0], block_bytes, as_bytes=as_bytes), -1
        finally:
            os.close(descriptors[0])

    def _receive_prefix(self) -> tuple[bytes, list[int]]:
        prefix, descriptors, _, _ = socket.recv_fds(self._socket, _PREFIX.size, 1)
        if not prefix:
            raise ChannelClosedError
        if len(prefix) < _PREFIX.size:
            prefix += bytes(self._receive_bytes(_PREFIX.size - len(prefix)))
        return prefix, descriptors

    def _receive_bytes(self, size: int) -> bytearray:
        content = bytearray(size)
        missing = memoryview(content)
        while missing:
            count = self._socket.recv_into(missing)
            if not count:
                raise ChannelClosedError
            missing = missing[count:]
        return content


def _write_all(file: int, content: memoryview) -> None:
    while content:
        content = content[os.write(file, content) :]


def _read_file(file: int, size: int, *, as_bytes: bool) -> Buffer:
    if os.fstat(file).st_size < size:  # reading beyond the end of a mapping would kill this process
        raise ChannelClosedError("a file in memory is shorter than announced")
    if not as_bytes:
        return mmap.mmap(file, size, flags=mmap.MAP_PRIVATE)
    with open(file, "rb", closefd=False, buffering=0) as opened:
        opened.seek(0)
        return opened.read(size)
