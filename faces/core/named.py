"""Normalise arguments: one name or several to a list, and paths to absolute ones."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from faces.core.errors import WrongUsageError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""The beginning of an address, also where `Path` has made one slash of the two. A scheme has two
letters or more: `C:/photos` is a path of Windows."""


def as_list(named: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return the given names as a list; a single string or path is one name."""
    return [named] if isinstance(named, str | Path) else list(named)


def absolute(path: str | Path) -> Path:
    """Return the absolute path of a folder, which workers with another current folder can use too.

    Symbolic links are not resolved.

    Raises:
        WrongUsageError: it is an address.
    """
    require_no_address(path)
    return Path(os.path.abspath(path))


def require_no_address(path: str | Path) -> None:
    """Raise WrongUsageError for an address where a folder or file of this machine is needed.

    Only photos are read from addresses. A folder that is really called `s3:` can be named by its
    absolute path.
    """
    text = os.fspath(path)
    found = _ADDRESS.match(text)
    if found is not None:
        shown = f"{found[1]}://{text[found.end() :]}"
        raise WrongUsageError(
            f"{shown} is an address, where only photos are read; datasets, indexes and all other "
            "files are folders and files of this machine: name a path"
        )
