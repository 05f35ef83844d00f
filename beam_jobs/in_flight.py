"""The in-flight photos of workers, by which a photo that kills its worker is identified.

Each worker keeps a marker: a small file with the keys of its in-flight photos, which are those that
it works on. When a worker is killed, crashes or runs out of memory, its marker stays. The next
attempt, on any runner and in any later run, adds the photos in it to the poison record, embeds each
of them alone, and quarantines a photo on which workers died too often.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from faces.core.files import atomic_write
from faces.core.folders import make_inner_folder

MAX_DEATHS = 3
"""A photo is quarantined when so many workers died while it alone was in flight."""

_SEPARATOR = "\0"
"""Separator of the keys in a marker, which no path contains."""

_MARKERS_DIR = "in-hand"
_POISON_RECORD_FILE = "suspects.json"


def in_flight_file(work_dir: Path, part: str) -> Path:
    """Return the path of a worker's marker, which is named after the part that it makes."""
    return work_dir / _MARKERS_DIR / part


def photo_keys(photos: pa.Table) -> list[str]:
    """Return the keys of photos: size, time and uri, so that a replaced file has another key.

    Args:
        photos: rows with the columns num_bytes, mtime_ns and uri.
    """
    columns = (photos[name].to_pylist() for name in ("num_bytes", "mtime_ns", "uri"))
    return [f"{size} {time} {uri}" for size, time, uri in zip(*columns, strict=True)]


class InFlight:
    """A worker's marker: a file with the keys of its in-flight photos.

    Args:
        path: path of the marker, from `in_flight_file`; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        make_inner_folder(path.parent, exist_ok=True)
        self._path = path
        _own_markers.add(path)
        self._file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)

    def take(self, keys: Iterable[str]) -> None:
        """Write the keys of the photos that are in flight now, in place of the previous ones."""
        content = _SEPARATOR.join(keys).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def done(self) -> None:
        """Remove the marker: the work is committed, or failed without the worker's death."""
        os.close(self._file)
        _own_markers.discard(self._path)
        self._path.unlink(missing_ok=True)


_own_markers: set[Path] = set()
"""Paths of the markers of this process."""


def clear_in_flight() -> None:
    """Remove this process's in-flight markers.

    Call it just before a deliberate exit, so that the process's photos are not counted as crash
    suspects.
    """
    for path in list(_own_markers):
        path.unlink(missing_ok=True)


class PoisonRecord:
    """The poison record: a file with the photos that were in flight when workers died.

    Args:
        work_dir: the dataset's work folder, in which the record is read and written.

    Attributes:
        deaths: number of workers that died while a photo alone was in flight, by the photo's key
            (see `photo_keys`); 0 for a photo that was in flight together with others.
    """

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / _POISON_RECORD_FILE
        self._markers_dir = work_dir / _MARKERS_DIR
        try:
            stored = json.loads(self._path.read_text())
            self.deaths = Counter({str(key): int(count) for key, count in stored.items()})
        except (OSError, ValueError, AttributeError):  # deaths are counted anew
            self.deaths = Counter()

    def __contains__(self, key: str) -> bool:
        return key in self.deaths

    def clear(self) -> None:
        """Empty the record in memory; only `collect` writes its file."""
        self.deaths.clear()

    def collect(self) -> bool:
        """Add the photos in the markers of dead workers, and return whether there were any."""
        found = False
        for path in self._markers_dir.glob("*"):
            content = path.read_bytes().decode(errors="replace")
            keys = [key for key in content.split(_SEPARATOR) if key]
            for key in keys:
                self.deaths[key] += len(keys) == 1
            found = found or bool(keys)
            self._save()
            path.unlink()
        return found

    def quarantined(self) -> set[str]:
        """Return the keys of the photos that are not tried any more."""
        return {key for key, count in self.deaths.items() if count >= MAX_DEATHS}

    def _save(self) -> None:
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(self.deaths))
