"""The records of a dataset's exports: the vector databases that its faces were sent to.

    DATASET/exports/export-<key>.json    one export: its address, and what it was last compared with
    DATASET/exports/.<key>.lock          held while that export runs
    DATASET/exports/.lock                held while a record is written

A database is out of reach of a purge. So the dataset remembers where its faces went, and a purge
names the databases that still hold what it removed, until the next export to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from faces.core.documents import document_of, json_text
from faces.core.errors import BusyError, MissingFileError
from faces.core.storage import Folder
from faces.dataset.deletions import Deletions
from faces.dataset.layout import (
    EXPORTS_DIR,
    dataset_folder,
    export_file,
    export_keys,
    export_lock,
    exports_folder,
)

LEASE_SECONDS = 10.0
"""Seconds to wait for another process that writes a record."""


@dataclass(frozen=True)
class Compared:
    """What the faces in a database were last compared with.

    Attributes:
        deletions: digest of the faces that the dataset had deleted, see `deletions_digest`.
        newest_part: name of the newest part of the dataset that the exported index had read.
    """

    deletions: str
    newest_part: str


@dataclass(frozen=True)
class ExportRecord:
    """The record of an export.

    Attributes:
        address: address of the database and the table, without any secret.
        compared: what the faces there were last compared with.
        is_behind: whether a purge removed something since then that the database still has.
    """

    address: str
    compared: Compared
    is_behind: bool = False


class RunningExport:
    """An export that runs, and the record of it. Use `running_export`."""

    def __init__(self, folder: Folder, key: str, address: str) -> None:
        self._folder, self._name = folder, export_file(key)
        self._address = address
        self._written: bytes | None = None
        with suppress(MissingFileError):
            self._written = folder.read(self._name)

    def begin(self, compared: Compared) -> None:
        """Note that faces go to the database from now on.

        A database that has faces already still has those of the time before, so its record stays.

        Args:
            compared: what the faces that are sent were compared with.
        """
        if self._written is None:
            self._write(ExportRecord(self._address, compared))

    def finish(self, compared: Compared) -> None:
        """Note that the database holds these faces and no others.

        Where a purge has marked the record meanwhile, the mark stays: the export had begun with
        what the index held before.
        """
        with suppress(BusyError):
            self._write(ExportRecord(self._address, compared))

    def _write(self, record: ExportRecord) -> None:
        content = _content(record)
        with _records_lease(self._folder):
            self._folder.put_unchanged(self._name, content, previous=self._written)
        self._written = content


@contextmanager
def running_export(dataset_dir: Path, address: str) -> Iterator[RunningExport]:
    """Hold the right of the one export of a dataset to an address.

    What is exported must be read inside the context, so that no purge goes unnoticed.

    Args:
        dataset_dir: folder of the dataset.
        address: address of the database and the table, without any secret.

    Raises:
        BusyError: another process exports the dataset to that address.
    """
    dataset_folder(dataset_dir).make_folder(EXPORTS_DIR)
    folder, key = exports_folder(dataset_dir), _key(address)
    with folder.lease(what=address, name=export_lock(key)):
        folder.remove_temporary_files(of=export_file(key))
        yield RunningExport(folder, key, address)


def mark_exports(
    dataset_dir: Path, compared: Compared, *, superseded: bool, names: bool
) -> tuple[str, ...]:
    """Mark the exports that may hold what a purge removed; return the addresses of all marked ones.

    Args:
        dataset_dir: folder of the dataset.
        compared: the state of the dataset. An export that was compared with other deletions holds
            faces that were deleted since.
        superseded: whether superseded faces were removed, which exports of older parts hold.
        names: whether names were removed, which every export holds.
    """
    folder, marked = exports_folder(dataset_dir), []
    if not dataset_folder(dataset_dir).exists(EXPORTS_DIR):
        return ()
    with _records_lease(folder):
        for key in export_keys(folder):
            name = export_file(key)
            record = document_of(folder, name, folder.read(name), ExportRecord)
            is_older = superseded and record.compared.newest_part < compared.newest_part
            if record.compared.deletions != compared.deletions or is_older or names:
                record = replace(record, is_behind=True)
                with folder.put(name) as file:
                    file.write(_content(record))
            if record.is_behind:
                marked.append(record.address)
    return tuple(sorted(marked))


def _records_lease(folder: Folder) -> AbstractContextManager[None]:
    """Hold the right to write records, which takes some milliseconds."""
    return folder.lease(what=f"records in {folder.at()}", wait_seconds=LEASE_SECONDS)


def deletions_digest(deletions: Deletions) -> str:
    """Return a digest of which faces are deleted, be it for now or finally."""
    digests = sorted(deletions.digests.to_pylist())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _key(address: str) -> str:
    return hashlib.sha256(f"facetrove export {address}".encode()).hexdigest()[:16]


def _content(record: ExportRecord) -> bytes:
    return f"{json_text(asdict(record))}\n".encode()
