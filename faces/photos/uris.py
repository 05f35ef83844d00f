"""The uris by which datasets and results name photos: paths, URLs and members of archives."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from faces.photos.archives import split_member_url

_FILE_SCHEME = "file://"

_ESCAPED_URL = "escaped:"
"""Prefix of a URL whose bytes are percent-encoded, because they are not valid Unicode."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class PhotoFile(NamedTuple):
    """The uri, size and modification time of a photo; if any of them changes, it is read again.

    Attributes:
        uri: the photo's uri, see `photo_uri`.
        num_bytes: size of the photo file in bytes; -1 if unknown.
        mtime_ns: modification time in nanoseconds since 1970; -1 if unknown. A member of an
            archive has the archive's.
    """

    uri: str
    num_bytes: int
    mtime_ns: int


def is_url(text: str) -> bool:
    """Return whether a name is a URL; a file:// URI is not, since it stands for a path."""
    return _URL.match(text) is not None and not is_file_uri(text)


def url_scheme(url: str) -> str:
    """Return the scheme of a URL, the text before "://"."""
    return url.partition("://")[0]


def is_path(uri: str) -> bool:
    """Return whether a photo's uri stands for a path, which `photo_path` returns."""
    return not is_url(unescape_url(uri))


def is_file_uri(text: str) -> bool:
    """Return whether a name is a path that is written as a percent-encoded file:// URI."""
    return text.startswith(_FILE_SCHEME)


def photo_uri(photo: str | Path) -> str:
    """Return the uri of a photo: its absolute path, or its URL.

    A name that is not valid Unicode is escaped: a path becomes a percent-encoded file:// URI, and
    a URL (such as that of a member of an archive) becomes "escaped:" and its percent-encoded bytes.

    Args:
        photo: the photo's path, or a str with its URL or its file:// URI.
    """
    if isinstance(photo, str):
        if is_url(photo):
            return photo if is_unicode(photo) else escape_url(photo)
        photo = photo_path(photo) if is_file_uri(photo) else photo
    text = os.path.abspath(photo)
    return text if is_unicode(text) else escape_path(text)


def names_of(photo: str) -> tuple[str, ...]:
    """Return what a photo that a user names may be called in a dataset.

    Args:
        photo: the photo's path, file:// URI, URL or photo_id, as the user wrote it.

    Returns:
        The uri, and the name itself, which may be a photo_id or a uri; all of them are valid
        Unicode.
    """
    return (photo_uri(photo), *([photo] if is_unicode(photo) else ()))


def path_uri(path: str) -> str:
    """Return the uri of a file or folder at an absolute path, like `photo_uri`, but faster."""
    return path if path.isascii() else photo_uri(Path(path))


def photo_path(uri: str) -> Path:
    """Return the path that a uri stands for; the uri must not be a URL (see `is_path`)."""
    if is_file_uri(uri):
        return Path(os.fsdecode(unquote_to_bytes(os.fsencode(uri.removeprefix(_FILE_SCHEME)))))
    return Path(uri)


def photo_name(uri: str) -> str:
    """Return the file name of a photo: the last part of its path, URL or member name."""
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        return Path(member.member).name
    return Path(url).name if is_url(url) else photo_path(uri).name


def escape_path(path: str) -> str:
    """Return a path as a percent-encoded file:// URI; `photo_path` is the inverse."""
    return _FILE_SCHEME + quote_from_bytes(os.fsencode(path))


def escape_url(url: str) -> str:
    """Return a URL as "escaped:" and its percent-encoded bytes; `unescape_url` is the inverse."""
    return _ESCAPED_URL + quote_from_bytes(os.fsencode(url))


def unescape_url(uri: str) -> str:
    """Return the URL that `escape_url` escaped; return any other uri unchanged."""
    if not uri.startswith(_ESCAPED_URL):
        return uri
    return os.fsdecode(unquote_to_bytes(os.fsencode(uri.removeprefix(_ESCAPED_URL))))


def is_unicode(text: str) -> bool:
    """Return whether a text is valid Unicode, which names of files need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
