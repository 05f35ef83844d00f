"""Processes whose name look-ups and connections are watched, below Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from faces.core.machine import cache_dir
from tests.support.command import ROOT

SOURCE = Path(__file__).with_suffix(".c")

CHANGING_REPORTS = ("CI", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "YOLO_OFFLINE")
"""Variables on which it depends whether libraries report their use."""

OTHER_HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR", "KERAS_HOME")
"""Variables that name folders of libraries outside of the home folder."""


@dataclass(frozen=True)
class Watch:
    """A home folder, a folder for temporary files, a current folder, and a log of the network.

    Attributes:
        folder: the folder that has them all.
        library: the library that watches.
    """

    folder: Path
    library: Path

    @classmethod
    def make(cls, folder: Path) -> Watch:
        """Compile the library, and make the folders; skips the test without a C compiler."""
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("watching the network below Python takes Linux and a C compiler (cc)")
        watch = cls(folder, folder / "watch.so")
        for path in (watch.home, watch.temporary, watch.current):
            path.mkdir(parents=True)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", watch.library, SOURCE, "-ldl"], check=True
        )
        return watch

    @property
    def home(self) -> Path:
        """The home folder of watched processes, empty at first."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of watched processes, empty at first."""
        return self.folder / "temporary"

    @property
    def current(self) -> Path:
        """The current folder of watched processes, empty at first."""
        return self.folder / "current"

    def start(self, command: list[str], *, lingers: str | None = None) -> subprocess.Popen[str]:
        """Start a watched process.

        Args:
            command: its command line.
            lingers: part of the command lines of processes that are to stay for 30 seconds when
                they end by `os._exit`.
        """
        hidden = (*CHANGING_REPORTS, *OTHER_HOMES)
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "FACETROVE_CACHE": str(cache_dir()),
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": str(self.library),
            "WATCH_LOG": str(self.folder / "log"),
        }
        if lingers:
            environment["WATCH_LINGERS"] = lingers
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self.current,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def log(self) -> list[str]:
        """Return the lines about the network, and about processes that have lingered."""
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def files(self) -> list[str]:
        """Return the files in the home folder, among temporary files and in the current folder."""
        folders = (self.home, self.temporary, self.current)
        return [
            str(path.relative_to(self.folder))
            for folder in folders
            for path in folder.rglob("*")
            if not path.is_dir()
        ]
