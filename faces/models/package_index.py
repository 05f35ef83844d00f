"""Download an archive of a package from a package index, where there is no pip to do it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import Request, urlopen

import msgspec

_DEFAULT_INDEX = "https://pypi.org/simple"

_INDEX_VARIABLES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
"""Environment variables by which users name a mirror, those of pip first."""

_JSON = "application/vnd.pypi.simple.v1+json"
"""The index's answer in JSON (PEP 691); some mirrors know HTML alone (PEP 503)."""

_TIMEOUT_SECONDS = 60
"""Maximum time in seconds in which the index or a mirror answers nothing."""

_MAX_PAGE_BYTES = 50_000_000
"""Maximum number of bytes of the list of a package's files."""

_MAX_ARCHIVE_BYTES = 500_000_000
"""Maximum number of bytes of an archive, many times what those of the built-in networks have."""


def download_from_index(requirement: str, sha256: str, folder: Path) -> Path:
    """Download the archive that has a digest; proxies of the environment are used.

    Args:
        requirement: name and version of the release, as `name==version`.
        sha256: hexadecimal sha256 of the archive.
        folder: the folder that it is stored in.

    Returns:
        The archive's path.

    Raises:
        OSError: the index cannot be reached, or does not have the archive.
        ValueError: it sent something else, or its address is not of http or https.
    """
    name = re.sub(r"[-_.]+", "-", requirement.partition("==")[0]).lower()
    chosen = (os.environ.get(variable) for variable in _INDEX_VARIABLES)
    index = next(filter(None, chosen), _DEFAULT_INDEX)
    page_url = f"{index.rstrip('/')}/{name}/"
    page = _get(page_url, _MAX_PAGE_BYTES, Accept=f"{_JSON}, text/html;q=0.1")
    address = _address_of(page, sha256)
    if address is None:
        raise OSError(f"{page_url} has no file of {requirement} with sha256 {sha256}")
    address = urljoin(page_url, address)
    content = _get(address, _MAX_ARCHIVE_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{address} has not the sha256 that the index says")
    path = folder / Path(urlsplit(address).path).name
    path.write_bytes(content)
    return path


def _get(url: str, max_bytes: int, **headers: str) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url} is no address of http or https")
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as response:
        content: bytes = response.read(max_bytes)
        return content


@dataclass(frozen=True)
class _File:
    """A file in an index's list, as JSON."""

    url: str
    hashes: dict[str, str]


@dataclass(frozen=True)
class _Listing:
    """An index's list of files, as JSON (PEP 691)."""

    files: list[_File]


def _address_of(page: bytes, sha256: str) -> str | None:
    """Return the address of the file with a digest, by an index's list of files.

    Raises:
        ValueError: the index sent JSON that is no list of files.
    """
    try:
        files = msgspec.json.decode(page, type=_Listing).files
    except msgspec.ValidationError as error:
        raise ValueError("the index sent no list of files") from error
    except ValueError:  # HTML
        links = re.findall(rb'href="([^"]+)#sha256=([0-9a-f]{64})', page)
        files = [_File(url.decode(), {"sha256": digest.decode()}) for url, digest in links]
    return next((file.url for file in files if file.hashes.get("sha256") == sha256), None)
