"""The file dataset.json: a dataset's settings, and the run that may write to the dataset."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, OlderFormatError, WrongUsageError
from faces.core.files import atomic_write
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import HEADER_FILE
from faces.photos.metadata import METADATA_TYPES

FORMAT_VERSION = 3
"""Version of the dataset format that this module reads and writes."""

OLDER_VERSIONS = (1, 2)
"""Versions that `faces.dataset.upgrade` carries over."""

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
        salted_ids: whether new face_ids depend on the way of detecting too, because the dataset
            keeps the face_ids of one whose faces are detected in another way.
    """

    contract: ModelContract
    selection: FaceSelection = field(default_factory=FaceSelection)
    metadata: pa.Schema = NO_METADATA
    limits: PhotoLimits | None = field(default_factory=PhotoLimits)
    purged: str = ""
    salted_ids: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, as dataset.json stores them."""
        return {
            "contract": self.contract.to_json(),
            "selection": asdict(self.selection),
            "metadata": {column.name: str(column.type) for column in self.metadata},
            "limits": None if self.limits is None else asdict(self.limits),
            "purged": self.purged,
            "salted_ids": self.salted_ids,
        }


def read_settings(dataset_dir: Path) -> DatasetSettings:
    """Read the settings of an existing dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read.
        WrongUsageError: dataset.json is of another format version.
    """
    return settings_of(_read_header(dataset_dir), str(dataset_dir / HEADER_FILE))


def settings_of(header: dict[str, Any], source: str) -> DatasetSettings:
    """Parse the settings in the content of dataset.json.

    Args:
        header: the parsed JSON.
        source: name of the file, for the error message.

    Raises:
        CorruptFileError: a setting is missing or not valid.
    """
    contract = ModelContract.from_json(header.get("contract"), source=source)
    try:
        return DatasetSettings(
            contract,
            FaceSelection(**header["selection"]),
            pa.schema([(n, METADATA_TYPES[kind]) for n, kind in header["metadata"].items()]),
            None if header["limits"] is None else PhotoLimits(**header["limits"]),
            header.get("purged", ""),
            bool(header.get("salted_ids", False)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{source} is corrupt ({error!r})") from error


def run_in_force(dataset_dir: Path) -> Any:
    """Return the name of the run in force: the only one that may commit parts to a dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read.
        WrongUsageError: dataset.json is of another format version.
    """
    return _read_header(dataset_dir).get("run")


def write_header(dataset_dir: Path, settings: DatasetSettings, run: str) -> None:
    """Write dataset.json atomically: the dataset's settings and the run in force."""
    header = {"format_version": FORMAT_VERSION, **settings.to_json(), "run": run}
    with atomic_write(dataset_dir / HEADER_FILE) as temporary:
        temporary.write_text(json.dumps(header, indent=2) + "\n")


def _read_header(dataset_dir: Path) -> dict[str, Any]:
    header = read_header(dataset_dir)
    if header["format_version"] != FORMAT_VERSION:
        raise OlderFormatError.of(dataset_dir, header["format_version"], FORMAT_VERSION)
    return header


def read_header(dataset_dir: Path) -> dict[str, Any]:
    """Read dataset.json, of this format version or one of `OLDER_VERSIONS`.

    Raises:
        CorruptFileError: the file cannot be read.
        WrongUsageError: a newer facetrove wrote the file.
    """
    header_path = dataset_dir / HEADER_FILE
    try:
        document = json.loads(header_path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{header_path} cannot be read ({error})") from error
    found = document.get("format_version") if isinstance(document, dict) else None
    if type(found) is int and found > FORMAT_VERSION:
        raise WrongUsageError(
            f"{dataset_dir} was written by a newer facetrove (format version {found}, this one "
            f"reads {FORMAT_VERSION}); update facetrove"
        )
    if type(found) is not int or found not in (FORMAT_VERSION, *OLDER_VERSIONS):
        raise CorruptFileError(
            f"{header_path} is corrupt: it has format version {found!r} instead of "
            f"{FORMAT_VERSION}; restore it from a backup, or embed into a new dataset"
        )
    return dict(document)
