"""Wheel and sdist, built from a copy of the sources, and environments to install them in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from faces.core.machine import cache_dir
from tests.support.command import ROOT

ROOMS = ("faces", "indexer", "beam_jobs", "search", "facetrove")


@dataclass(frozen=True)
class Distribution:
    """What `python -m build` made, and the copy of the sources that it was made from."""

    sources: Path
    wheel: Path
    sdist: Path


def distribution_once(folder: Path) -> Distribution:
    """Wheel and sdist, made by whichever test process comes first, without a network."""
    sources, built = folder / "sources", folder / "built"
    with FileLock(f"{folder}.lock"):
        if not built.exists():
            ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
            shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(".git", *ignored))
            draft = folder / "draft"
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(draft)]
            require_success([*command, str(sources)])
            draft.rename(built)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    return Distribution(sources, wheel, sdist)


@dataclass(frozen=True)
class Environment:
    """A virtual environment that borrows other packages and has facetrove of its own.

    Attributes:
        folder: the environment's.
        away: the folder that commands run in; no sources are near it.
    """

    folder: Path
    away: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def pip_install(self, *arguments: str | Path) -> None:
        """Install something with the pip that runs the tests."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        require_success([*pip, "--python", str(self.python), "install", *map(str, arguments)])

    def run_python(self, script: str) -> str:
        """What a script prints."""
        return self._run([str(self.python), "-c", script])

    def facetrove(self, *arguments: str | Path) -> str:
        """What the installed command prints."""
        return self._run([str(self.folder / "bin" / "facetrove"), *map(str, arguments)])

    def _run(self, command: list[str]) -> str:
        hiding = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if name not in hiding}
        # Networks that are here already need not be fetched again.
        environment["FACETROVE_CACHE"] = str(cache_dir())
        return require_success(command, cwd=self.away, env=environment)


def borrowing_environment(folder: Path, *, without: tuple[str, ...] = ()) -> Environment:
    """An environment that sees the packages of the one that runs the tests, but not facetrove.

    Installing them anew would take minutes and gigabytes. They are reached by links in a folder
    that a `.pth` file names; what is installed into the environment comes before them. No `.pth`
    file among them is heeded, so the sources of an editable installation stay out.

    Args:
        folder: where to make it.
        without: how the names begin of what is not to be seen either.
    """
    environment = Environment(folder / "environment", folder / "away")
    environment.away.mkdir(parents=True)
    venv.create(environment.folder, symlinks=True)
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for package in Path(packages).iterdir():
            if not _is_ours(package.name) and not package.name.startswith(without):
                (borrowed / package.name).symlink_to(package)
    own = environment.run_python("import sysconfig; print(sysconfig.get_path('purelib'))")
    (Path(own.strip()) / "borrowed.pth").write_text(f"{borrowed}\n")
    return environment


def _is_ours(name: str) -> bool:
    """Whether a file or folder among installed packages belongs to an installation of facetrove."""
    return name.startswith("__editable__") or re.split("[-.]", name)[0] in ROOMS


def require_success(
    command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    """What a command prints; the test fails with all that it said if it fails."""
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=env, timeout=600, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
