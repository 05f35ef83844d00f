"""The dataset that an index was built from: what the index records of it, and where it is now."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from faces.core.errors import FaceTroveError
from faces.core.kinds import is_dataset
from faces.dataset.header import read_settings
from faces.dataset.store import Dataset
from faces.photos.uris import is_unicode
from indexer.manifest import Manifest


class Origin(TypedDict):
    """The fields of a manifest that say what dataset the index was built from."""

    dataset: str
    dataset_relative: str
    dataset_id: str


def origin_of(source: Dataset, index_dir: Path) -> Origin:
    """Return what an index records of its dataset.

    Args:
        source: the dataset.
        index_dir: path of the index's folder.
    """
    path = source.path.absolute()
    relative = os.path.relpath(path, index_dir.absolute())
    return {
        "dataset": str(path),
        "dataset_relative": relative if is_unicode(relative) else "",
        "dataset_id": source.settings.dataset_id,
    }


def find_dataset(index_dir: Path, manifest: Manifest) -> Path | None:
    """Return the folder of the dataset that an index was built from; None if it is not there.

    It is looked for at the path from the index's folder, so that both can be moved together, then
    at the path that it had. Another dataset that is there by now is none.

    Args:
        index_dir: path of the index's folder.
        manifest: the index's manifest.
    """
    relative, absolute = manifest.dataset_relative, manifest.dataset
    # Not resolved: the folder of an index may be a link.
    paths = [index_dir.absolute() / relative] if relative else []
    paths += [Path(absolute)] if absolute else []
    for path in paths:
        with suppress(FaceTroveError, OSError, ValueError):
            named = Path(os.path.normpath(path))
            if not is_dataset(named):
                continue
            if manifest.dataset_id in ("", read_settings(named).dataset_id):
                return named
    return None
