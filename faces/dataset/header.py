"""The file dataset.json: a dataset's settings, and the run that may write to the dataset."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import HEADER_FILE, dataset_folder
from faces.photos.metadata import METADATA_TYPES

FORMAT_VERSION = 3
"""Version of the dataset format. Datasets of any other version are refused."""

NO_METADATA = pa.schema([])


@dataclass(frozen=True)
class DatasetSettings:
    """The settings of a dataset, set when it is created or when a run writes to it.

    Attributes:
        contract: models and preprocessing that make the dataset's embeddings.
        selection: which of the detected faces are kept.
        metadata: schema of the columns that photo lists add to the photos.
        limits: limits on photos that the last finished run applied; None while a run with other
            limits is unfinished.
        purged: name of the last run that removed rows which an index may not have read; "" if
            there was none.
    """

    contract: ModelContract
    selection: FaceSelection = field(default_factory=FaceSelection)
    metadata: pa.Schema = NO_METADATA
    limits: PhotoLimits | None = field(default_factory=PhotoLimits)
    purged: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, as dataset.json stores them."""
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
        CorruptFileError: dataset.json cannot be read, or is of another format version.
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
    """Return the name of the run in force: the only one that may commit parts to a dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read, or is of another format version.
    """
    return _read_header(dataset_dir).get("run")


def write_header(dataset_dir: Path, settings: DatasetSettings, run: str) -> None:
    """Write dataset.json atomically: the dataset's settings and the run in force."""
    header = {"format_version": FORMAT_VERSION, **settings.to_json(), "run": run}
    with dataset_folder(dataset_dir).put(HEADER_FILE) as file:
        file.write(f"{json.dumps(header, indent=2)}\n".encode())


def _read_header(dataset_dir: Path) -> dict[str, Any]:
    header_path = dataset_dir / HEADER_FILE
    try:
        document = json.loads(dataset_folder(dataset_dir).read(HEADER_FILE))
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{header_path} cannot be read ({error})") from error
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version") if isinstance(document, dict) else None
        raise CorruptFileError(
            f"{header_path} has format version {found!r}, this facetrove reads {FORMAT_VERSION}; "
            "it is corrupt or was made by another version of facetrove: embed into a new dataset"
        )
    return document
