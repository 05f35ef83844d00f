"""The file dataset.json: a dataset's settings, and the run that may write to the dataset."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa

from faces.core.contract import ModelContract
from faces.core.documents import json_text, read_document
from faces.core.errors import CorruptFileError
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import HEADER_FILE, dataset_folder
from faces.dataset.schema import ADDED_ON_READING, PHOTO_SCHEMA, face_schema
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


@dataclass(frozen=True)
class _Version:
    """The version of the format of a dataset.json, whatever else is in it."""

    format_version: int


@dataclass(frozen=True)
class _Header:
    """The content of dataset.json."""

    format_version: Literal[3]
    contract: ModelContract
    selection: FaceSelection
    metadata: dict[str, str]
    limits: PhotoLimits | None
    run: str
    purged: str = ""


def read_settings(dataset_dir: Path) -> DatasetSettings:
    """Read the settings of an existing dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read, or is of another format version.
    """
    header = _read_header(dataset_dir)
    ours = {*PHOTO_SCHEMA.names, *face_schema(1).names, *ADDED_ON_READING}
    columns = header.metadata.items()
    for name, kind in columns:
        if name in ours or kind not in METADATA_TYPES:
            raise CorruptFileError(
                f"{dataset_dir / HEADER_FILE} has a column {name!r} of type {kind!r}, which no "
                "photo list can have: it is corrupt; embed the photos into a new dataset"
            )
    return DatasetSettings(
        header.contract,
        header.selection,
        pa.schema([(name, METADATA_TYPES[kind]) for name, kind in columns]),
        header.limits,
        header.purged,
    )


def run_in_force(dataset_dir: Path) -> str:
    """Return the name of the run in force: the only one that may commit parts to a dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read, or is of another format version.
    """
    return _read_header(dataset_dir).run


def write_header(dataset_dir: Path, settings: DatasetSettings, run: str) -> None:
    """Write dataset.json atomically: the dataset's settings and the run in force."""
    header = {"format_version": FORMAT_VERSION, **settings.to_json(), "run": run}
    with dataset_folder(dataset_dir).put(HEADER_FILE) as file:
        file.write(f"{json_text(header)}\n".encode())


def _read_header(dataset_dir: Path) -> _Header:
    folder = dataset_folder(dataset_dir)
    content = folder.read(HEADER_FILE)
    with suppress(ValueError):
        found = msgspec.json.decode(content, type=_Version).format_version
        if found != FORMAT_VERSION:
            raise CorruptFileError(
                f"{folder.at(HEADER_FILE)} has format version {found!r}, this facetrove reads "
                f"{FORMAT_VERSION}; it is corrupt or was made by another version of facetrove: "
                "embed into a new dataset"
            )
    return read_document(folder, HEADER_FILE, _Header)
