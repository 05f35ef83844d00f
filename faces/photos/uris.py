"""Names of photos in datasets and answers: paths, URLs and members of archives."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from faces.photos.archives import split_member_url

_FILE_SCHEME = "file://"

_ESCAPED_URL = "escaped:"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class PhotoFile(NamedTuple):
    """A photo as seen from outside; a change in any field means that it must be read again.

    Attributes:
        uri: see `photo_uri`.
        num_bytes: its size; -1 where it could not be told.
        mtime_ns: time of last change, nanoseconds since 1970; -1 where it could not be told.
            Of an archive's member, the archive's.
    """

    uri: str
    num_bytes: int
    mtime_ns: int


def is_url(text: str) -> bool:
    """Whether a name is a URL, not a path or a file:// URI, which is our way to write a path."""
    return _URL.match(text) is not None and not is_file_uri(text)


def url_scheme(url: str) -> str:
    """The scheme of a URL: what stands before "://"."""
    return url.partition("://")[0]


def is_path(uri: str) -> bool:
    """Whether a photo is named by its path: see `photo_path`."""
    return not is_url(unescape_url(uri))


def is_file_uri(text: str) -> bool:
    """Whether a name is a path written as a percent-encoded file:// URI."""
    return text.startswith(_FILE_SCHEME)


def photo_uri(photo: str | Path) -> str:
    """The name of a photo in datasets and answers: its absolute path, or its URL.

    What is no valid Unicode is escaped: such a path becomes a percent-encoded file:// URI, such
    a URL (as of a member of an archive) "escaped:" and its bytes, percent-encoded.

    Args:
        photo: a path, or a str with a URL, or a str with a file:// URI.
    """
    if isinstance(photo, str):
        if is_url(photo):
            return photo if _is_unicode(photo) else escape_url(photo)
        photo = photo_path(photo) if is_file_uri(photo) else photo
    text = os.path.abspath(photo)
    return text if _is_unicode(text) else escape_path(text)


def photo_path(uri: str) -> Path:
    """The path that `photo_uri` named; makes no sense of a URL."""
    if is_file_uri(uri):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix(_FILE_SCHEME))))
    return Path(uri)


def photo_name(uri: str) -> str:
    """The last part of a photo's name: of its path, its URL, or its name in an archive."""
    url = unescape_url(uri)
    member = split_member_url(url)
    if member is not None:
        return Path(member.member).name
    return Path(url).name if is_url(url) else photo_path(uri).name


def escape_path(path: str) -> str:
    """A path as a percent-encoded file:// URI, which `photo_path` undoes."""
    return _FILE_SCHEME + quote_from_bytes(os.fsencode(path))


def escape_url(url: str) -> str:
    """A URL as "escaped:" and its bytes, percent-encoded, which `unescape_url` undoes."""
    return _ESCAPED_URL + quote_from_bytes(os.fsencode(url))


def unescape_url(uri: str) -> str:
    """The URL that `escape_url` escaped; any other uri as it is."""
    if not uri.startswith(_ESCAPED_URL):
        return uri
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(_ESCAPED_URL)))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
