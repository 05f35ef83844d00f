"""The uploads: photos that were sent in to be enrolled, kept in a folder of the server.

A photo's name is the SHA-256 of its content, as its photo_id in the dataset is: so a client's file
names are never used, a photo that is sent twice is kept once, and a purge finds the photos of the
faces that it removes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faces.core.storage import Folder
from facetrove.service.refusals import RefusedError, too_large

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), ".tif"),
    (re.compile(rb"GIF8"), ".gif"),
    (re.compile(rb"BM"), ".bmp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), ".avif"),
    (re.compile(rb"....ftyp(hei|hev|mif|msf)", re.DOTALL), ".heic"),
)
"""What the formats that are decoded begin with, and the ending that their files get."""

_NAME = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})\.[a-z]{3,4}")


@dataclass(frozen=True)
class KeptPhoto:
    """A photo in the uploads folder.

    Attributes:
        name: its name in the folder.
        is_new: whether it was not there before.
    """

    name: str
    is_new: bool


class Uploads:
    """The folder of uploads, which is made, for its owner alone, if there is none.

    Args:
        path: path of the folder.
        max_bytes: maximum size of all photos in bytes.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path.absolute()
        self._folder = Folder(self.path)
        self._folder.make()
        self._max_bytes = max_bytes
        self._num_bytes = sum(self.path.joinpath(name).stat().st_size for name in self.names())

    def names(self) -> list[str]:
        """Return the names of all photos."""
        return [name for name in self._folder.files() if _NAME.fullmatch(name)]

    def keep(self, content: bytes, number: int) -> KeptPhoto:
        """Keep a photo.

        Args:
            content: content of the photo file.
            number: its number in the request, for messages.

        Raises:
            RefusedError: it is no photo, or there is no room.
        """
        ending = next((end for magic, end in _MAGIC if magic.match(content)), None)
        if ending is None:
            raise RefusedError(
                422, "unusable_photo", f"photo {number} is no photo; send JPEG, PNG, HEIC or TIFF"
            )
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest[:2]}/{digest}{ending}"
        if self._folder.exists(name):
            return KeptPhoto(name, is_new=False)
        if self._num_bytes + len(content) > self._max_bytes:
            raise too_large(
                "max_stored_bytes",
                "the uploads folder is full; have the server's operator raise --max-stored-bytes",
            )
        self._folder.make_folder(digest[:2])
        with self._folder.put(name) as file:
            file.write(content)
        self._num_bytes += len(content)
        return KeptPhoto(name, is_new=True)

    def paths(self, names: Iterable[str]) -> list[Path]:
        """Return the absolute paths of photos."""
        return [self.path / name for name in names]

    def of_contents(self, photo_ids: Iterable[str]) -> list[str]:
        """Return the names of the photos with given contents, by the SHA-256 of these."""
        wanted = set(photo_ids)
        return [name for name in self.names() if Path(name).stem in wanted]

    def remove(self, names: Iterable[str]) -> int:
        """Remove photos, and return how many there were."""
        count = 0
        for name in names:
            if _NAME.fullmatch(name) and self._folder.exists(name):
                self._num_bytes -= self.path.joinpath(name).stat().st_size
                self._folder.remove(name)
                count += 1
        return count
