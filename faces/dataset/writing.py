"""Writing a dataset: one run at a time creates or continues it, by adding parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError, WrongUsageError
from faces.core.kinds import is_dataset
from faces.core.named import require_no_address
from faces.dataset.deleted_pictures import read_deleted_pictures
from faces.dataset.deletions import clear_leftovers, read_deletions
from faces.dataset.earlier_faces import AssignedIds, EarlierFaces
from faces.dataset.header import DatasetSettings, run_in_force, write_header
from faces.dataset.layout import (
    FOLDERS,
    HEADER_FILE,
    PART_KINDS,
    PASSED_OVER_FILE,
    RUNS_DIR,
    committed_parts,
    could_become_dataset,
    dataset_folder,
    part_file,
    part_names,
)
from faces.dataset.passed_over_names import write_passed_over
from faces.dataset.run_records import write_record
from faces.dataset.schema import face_schema, with_report, write_table
from faces.dataset.store import Dataset
from faces.dataset.withholding import NO_THUMBNAILS, Thumbnails, withhold_deleted


@dataclass
class DatasetWriter:
    """The right of one run to add parts to a dataset, as `DatasetWriter.open` gives it.

    A writer is sent to worker processes, so it holds a path, settings and a name, but no open file.

    Attributes:
        dataset: the dataset that is written to, with the settings of this run.
        run: name of the run, which is the prefix of the names of its parts.
    """

    dataset: Dataset
    run: str

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, settings: DatasetSettings) -> Iterator[DatasetWriter]:
        """Hold a dataset's writer lock for one run, and create the dataset if it is new.

        Args:
            path: the dataset's folder.
            settings: settings of the run. If the dataset exists, its contract and selection must
                be the same; metadata columns that it lacks are added.

        Raises:
            WrongUsageError: the path is neither a dataset nor an empty folder, or the dataset has
                another selection, or a metadata column of another type.
            ContractMismatchError: the dataset was made by another model.
            BusyError: another process is writing the dataset.
        """
        path = Path(path)
        require_dataset_path(path)
        folder = dataset_folder(path)
        folder.make()
        with folder.lease(what=f"dataset {path}"):
            in_force = settings
            if is_dataset(path):
                existing = Dataset.open(path)
                settings = _merged_settings(settings, existing)
                same_limits = existing.limits == settings.limits
                in_force = settings if same_limits else replace(settings, limits=None)
            if not settings.dataset_id:
                new_id = uuid4().hex
                settings, in_force = (replace(s, dataset_id=new_id) for s in (settings, in_force))
            for name in FOLDERS:
                folder.make_folder(name)
            yield cls(Dataset(path, settings), _begin_run(path, in_force))

    def part_name(self, shard: int) -> str:
        """Return the name of the part of one shard of this run; shards are numbered from 0."""
        return f"{self.run}-{shard:06d}"

    def committed_parts(self) -> set[str]:
        """Return the names of the parts that this run has committed so far."""
        return committed_parts(self.dataset.folder, self.run)

    def write_part(
        self,
        part: str,
        photos: pa.Table,
        faces: pa.Table,
        seconds: Mapping[str, float],
        *,
        thumbnails: Thumbnails = NO_THUMBNAILS,
        earlier: EarlierFaces | None = None,
    ) -> None:
        """Commit one part: its faces, then its photos. Writing a part again replaces it.

        Faces that were deleted on request are left out; see `faces.dataset.withholding`.

        Args:
            part: the part's name, from `part_name`.
            photos: rows of the dataset's `photo_schema`.
            faces: rows of `face_schema`.
            seconds: seconds spent on the part, by stage.
            thumbnails: small images of the photos in which faces were detected now, by photo_id.
            earlier: the earlier faces of the photos, whose ids are kept by faces that are detected
                again; None: the faces keep the ids that they have.

        Raises:
            CorruptFileError: a part with earlier faces, or a file of deletions, cannot be read.
            BusyError: another run has taken over the dataset.
        """
        if len(faces):
            deletions = read_deletions(self.dataset.path)
            pictures = read_deleted_pictures(self.dataset.path, deletions)
            assigned = AssignedIds(faces)
            if earlier is not None:
                assigned = earlier.assign(photos, faces, thumbnails.keys(), pictures)
            photos, faces = withhold_deleted(photos, assigned, deletions, pictures, thumbnails)
        photos = with_report(photos, len(faces), seconds)
        folder = self.dataset.folder
        with (
            folder.put(part_file("photos", part)) as photos_file,
            folder.put(part_file("faces", part)) as faces_file,
        ):
            for table, file in ((faces, faces_file), (photos, photos_file)):
                write_table(table, file)
            if run_in_force(self.dataset.path) != self.run:
                raise BusyError(f"another run has taken over dataset {self.dataset.path}")

    def write_photos(self, part: str, photos: pa.Table) -> None:
        """Commit one part of photos that have no faces in it, such as photos that are gone.

        Args:
            part: the part's name, from `part_name`.
            photos: rows of the dataset's `photo_schema`.

        Raises:
            BusyError: another run has taken over the dataset.
        """
        faces = face_schema(self.dataset.contract.dimension).empty_table()
        self.write_part(part, photos, faces, {})

    def begin_purge(self) -> None:
        """Record in dataset.json that this run removes rows which an index may not have read."""
        purged = replace(self.dataset.settings, purged=self.run)
        self.dataset = Dataset(self.dataset.path, purged)
        write_header(self.dataset.path, purged, self.run)

    def finish(self, record: dict[str, Any] | None, passed_over: pa.Table | None = None) -> None:
        """Record that the run is finished.

        Args:
            record: the run's summary, a JSON object, for `Dataset.runs`; None: it has none.
            passed_over: what it passed over, for `Dataset.passed_over`; None: it listed no photos.
        """
        write_header(self.dataset.path, self.dataset.settings, self.run)
        if passed_over is not None:
            write_passed_over(self.dataset.folder, passed_over)
        if record is None:
            return
        write_record(self.dataset.folder, self.run, record)


def require_dataset_path(path: str | Path) -> None:
    """Raise WrongUsageError unless a path is a dataset, or one could be created there."""
    require_no_address(path)
    path = Path(path)
    if not is_dataset(path) and path.exists() and not could_become_dataset(path):
        raise WrongUsageError(
            f"{path} exists and is not a facetrove dataset; the dataset is named last: a new "
            "or empty folder"
        )


def _merged_settings(settings: DatasetSettings, existing: Dataset) -> DatasetSettings:
    """Return the settings of a run on an existing dataset, with the metadata columns of both.

    Raises:
        ContractMismatchError: the dataset was made by another model.
        WrongUsageError: the dataset has another selection, or a metadata column of another type.
    """
    require_same_contract(
        settings.contract,
        existing.contract,
        ours_name="this run",
        theirs_name=f"dataset {existing.path}",
        remedy="choose the dataset's own models, or embed it into a new dataset, which keeps "
        f"face_ids, deletions and columns: `facetrove embed {existing.path} NEW` with these models",
    )
    existing.require_selection(settings.selection)
    merged = existing.with_metadata(settings.metadata).settings
    salted_ids = existing.settings.salted_ids or settings.salted_ids
    return replace(merged, limits=settings.limits, salted_ids=salted_ids)


def _begin_run(path: Path, settings: DatasetSettings) -> str:
    """Put a new run in force, remove unfinished files of earlier runs, and return the run's name.

    The name is written to dataset.json, which workers read before they commit, so that a worker
    that outlived an earlier run can no longer commit anything.
    """
    folder = dataset_folder(path)
    latest = max((int(name.split("-")[1]) for name in committed_parts(folder)), default=0)
    run = f"part-{latest + 1:06d}-{uuid4().hex[:8]}"
    write_header(path, settings, run)
    for name in (HEADER_FILE, PASSED_OVER_FILE):
        folder.remove_temporary_files(of=name)
    folder.remove_temporary_files(RUNS_DIR)
    clear_leftovers(path)
    committed = committed_parts(folder)
    for kind in PART_KINDS:
        folder.remove_temporary_files(kind)
        for name in part_names(folder, kind) - committed:
            folder.remove(part_file(kind, name))
    return run
