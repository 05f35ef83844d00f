"""A small fuzzer: changes kept inputs at random, and keeps those that reach new code.

Reached code is seen by Python's own tracing, in the modules that a harness names. Draws are seeded.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

MAX_INPUT_BYTES = 65_536
"""Inputs are not made longer than this."""

MAX_SECONDS = 5.0
"""Processor time in seconds that an input may take; more is a fault."""

MAX_KEPT_BYTES = 2_048
"""Inputs of at most this size are written to the kept corpus."""

_NUMBERS = (0, 1, 2, 4, 7, 8, 16, 127, 128, 255, 256, 512, 32767, 65535, 2**31 - 1, 2**32 - 1)
"""Numbers at which parsers go wrong."""


@dataclass(frozen=True)
class Harness:
    """A parser, and what it may do with an input.

    Attributes:
        name: name of the harness, and of its folder in the corpus.
        seeds: inputs that the parser accepts.
        run: function that has the parser read an input, and checks what must hold of the result.
        refusals: errors by which the parser may refuse an input. Any other is a fault.
        modules: names of the modules whose lines are watched.
        words: pieces of inputs that random bytes would hardly hit.
        repaired: function that makes checksums in a changed input right again.
    """

    name: str
    seeds: Sequence[bytes]
    run: Callable[[bytes], None]
    refusals: tuple[type[BaseException], ...]
    modules: tuple[str, ...]
    words: Sequence[bytes] = ()
    repaired: Callable[[bytes], bytes] = bytes


class FaultFoundError(AssertionError):
    """An error that names a fault, and the input that shows it.

    Attributes:
        content: the input.
    """

    def __init__(self, harness: str, content: bytes, why: str) -> None:
        shown = content[:200].hex()
        super().__init__(f"{harness}: {why}; input of {len(content)} bytes: {shown}")
        self.content = content


@dataclass
class Fuzzer:
    """A run of one harness.

    Attributes:
        harness: what is fuzzed.
        seed: seed of the random changes.
        corpus: inputs that reached code which no input before them did.
        num_runs: number of inputs tried.
    """

    harness: Harness
    seed: int = 0
    corpus: list[bytes] = field(default_factory=list)
    num_runs: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._reached: set[tuple[str, int, int]] = set()
        files = {sys.modules[name].__file__ for name in self.harness.modules}
        self._files = {file for file in files if file is not None}

    def run(self, seconds: float, kept: Sequence[bytes] = ()) -> None:
        """Try the seeds, the kept inputs, and changes of them, for so many seconds.

        Raises:
            FaultFoundError: an input shows a fault.
        """
        end = time.monotonic() + seconds
        for content in (*self.harness.seeds, *kept):
            self.corpus.append(content)
            self._try(content)
        while time.monotonic() < end:
            content = self._changed(self._random.choice(self.corpus))
            if self._try(content):
                self.corpus.append(content)

    def _try(self, content: bytes) -> bool:
        """Run the parser on an input, and return whether it reached new code."""
        self.num_runs += 1
        before = len(self._reached)
        start = time.process_time()
        sys.settrace(self._trace)
        try:
            self.harness.run(content)
        except self.harness.refusals:
            pass
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise FaultFoundError(self.harness.name, content, why) from error
        finally:
            sys.settrace(None)
        if time.process_time() - start > MAX_SECONDS:
            raise FaultFoundError(self.harness.name, content, f"takes over {MAX_SECONDS} seconds")
        return len(self._reached) > before

    def _trace(self, frame: FrameType, _: str, __: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        file, last = frame.f_code.co_filename, frame.f_lineno

        def trace_line(inner: FrameType, event: str, __: Any) -> Any:
            nonlocal last
            if event == "line":  # a step from one line to another, so that branches count
                self._reached.add((file, last, inner.f_lineno))
                last = inner.f_lineno
            return trace_line

        return trace_line

    def _changed(self, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(self._random.choice((1, 1, 2, 3, 5))):
            self._change(changed)
        return self.harness.repaired(bytes(changed[:MAX_INPUT_BYTES]))

    def _change(self, content: bytearray) -> None:
        draw = self._random
        at = draw.randrange(len(content) + 1)
        if draw.random() < 0.5:  # archives are mostly zeros
            at = next((row for row in range(at, len(content)) if content[row]), at)
        kind = draw.randrange(7)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and at < len(content):
            content[at] = draw.randrange(256)
        elif kind == 2:  # a number in one of the usual forms
            form = draw.choice(("<B", "<H", ">H", "<I", ">I"))
            number = draw.choice(_NUMBERS) % (1 << 8 * struct.calcsize(form))
            content[at : at + struct.calcsize(form)] = struct.pack(form, number)
        elif kind == 3:
            del content[at : at + draw.choice((1, 2, 4, 16, 512))]
        elif kind == 4:
            stop = at + draw.choice((1, 2, 4, 16, 64, 512))
            content[at:at] = content[at:stop] * draw.choice((1, 1, 2, 16))
        elif kind == 5:
            other = draw.choice(self.corpus)
            start = draw.randrange(len(other) + 1)
            content[at:at] = other[start : start + draw.choice((4, 16, 64, 512))]
        elif self.harness.words:
            word = draw.choice(list(self.harness.words))
            content[at : at + draw.choice((0, len(word)))] = word


def kept_inputs(folder: Path) -> list[bytes]:
    """Return the inputs of a kept corpus."""
    return [path.read_bytes() for path in sorted(folder.glob("*"))] if folder.is_dir() else []


def keep(folder: Path, inputs: Sequence[bytes]) -> None:
    """Write small inputs to a kept corpus, each under a digest of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for content in inputs:
        if len(content) <= MAX_KEPT_BYTES:
            name = hashlib.sha256(content).hexdigest()[:16]
            (folder / name).write_bytes(content)
