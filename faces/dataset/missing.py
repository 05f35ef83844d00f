"""Photos of a dataset whose files are gone, told from those whose disk is not there.

Each photo's row says on which file system its file was. A file that is missing there is gone if
that file system is mounted, and is not another one: the root file system always is, and on another
one a photo of the dataset must be. Of photos from earlier versions, whose rows do not say it, a
missing one is gone if another photo of the dataset is in its folder. What is missing in a place
that somebody names is gone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.named import as_list
from faces.dataset.schema import gone_rows
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter
from faces.photos.mounts import file_of, is_mounted
from faces.photos.places import Place


@dataclass(frozen=True)
class MissingPhotos:
    """The photos of a dataset whose files are not there now.

    Attributes:
        vanished: uris of the photos whose files are gone, sorted.
        unreachable: uris of the photos whose files cannot be examined, or whose disk may not be
            mounted, sorted: nothing is known of them.
    """

    vanished: tuple[str, ...]
    unreachable: tuple[str, ...]


def find_missing(
    dataset: str | Path, *, below_folders: str | Path | Sequence[str | Path] = ()
) -> MissingPhotos:
    """Look at every file of a dataset's photos, and return those that are not there.

    Photos at addresses are not looked at. Of photos in an archive, the archive is looked at.

    Args:
        dataset: path of the dataset's folder.
        below_folders: folders, archives or addresses in which what is missing is gone for certain,
            even if no disk is mounted there; see `missing_in`.

    Raises:
        WrongUsageError: there is no dataset at that path, or a folder holds everything.
        CorruptFileError: a file of the dataset is corrupt.
    """
    photos = Dataset.open(dataset).photos(["mount"]).sort_by("uri")
    missing: list[tuple[str, str, str | None]] = []
    unreachable: list[str] = []
    mounts: set[str | None] = set()
    folders: set[str] = set()
    exists: dict[str, bool | None] = {}
    columns = (photos[name].to_pylist() for name in ("uri", "mount"))
    for uri, mount in zip(*columns, strict=True):
        file = file_of(uri)
        if file is None:
            continue
        path = os.fspath(file)
        if path not in exists:
            exists[path] = _exists(path)
        if exists[path]:
            mounts.add(mount)
            folders.add(os.path.dirname(path))  # noqa: PTH120
        elif exists[path] is None:
            unreachable.append(uri)
        else:
            missing.append((uri, path, mount))
    uris = photos["uri"].combine_chunks()
    vanished = set(uris.filter(pa.array(missing_in(uris, as_list(below_folders)))).to_pylist())
    for uri, path, mount in missing:
        if mount is None:
            is_gone = os.path.dirname(path) in folders  # noqa: PTH120
        else:
            is_gone = mount == "/" or (mount in mounts and is_mounted(mount))
        if is_gone:
            vanished.add(uri)
        else:
            unreachable.append(uri)
    return MissingPhotos(tuple(sorted(vanished)), tuple(sorted({*unreachable} - vanished)))


def missing_in(uris: pa.Array, places: Sequence[str | Path]) -> NDArray[np.bool_]:
    """Return which photos lie in places that are said to be gone, and are not there.

    Nothing at an address is looked at: its photos count as not there.

    Args:
        uris: (n,) string.
        places: folders, archives or addresses.

    Returns:
        (n,) bool.

    Raises:
        WrongUsageError: a place holds everything, or is in an archive.
    """
    mask = np.zeros(len(uris), dtype=bool)
    for place in places:
        mask |= Place.named(place).mask(uris)
    for row in np.flatnonzero(mask):
        file = file_of(uris[row].as_py())
        mask[row] = file is None or _exists(os.fspath(file)) is False
    return mask


def _exists(path: str) -> bool | None:
    """Return whether a file exists; None if that cannot be told now."""
    try:
        os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return None
    return True


def drop_photos(dataset: str | Path, uris: str | Sequence[str]) -> int:
    """Drop photos from a dataset, with their faces; a file that is there again stays.

    A photo list that still names a dropped photo does not bring it back, until the file is there.
    Indexes follow when they are next brought up to date; a purge removes the bytes.

    Args:
        dataset: path of the dataset's folder.
        uris: uri of a photo, or uris of several, such as `MissingPhotos.vanished`.

    Returns:
        The number of photos that were dropped.

    Raises:
        WrongUsageError: there is no dataset at that path.
        CorruptFileError: a file of the dataset is corrupt.
        BusyError: another process is writing the dataset.
    """
    opened = Dataset.open(dataset)
    with DatasetWriter.open(opened.path, opened.settings) as writer:
        known = set(writer.dataset.photos([])["uri"].to_pylist())
        named = dict.fromkeys(map(str, as_list(uris)))  # each once
        gone = [uri for uri in named if uri in known and not is_there(uri)]
        if gone:
            photos = gone_rows(pa.array(gone, pa.string()), writer.dataset.photo_schema)
            writer.write_photos(writer.part_name(0), photos)
        writer.finish(None)
    return len(gone)


def is_there(uri: str) -> bool:
    """Return whether the file that a photo is read from is there now; an address never is."""
    file = file_of(uri)
    return file is not None and _exists(os.fspath(file)) is True
