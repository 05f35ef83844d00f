"""Child processes in which no code but the program's own runs, whatever lies in the current folder.

The user's current folder may hold a stranger's photos, and files beside them that are named like
Python modules, shared libraries or settings of a library. So child processes start in Python's
safe-path mode, in a folder that the program made, and with an environment whose paths are absolute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from faces.core.environment import REPORTS_OFF
from faces.core.machine import cache_dir, config_dir

_LAUNCHER = Path(__file__).with_name("child_launcher.py")

_PACKAGES = Path(__file__).absolute().parents[2]
"""The folder that the program's packages were imported from."""

_SEARCH_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH")
"""Variables with lists of folders in which code is looked for. An empty entry, as in "/opt/lib:",
means the current folder in all of them."""

_PATHS = (
    *("DEEPFACE_HOME", "KERAS_HOME", "MPLCONFIGDIR", "TORCH_HOME", "HF_HOME", "YOLO_CONFIG_DIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    *("PIP_CONFIG_FILE", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CACHE_DIR", "PIP_LOG"),
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("BOTO_CONFIG", "FSSPEC_CONFIG_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME", "TMPDIR"),
)
"""Variables that name a file or folder, which may be relative to the current folder."""

_LISTS_OF_PATHS = ("PIP_FIND_LINKS",)
"""Variables with files, folders and URLs, separated by spaces."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return a command line that runs one of the program's modules in a child process.

    The child imports the program from the folder that this process imported it from, even where
    that is a folder which safe-path mode leaves out, such as a checkout that is not installed.

    Args:
        module: full name of the module, which is run as `python -m` would.
        arguments: the module's arguments.
    """
    return [*safe_python(), str(_LAUNCHER), str(_PACKAGES), module, *arguments]


def safe_python() -> list[str]:
    """Return the beginning of a command line that runs Python in safe-path mode."""
    return [sys.executable, "-P"]


def child_environment(inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process that runs in another folder than this process.

    Relative paths are made absolute, so that they mean what they meant. Empty entries of search
    paths are left out. Libraries are told to report nothing to their makers.

    Args:
        inherited: the environment that the child would have; None: that of this process.
    """
    environment = dict(os.environ if inherited is None else inherited)
    for name in _SEARCH_PATHS:
        if name in environment:
            entries = [entry for entry in environment[name].split(os.pathsep) if entry]
            environment[name] = os.pathsep.join(map(os.path.abspath, entries))
            if not entries:
                del environment[name]
    for name in _PATHS:
        if environment.get(name):
            environment[name] = os.path.abspath(environment[name])
    for name in _LISTS_OF_PATHS:
        if environment.get(name):
            environment[name] = " ".join(_absolute_if_here(environment[name].split()))
    ours = {"FACETROVE_CACHE": str(cache_dir()), "FACETROVE_CONFIG": str(config_dir())}
    return environment | REPORTS_OFF | ours | {"PYTHONSAFEPATH": "1"}


def _absolute_if_here(entries: Iterable[str]) -> Iterable[str]:
    """Yield entries, of which those that exist as files or folders are made absolute."""
    return (os.path.abspath(entry) if Path(entry).exists() else entry for entry in entries)
