"""Copies of the photos that were found, in a folder that can be handed on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from faces.core.channel import Buffer
from faces.core.descriptors import PRIVATE_DIR_MODE
from faces.core.errors import WrongUsageError
from faces.core.named import require_no_address
from faces.core.storage import put_file
from faces.photos.limited import read_limited
from faces.photos.mounts import file_of
from faces.photos.rejection import PhotoRejectedError
from faces.photos.uris import photo_name
from search.shown_face import FoundFace


@dataclass(frozen=True)
class CopiedPhotos:
    """What `copy_photos` did.

    Attributes:
        copied: paths of the copies, in the order of the faces.
        failed: uris of the photos that could not be copied, each with the reason.
    """

    copied: tuple[Path, ...]
    failed: tuple[tuple[str, str], ...]


def require_new_folder(folder: Path) -> None:
    """Raise WrongUsageError unless a folder is empty, or can be made where nothing is."""
    require_no_address(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise WrongUsageError(f"{folder} exists and is no empty folder; name a new one for copies")
    if not folder.absolute().parent.is_dir():
        raise WrongUsageError(f"folder {folder.parent} does not exist; make it first")


def copy_photos(faces: Iterable[FoundFace], folder: str | Path) -> CopiedPhotos:
    """Copy the photos of faces, such as the matches of a search, into a new or empty folder.

    Each photo is copied once, byte by byte, from the first of its places that still has the content
    in which the face was found; members of archives and objects of stores are copied, too. Photos
    of the same name get numbers.

    Args:
        faces: matches, or faces of `FaceSearcher.list_faces`.
        folder: path of the folder, which is made if it does not exist.

    Raises:
        WrongUsageError: the folder is not empty, or cannot be made.
    """
    folder = Path(folder)
    require_new_folder(folder)
    folder.mkdir(exist_ok=True, mode=PRIVATE_DIR_MODE)
    copied: list[Path] = []
    failed: list[tuple[str, str]] = []
    photo_ids: set[str] = set()
    names: set[str] = set()
    for face in faces:
        if face.photo_id in photo_ids:
            continue
        photo_ids.add(face.photo_id)
        content, place = _content_of(face)
        if isinstance(content, str):
            failed.append((face.uri, content))
            continue
        path = folder / _new_name(photo_name(place), names)
        with put_file(path) as copy:
            copy.write(content)
            copy.flush()
            _take_time_of(place, copy)
        copied.append(path)
    return CopiedPhotos(tuple(copied), tuple(failed))


def _content_of(face: FoundFace) -> tuple[Buffer | str, str]:
    """Return the content of a face's photo and where it was read, or why it cannot be read."""
    problem = ""
    for place in (face.uri, *face.also_at):
        try:
            content = read_limited(place)
        except PhotoRejectedError as error:
            problem = problem or error.reason.value
        except WrongUsageError as error:
            problem = problem or str(error)
        else:
            if hashlib.sha256(content).hexdigest() == face.photo_id:
                return content, place
            problem = problem or "changed since it was embedded"
    return problem, face.uri


def _new_name(name: str, names: set[str]) -> str:
    """Return a name that no copy has yet, on a file system without upper and lower case either."""
    name = "photo" if name in ("", ".", "..") else name.replace("/", "_").replace("\0", "_")
    path, number, new = Path(name), 1, name
    while new.casefold() in names:
        number += 1
        new = f"{path.stem}-{number}{path.suffix}"
    names.add(new.casefold())
    return new


def _take_time_of(place: str, copy: BufferedWriter) -> None:
    """Give a copy the modification time of the file that it was made from."""
    file = file_of(place)
    if file is not None:
        time = file.stat().st_mtime_ns
        os.utime(copy.fileno(), ns=(time, time))
