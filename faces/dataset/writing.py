"""Writing a dataset: one run at a time may begin or continue it, and adds parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError, WrongUsageError
from faces.core.files import PRIVATE, atomic_write, remove_temporaries, writer_lock
from faces.core.kinds import is_dataset
from faces.dataset.deletions import clear_leftovers, withhold_deleted
from faces.dataset.header import DatasetSettings, run_in_force, write_header
from faces.dataset.layout import (
    FOLDERS,
    HEADER_FILE,
    PART_KINDS,
    RUNS_DIR,
    committed_parts,
    could_become_dataset,
    part_names,
    part_path,
    record_path,
)
from faces.dataset.schema import with_report, write_table
from faces.dataset.store import Dataset


@dataclass
class DatasetWriter:
    """One run's right to add parts, by `open`. Sent to workers: it holds names alone.

    Attributes:
        dataset: the dataset written to, as this run settles it.
        run: beginning of the names of this run's parts.
    """

    dataset: Dataset
    run: str

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, settings: DatasetSettings) -> Iterator[DatasetWriter]:
        """Hold a dataset's lock for one run of a job; begins the dataset if it is new.

        Args:
            path: the dataset's folder.
            settings: what the run is to write. The contract, the selection and the metadata
                columns must be what an existing dataset has, but for columns that are new.

        Raises:
            WrongUsageError: the path is something else, or other faces were selected.
            ContractMismatchError: the dataset was made by another model.
            BusyError: another run is writing it.
        """
        path = Path(path)
        require_place(path)
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        with writer_lock(path, what=f"dataset {path}"):
            in_force = settings
            if is_dataset(path):
                existing = Dataset.open(path)
                settings = _joined(settings, existing)
                same_limits = existing.limits == settings.limits
                in_force = settings if same_limits else replace(settings, limits=None)
            for name in FOLDERS:
                (path / name).mkdir(exist_ok=True, mode=PRIVATE)
            yield cls(Dataset(path, settings), _begin_run(path, in_force))

    def part_name(self, shard: int) -> str:
        """The name of the part that a shard of this run becomes, shards numbered from 0."""
        return f"{self.run}-{shard:06d}"

    def committed_parts(self) -> set[str]:
        """The names of this run's parts that are committed so far."""
        return committed_parts(self.dataset.path, self.run)

    def write_part(
        self, part: str, photos: pa.Table, faces: pa.Table, seconds: Mapping[str, float]
    ) -> None:
        """Commit one shard: its faces, then its photos. Writing a part again replaces it.

        Args:
            part: the part's name, as of `part_name`.
            photos: rows of the dataset's `photo_schema`.
            faces: rows of `face_schema`.
            seconds: seconds that it took, by stage.

        Raises:
            BusyError: another run has taken the dataset over.
        """
        photos, faces = withhold_deleted(self.dataset.path, photos, faces)
        photos = with_report(photos, len(faces), seconds)
        with (
            atomic_write(self.dataset.part_path("photos", part)) as photos_path,
            atomic_write(self.dataset.part_path("faces", part)) as faces_path,
        ):
            for table, path in ((faces, faces_path), (photos, photos_path)):
                write_table(table, path)
            if run_in_force(self.dataset.path) != self.run:
                raise BusyError(f"another run has taken over dataset {self.dataset.path}")

    def begin_purge(self) -> None:
        """Say that this run takes out rows that an index may not have read."""
        purged = replace(self.dataset.settings, purged=self.run)
        self.dataset = Dataset(self.dataset.path, purged)
        write_header(self.dataset.path, purged, self.run)

    def finish(self, record: dict[str, Any] | None) -> None:
        """Everything was done; keep a record of the run, a JSON document, for `Dataset.runs`."""
        write_header(self.dataset.path, self.dataset.settings, self.run)
        if record is None:
            return
        with atomic_write(record_path(self.dataset.path, self.run)) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


def require_place(path: str | Path) -> None:
    """Raise WrongUsageError unless there is a dataset at a path or one could be begun there."""
    path = Path(path)
    if not is_dataset(path) and path.exists() and not could_become_dataset(path):
        raise WrongUsageError(
            f"{path} exists and is not a facetrove dataset; the dataset is named last: a new "
            "or empty folder"
        )


def _joined(settings: DatasetSettings, existing: Dataset) -> DatasetSettings:
    """The settings of a run as they are to be written, on top of what is there."""
    require_same_contract(
        settings.contract,
        existing.contract,
        ours_name="this run",
        theirs_name=f"dataset {existing.path}",
        remedy="choose the dataset's own model or name a new dataset",
    )
    existing.require_selection(settings.selection)
    joined = existing.with_metadata(settings.metadata).settings
    return replace(joined, limits=settings.limits)


def _begin_run(path: Path, settings: DatasetSettings) -> str:
    """Take a dataset over from earlier runs and clear what they left unfinished.

    The name of the run goes into dataset.json, and workers look there before they commit: a worker
    of an earlier run that outlived it can then commit nothing any more.
    """
    latest = max((int(name.split("-")[1]) for name in committed_parts(path)), default=0)
    run = f"part-{latest + 1:06d}-{uuid4().hex[:8]}"
    write_header(path, settings, run)
    remove_temporaries(path, of=HEADER_FILE)
    remove_temporaries(path / RUNS_DIR)
    clear_leftovers(path)
    committed = committed_parts(path)
    for kind in PART_KINDS:
        remove_temporaries(path / kind)
        for name in part_names(path, kind) - committed:
            part_path(path, kind, name).unlink()
    return run
