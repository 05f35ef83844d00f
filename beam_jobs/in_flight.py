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

import pyarrow as pa

from faces.core.documents import Count, parse
from faces.core.errors import CorruptFileError
from faces.core.storage import Folder

MAX_DEATHS = 3
"""A photo is quarantined when so many workers died while it alone was in flight."""

_SEPARATOR = "\0"
"""Separator of the keys in a marker, which no path contains."""

_MARKERS_DIR = "in-hand"
_POISON_RECORD_FILE = "suspects.json"


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
        work: the dataset's work folder.
        part: name of the part that the worker makes, after which the marker is named.
    """

    def __init__(self, work: Folder, part: str) -> None:
        work.make_folder(_MARKERS_DIR)
        self._marker = (work, f"{_MARKERS_DIR}/{part}")
        _own_markers.add(self._marker)
        self._file = work.create(self._marker[1])

    def take(self, keys: Iterable[str]) -> None:
        """Write the keys of the photos that are in flight now, in place of the previous ones."""
        content = _SEPARATOR.join(keys).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def done(self) -> None:
        """Remove the marker: the work is committed, or failed without the worker's death."""
        os.close(self._file)
        _own_markers.discard(self._marker)
        work, name = self._marker
        work.remove(name)


_own_markers: set[tuple[Folder, str]] = set()
"""The markers of this process: their work folders and names."""


def clear_in_flight() -> None:
    """Remove this process's in-flight markers.

    Call it just before a deliberate exit, so that the process's photos are not counted as crash
    suspects.
    """
    for work, name in list(_own_markers):
        work.remove(name)


class PoisonRecord:
    """The poison record: a file with the photos that were in flight when workers died.

    Args:
        work: the dataset's work folder, in which the record is read and written.

    Attributes:
        deaths: number of workers that died while a photo alone was in flight, by the photo's key
            (see `photo_keys`); 0 for a photo that was in flight together with others.
    """

    def __init__(self, work: Folder) -> None:
        self._work = work
        try:
            self.deaths = Counter(parse(work.read(_POISON_RECORD_FILE), dict[str, Count]))
        except (OSError, ValueError, CorruptFileError):  # deaths are counted anew
            self.deaths = Counter()

    def __contains__(self, key: str) -> bool:
        return key in self.deaths

    def clear(self) -> None:
        """Empty the record in memory; only `collect` writes its file."""
        self.deaths.clear()

    def collect(self) -> bool:
        """Add the photos in the markers of dead workers, and return whether there were any."""
        found = False
        for base in self._work.names(_MARKERS_DIR):
            name = f"{_MARKERS_DIR}/{base}"
            content = self._work.read(name).decode(errors="replace")
            keys = [key for key in content.split(_SEPARATOR) if key]
            for key in keys:
                self.deaths[key] += len(keys) == 1
            found = found or bool(keys)
            self._save()
            self._work.remove(name)
        return found

    def quarantined(self) -> set[str]:
        """Return the keys of the photos that are not tried any more."""
        return {key for key, count in self.deaths.items() if count >= MAX_DEATHS}

    def _save(self) -> None:
        with self._work.put(_POISON_RECORD_FILE) as file:
            file.write(json.dumps(self.deaths).encode())
