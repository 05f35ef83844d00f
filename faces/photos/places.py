"""Say which photos lie in a place, and what they are called when the place moves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.core.errors import WrongUsageError
from faces.photos.archives import ARCHIVE_SCHEMES, split_member_url
from faces.photos.listed import mask_of
from faces.photos.uris import is_file_uri, is_unicode, is_url, photo_path, photo_uri, unescape_url


@dataclass(frozen=True)
class Place:
    """A folder, a file, an archive or an address, in which photos may lie.

    Attributes:
        name: absolute path or URL, without a slash at its end; a path may have surrogates.
    """

    name: str

    @classmethod
    def named(cls, text: str | Path) -> Place:
        """Return the place that a user named, by a path, a file:// URI or a URL.

        Raises:
            WrongUsageError: it is the root of the file system, or a member of an archive.
        """
        name = unescape_url(os.fspath(text))
        if is_file_uri(name):
            name = os.fspath(photo_path(name))
        if split_member_url(name) is not None:
            raise WrongUsageError(f"{text} is in an archive; name the archive itself")
        name = name.rstrip("/") if is_url(name) else os.path.abspath(name)
        if not name.strip("/") or name.endswith(":"):
            raise WrongUsageError(f"{text} holds everything; name a folder in it")
        return cls(name)

    def mask(self, uris: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
        """Return which photos lie here.

        Args:
            uris: (n,) string.

        Returns:
            (n,) bool.
        """
        if isinstance(uris, pa.ChunkedArray):
            uris = uris.combine_chunks()
        mask = self._plainly_here(uris)
        for row in self._written_otherwise(uris):
            mask[row] = self._rest(uris[row].as_py()) is not None
        return mask

    def is_in(self, other: Place) -> bool:
        """Return whether this place is another, or lies in it."""
        return other._rest_of(self.name) is not None

    def moved(self, uri: str, to: Place) -> str | None:
        """Return the uri that a photo has when this place has become another.

        Args:
            uri: the photo's uri.
            to: the place where everything that was here is now.

        Returns:
            The new uri; None if the photo does not lie here.
        """
        rest = self._rest(uri)
        if rest is None:
            return None
        url = unescape_url(uri)
        member = split_member_url(url) if is_url(url) else None
        name = to.name + rest
        if member is not None:
            return photo_uri(str(member._replace(target=name)))
        return photo_uri(name if is_url(name) else Path(name))

    def moved_all(self, uris: pa.Array | pa.ChunkedArray, to: Place) -> tuple[pa.Array, int]:
        """Return uris with the new ones in place of those that lie here, and their number.

        Args:
            uris: (n,) string.
            to: the place where everything that was here is now.
        """
        if isinstance(uris, pa.ChunkedArray):
            uris = uris.combine_chunks()
        mask = self._plainly_here(uris)
        if is_unicode(to.name):
            replaced = pc.utf8_replace_slice(uris, 0, len(self.name), to.name)
            moved = pc.if_else(pa.array(mask), replaced, uris)
            others = self._written_otherwise(uris)
        else:
            moved, others = uris, np.arange(len(uris))
        rows, replacements = [], []
        for row in others:
            new = self.moved(uris[row].as_py(), to) if uris[row].is_valid else None
            if new is not None:
                rows.append(row)
                replacements.append(new)
        changed = np.zeros(len(uris), dtype=np.bool_)
        changed[rows] = True
        moved = pc.replace_with_mask(moved, pa.array(changed), pa.array(replacements, uris.type))
        return moved, int((mask | changed).sum())

    def _plainly_here(self, uris: pa.Array) -> NDArray[np.bool_]:
        """Return which uris begin with this place's path or URL, as most of those here do."""
        if not is_unicode(self.name):
            return np.zeros(len(uris), dtype=np.bool_)
        below = pc.starts_with(uris, f"{self.name}/")
        return mask_of(pc.or_(below, pc.equal(uris, self.name)))

    def _written_otherwise(self, uris: pa.Array) -> NDArray[np.int64]:
        """Return the rows of members of archives and of names that are not valid Unicode."""
        may = np.zeros(len(uris), dtype=np.bool_)
        for prefix in ("file://", "escaped:", *(f"{scheme}://" for scheme in ARCHIVE_SCHEMES)):
            may |= mask_of(pc.starts_with(uris, prefix))
        return np.flatnonzero(may)

    def _rest(self, uri: str) -> str | None:
        """Return what follows this place in the path or URL of a photo or of its archive.

        Returns:
            The text, empty or beginning with a slash; None if the photo does not lie here.
        """
        url = unescape_url(uri)
        if not is_url(url):
            name = os.fspath(photo_path(url))
        else:
            member = split_member_url(url)
            name = url if member is None else member.target
        return self._rest_of(name)

    def _rest_of(self, name: str) -> str | None:
        """Return what follows this place in a path or URL; None if that is not in this place."""
        if not name.startswith(self.name):
            return None
        rest = name[len(self.name) :]
        return rest if not rest or rest.startswith("/") else None
