"""What workers have in hand: so that a photo that kills its worker can be told from the others.

A worker keeps a small file with the names of the photos that it works on. The file of a worker
that was killed, crashed or ran out of memory stays, and tells the next attempt, on any runner
and in any later run, which photos to be careful with.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from faces.core.files import PRIVATE, atomic_write

MAX_DEATHS = 3
"""A photo on which workers died so often, alone in hand, is not tried any more."""

_SEPARATOR = "\0"

_FOLDER = "in-hand"
_SUSPECTS_FILE = "suspects.json"


def in_flight_file(work_dir: Path, part: str) -> Path:
    """The path of the file of what a worker has in hand, named after the part it is making."""
    return work_dir / _FOLDER / part


def photo_keys(photos: pa.Table) -> list[str]:
    """Names by which photos are suspected: a file that was replaced is another photo."""
    columns = (photos[name].to_pylist() for name in ("num_bytes", "mtime_ns", "uri"))
    return [f"{size} {time} {uri}" for size, time, uri in zip(*columns, strict=True)]


class InFlight:
    """A worker's file of what it has in hand.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True, mode=PRIVATE)
        self._path = path
        _held.add(path)
        self._file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)

    def take(self, keys: Iterable[str]) -> None:
        """Put down what is now in hand, instead of what was."""
        content = _SEPARATOR.join(keys).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def done(self) -> None:
        """Nothing is in hand: the work is committed."""
        os.close(self._file)
        _held.discard(self._path)
        self._path.unlink(missing_ok=True)


_held: set[Path] = set()
"""Files of this process."""


def clear_in_flight() -> None:
    """What this process has in hand is not to blame for its end. Call right before it."""
    for path in list(_held):
        path.unlink(missing_ok=True)


class PoisonRecord:
    """Photos that were in the hands of workers that died, kept in a file.

    Attributes:
        deaths: by name (see `photo_keys`), how often a worker died with this photo alone in hand.
    """

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / _SUSPECTS_FILE
        self._in_flight_dir = work_dir / _FOLDER
        try:
            stored = json.loads(self._path.read_text())
            self.deaths = Counter({str(key): int(count) for key, count in stored.items()})
        except (OSError, ValueError, AttributeError):  # without it they are found again
            self.deaths = Counter()

    def __contains__(self, key: str) -> bool:
        return key in self.deaths

    def forgive(self) -> None:
        """Forget all deaths."""
        self.deaths.clear()

    def collect(self) -> bool:
        """Add what dead workers had in hand. Gives whether there was anything."""
        found = False
        for path in self._in_flight_dir.glob("*"):
            content = path.read_bytes().decode(errors="replace")
            keys = [key for key in content.split(_SEPARATOR) if key]
            for key in keys:
                self.deaths[key] += len(keys) == 1
            found = found or bool(keys)
            self._save()
            path.unlink()
        return found

    def quarantined(self) -> set[str]:
        """Names of photos not to be tried any more."""
        return {key for key, count in self.deaths.items() if count >= MAX_DEATHS}

    def _save(self) -> None:
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(self.deaths))
