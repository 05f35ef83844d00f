"""What a dataset settled, and the run that may write it: its file dataset.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError
from faces.core.files import atomic_write
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import HEADER_FILE
from faces.photos.metadata import METADATA_TYPES

FORMAT_VERSION = 3

NO_METADATA = pa.schema([])


@dataclass(frozen=True)
class DatasetSettings:
    """What a dataset is made of, settled when it is begun or written.

    Attributes:
        contract: models that make the dataset's embeddings.
        selection: faces that are kept.
        metadata: columns that photo lists add to the photos.
        limits: limits of the photos that the last run tried; None while a run with others goes on.
        purged: the last run that took out rows which an index may not have read; empty: none.
    """

    contract: ModelContract
    selection: FaceSelection = field(default_factory=FaceSelection)
    metadata: pa.Schema = NO_METADATA
    limits: PhotoLimits | None = field(default_factory=PhotoLimits)
    purged: str = ""

    def to_json(self) -> dict[str, Any]:
        """The settings as they are stored."""
        return {
            "contract": self.contract.to_json(),
            "selection": asdict(self.selection),
            "metadata": {column.name: str(column.type) for column in self.metadata},
            "limits": None if self.limits is None else asdict(self.limits),
            "purged": self.purged,
        }


def read_settings(dataset_dir: Path) -> DatasetSettings:
    """Read the settings of an existing dataset.

    Raises:
        CorruptFileError: the file cannot be read, or is of another version.
    """
    header = _read_header(dataset_dir)
    source = str(dataset_dir / HEADER_FILE)
    contract = ModelContract.from_json(header.get("contract"), source=source)
    try:
        return DatasetSettings(
            contract,
            FaceSelection(**header["selection"]),
            pa.schema([(n, METADATA_TYPES[kind]) for n, kind in header["metadata"].items()]),
            None if header["limits"] is None else PhotoLimits(**header["limits"]),
            header.get("purged", ""),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{source} is corrupt ({error!r})") from error


def run_in_force(dataset_dir: Path) -> Any:
    """The name of the run that may commit parts to a dataset now.

    Raises:
        CorruptFileError: as of `read_settings`.
    """
    return _read_header(dataset_dir).get("run")


def write_header(dataset_dir: Path, settings: DatasetSettings, run: str) -> None:
    """Write what a dataset settled, and the run in force; whole or not at all."""
    header = {"format_version": FORMAT_VERSION, **settings.to_json(), "run": run}
    with atomic_write(dataset_dir / HEADER_FILE) as temporary:
        temporary.write_text(json.dumps(header, indent=2) + "\n")


def _read_header(dataset_dir: Path) -> dict[str, Any]:
    header_path = dataset_dir / HEADER_FILE
    try:
        document = json.loads(header_path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{header_path} cannot be read ({error})") from error
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version") if isinstance(document, dict) else None
        raise CorruptFileError(
            f"{header_path} has format version {found!r}, this facetrove reads {FORMAT_VERSION}; "
            "it is corrupt or of another version of facetrove: embed into a new dataset"
        )
    return document
