"""The file dataset.json: a dataset's settings, and the run that may write to the dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta

from faces.core.contract import ModelContract
from faces.core.documents import document_of, json_text
from faces.core.errors import CorruptFileError, OlderFormatError, WrongUsageError
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.layout import HEADER_FILE, dataset_folder
from faces.dataset.schema import (
    ADDED_ON_READING,
    MEASURED_NAME,
    PHOTO_SCHEMA,
    face_schema,
)
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
        measured: digest of the classifier's network by the label that it measured on faces; see
            `measured_fields`.
        dataset_id: id of the dataset, which its copies share: 32 hexadecimal characters; "" in
            datasets that were last written before there were ids.
    """

    contract: ModelContract
    selection: FaceSelection = field(default_factory=FaceSelection)
    metadata: pa.Schema = NO_METADATA
    limits: PhotoLimits | None = field(default_factory=PhotoLimits)
    purged: str = ""
    salted_ids: bool = False
    measured: Mapping[str, str] = field(default_factory=dict)
    dataset_id: str = ""

    @property
    def detection(self) -> str:
        """A text that is equal for datasets whose faces are detected in the same way.

        The embedder does not matter. Criteria of the selection that say nothing are left out, so
        that a criterion that is added later changes no text.
        """
        kept = {name: value for name, value in asdict(self.selection).items() if value}
        contract = self.contract
        detector = (contract.detector, contract.detector_digest, contract.preprocessing_version)
        return json.dumps([*detector, kept], sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, as dataset.json stores them."""
        return {
            "contract": self.contract.to_json(),
            "selection": asdict(self.selection),
            "metadata": {column.name: str(column.type) for column in self.metadata},
            "limits": None if self.limits is None else asdict(self.limits),
            "purged": self.purged,
            "salted_ids": self.salted_ids,
            **({"measured": dict(self.measured)} if self.measured else {}),
            **({"dataset_id": self.dataset_id} if self.dataset_id else {}),
        }


@dataclass(frozen=True)
class _Version:
    """The version of the format of a dataset.json, whatever else is in it."""

    format_version: int


@dataclass(frozen=True)
class Header:
    """The content of dataset.json."""

    format_version: Literal[1, 2, 3]
    contract: ModelContract
    selection: FaceSelection
    metadata: dict[str, str]
    limits: PhotoLimits | None
    run: str
    purged: str = ""
    salted_ids: bool = False
    measured: dict[str, str] = field(default_factory=dict)
    dataset_id: Annotated[str, Meta(pattern=r"\A([0-9a-f]{32})?\Z")] = ""


_FORMAT_1_SETTINGS = {"selection": asdict(FaceSelection()), "metadata": {}, "limits": None}
"""Settings that dataset.json lacks in format 1, where all faces were kept."""


def read_settings(dataset_dir: Path) -> DatasetSettings:
    """Read the settings of an existing dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read.
        WrongUsageError: dataset.json is of another format version.
    """
    return settings_of(_read_header(dataset_dir), dataset_dir)


def settings_of(header: Header, dataset_dir: Path) -> DatasetSettings:
    """Return the settings that a dataset's dataset.json has.

    Raises:
        CorruptFileError: a column is none that a photo list can have.
    """
    ours = {*PHOTO_SCHEMA.names, *face_schema(1).names, *ADDED_ON_READING}
    columns = header.metadata.items()
    for name, kind in columns:
        if name in ours or kind not in METADATA_TYPES:
            raise CorruptFileError(
                f"{dataset_dir / HEADER_FILE} has a column {name!r} of type {kind!r}, which no "
                "photo list can have: it is corrupt; embed the photos into a new dataset"
            )
    for label in header.measured:
        if not MEASURED_NAME.fullmatch(label) or label in ours:
            raise CorruptFileError(
                f"{dataset_dir / HEADER_FILE} has a measured column {label!r}, which no classifier "
                "can have: it is corrupt; embed the photos into a new dataset"
            )
    return DatasetSettings(
        header.contract,
        header.selection,
        pa.schema([(name, METADATA_TYPES[kind]) for name, kind in columns]),
        header.limits,
        header.purged,
        header.salted_ids,
        header.measured,
        header.dataset_id,
    )


def run_in_force(dataset_dir: Path) -> str:
    """Return the name of the run in force: the only one that may commit parts to a dataset.

    Raises:
        CorruptFileError: dataset.json cannot be read.
        WrongUsageError: dataset.json is of another format version.
    """
    return _read_header(dataset_dir).run


def write_header(dataset_dir: Path, settings: DatasetSettings, run: str) -> None:
    """Write dataset.json atomically: the dataset's settings and the run in force."""
    header = {"format_version": FORMAT_VERSION, **settings.to_json(), "run": run}
    with dataset_folder(dataset_dir).put(HEADER_FILE) as file:
        file.write(f"{json_text(header)}\n".encode())


def _read_header(dataset_dir: Path) -> Header:
    header = read_header(dataset_dir)
    if header.format_version != FORMAT_VERSION:
        raise OlderFormatError.of(dataset_dir, header.format_version, FORMAT_VERSION)
    return header


def read_header(dataset_dir: Path) -> Header:
    """Read dataset.json, of this format version or one of `OLDER_VERSIONS`.

    Raises:
        CorruptFileError: the file cannot be read.
        WrongUsageError: a newer facetrove wrote the file.
    """
    folder = dataset_folder(dataset_dir)
    content = folder.read(HEADER_FILE)
    with suppress(ValueError):
        found = msgspec.json.decode(content, type=_Version).format_version
        if found > FORMAT_VERSION:
            raise WrongUsageError(
                f"{dataset_dir} was written by a newer facetrove (format version {found}, this one "
                f"reads {FORMAT_VERSION}); update facetrove"
            )
        if found not in (FORMAT_VERSION, *OLDER_VERSIONS):
            raise CorruptFileError(
                f"{folder.at(HEADER_FILE)} is corrupt: it has format version {found} instead of "
                f"{FORMAT_VERSION}; {folder.remedy}"
            )
        if found == 1:
            content = json_text({**_FORMAT_1_SETTINGS, **msgspec.json.decode(content)}).encode()
    return document_of(folder, HEADER_FILE, content, Header)
