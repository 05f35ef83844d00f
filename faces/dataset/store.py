"""The dataset on disk: Parquet parts of photos and faces. The one place that knows the format.

    DATASET/dataset.json                  format version, model contract, settings, run in force
    DATASET/photos/<part>.parquet         one row per photo seen
    DATASET/faces/<part>.parquet          one row per face found
    DATASET/runs/<run>.json               what a run did
    DATASET/deletions.parquet             what may never come back; see faces.dataset.deletions

A part is one shard's result. Its photos file is written last and is the commit mark: a part
counts when both its files are there. Part names sort by age; where two parts speak of the
same uri, the newer one holds.

"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import BusyError, DamagedFileError, WrongUsageError
from faces.core.files import (
    PRIVATE,
    TEMPORARY_SUFFIX,
    atomic_write,
    remove_temporaries,
    writer_lock,
)
from faces.core.settings import FaceSelection, PhotoLimits
from faces.dataset.deletions import clear_leftovers, read_deletions, withhold_deleted
from faces.dataset.schema import (
    PHOTO_SCHEMA,
    PartReport,
    PhotoStatus,
    face_schema,
    last_rows,
    places_of_contents,
    read_report,
    read_table,
    standing_photos,
    stretches,
    with_report,
    write_table,
)
from faces.photos.metadata import METADATA_TYPES

FORMAT_VERSION = 3

PART_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{8}-\d{6,}")


NO_METADATA = pa.schema([])


@dataclass(frozen=True)
class DatasetCounts:
    """What is in a dataset.

    Attributes:
        num_photos: photos seen, every place of a copied one.
        num_faces: faces found, those of copies once.
        num_copies: photos whose content another photo has too.
        by_status: photos by `PhotoStatus`.
        by_reason: rejected photos by `RejectReason`.
    """

    num_photos: int
    num_faces: int
    num_copies: int
    by_status: dict[str, int]
    by_reason: dict[str, int]


class Dataset:
    """A dataset folder.

    Attributes:
        path: of the folder.
        contract: what made its embeddings.
        selection: which faces were kept.
        metadata: columns that photo lists added to its photos.
        limits: of the photos that the last run tried; None while a run with others goes on.
        purged: the last run that took out rows which an index may not have read; empty: none.
    """

    def __init__(
        self,
        path: Path,
        contract: ModelContract,
        selection: FaceSelection = FaceSelection(),
        metadata: pa.Schema = NO_METADATA,
        limits: PhotoLimits | None = PhotoLimits(),
        *,
        purged: str = "",
    ) -> None:
        self.path = path
        self.contract = contract
        self.selection = selection
        self.metadata = metadata
        self.limits = limits
        self.purged = purged

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open an existing dataset.

        Raises:
            WrongUsageError: there is none at `path`.
            DamagedFileError: its dataset.json cannot be read.
        """
        if not cls.exists(path):
            if (path / "CURRENT").is_file():
                raise WrongUsageError(f"{path} is an index; name the dataset it was built from")
            problem = "is not a facetrove dataset" if path.exists() else "does not exist"
            raise WrongUsageError(
                f"{path} {problem}; make one with `facetrove embed PHOTOS DATASET`"
            )
        header = _read_header(path)
        source = str(path / "dataset.json")
        contract = ModelContract.from_json(header.get("contract"), source=source)
        try:
            return cls(
                path,
                contract,
                FaceSelection(**header["selection"]),
                pa.schema([(n, METADATA_TYPES[kind]) for n, kind in header["metadata"].items()]),
                None if header["limits"] is None else PhotoLimits(**header["limits"]),
                purged=header.get("purged", ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{source} is damaged ({error!r})") from error

    def to_json(self) -> dict[str, Any]:
        """All that was settled when it was begun or last written."""
        return {
            "contract": self.contract.to_json(),
            "selection": asdict(self.selection),
            "metadata": {field.name: str(field.type) for field in self.metadata},
            "limits": None if self.limits is None else asdict(self.limits),
            "purged": self.purged,
        }

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a dataset at a path."""
        return (path / "dataset.json").is_file()

    @contextmanager
    def open_for_writing(self) -> Iterator[DatasetWriter]:
        """Hold this dataset's lock for one run of a job; begins the dataset if it is new.

        The contract, selection and metadata columns must be what an existing dataset has, but
        for columns that are new.

        Raises:
            WrongUsageError: the path is something else, or other faces were selected.
            ContractMismatchError: the dataset was made by another model.
            BusyError: another run is writing it.
        """
        path = self.path
        self.require_place(path)
        path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        with writer_lock(path, what=f"dataset {path}"):
            existing = Dataset.open(path) if self.exists(path) else None
            dataset = self._joined_to(existing) if existing else self
            for name in ("photos", "faces", "runs"):
                (path / name).mkdir(exist_ok=True, mode=PRIVATE)
            same_limits = existing is None or existing.limits == self.limits
            yield DatasetWriter(dataset, dataset._begin_run(self.limits if same_limits else None))

    @classmethod
    def require_place(cls, path: Path) -> None:
        """Raise WrongUsageError unless there is a dataset at a path or one could be begun."""
        if not cls.exists(path) and path.exists() and not _could_become_dataset(path):
            raise WrongUsageError(
                f"{path} exists and is not a facetrove dataset; the dataset is named last: a new "
                "or empty folder"
            )

    def require_selection(self, selection: FaceSelection) -> None:
        """Raise WrongUsageError unless this dataset's faces were selected so."""
        if selection != self.selection:
            raise WrongUsageError(
                f"dataset {self.path} was begun with other limits for faces "
                f"({self.selection}; now {selection}); give the same "
                "ones, or none, or name a new dataset"
            )

    def _joined_to(self, existing: Dataset) -> Dataset:
        """This dataset as it is to be written, on top of what is there."""
        require_same_contract(
            self.contract,
            existing.contract,
            ours_name="this run",
            theirs_name=f"dataset {self.path}",
            remedy="choose the dataset's own model or name a new dataset",
        )
        existing.require_selection(self.selection)
        return existing.with_metadata(self.metadata)._with_limits(self.limits)

    def _with_limits(self, limits: PhotoLimits | None) -> Dataset:
        return Dataset(
            self.path, self.contract, self.selection, self.metadata, limits, purged=self.purged
        )

    def with_metadata(self, columns: pa.Schema) -> Dataset:
        """The same dataset with further metadata columns, where they are new.

        Raises:
            WrongUsageError: it has one by that name and of another type.
        """
        metadata = self.metadata
        for field in columns:
            place = metadata.get_field_index(field.name)
            if place < 0:
                metadata = metadata.append(field)
            elif not _holds_values_of(metadata.field(place).type, field.type):
                raise WrongUsageError(
                    f"column {field.name!r} is {field.type} in the photo list and "
                    f"{metadata.field(place).type} in dataset {self.path}; make them the same"
                )
        return Dataset(
            self.path, self.contract, self.selection, metadata, self.limits, purged=self.purged
        )

    def _begin_run(self, limits: PhotoLimits | None) -> str:
        """Take the dataset over from earlier runs and clear what they left unfinished.

        The name of the run goes into dataset.json, and workers look there before they commit:
        a worker of an earlier run that outlived it can then commit nothing any more.
        """
        latest = max((int(name.split("-")[1]) for name in self.committed_parts()), default=0)
        run = f"part-{latest + 1:06d}-{uuid4().hex[:8]}"
        self._write_header(run, limits)
        remove_temporaries(self.path, of="dataset.json")
        remove_temporaries(self.path / "runs")
        clear_leftovers(self.path)
        committed = set(self.committed_parts())
        for kind in ("photos", "faces"):
            remove_temporaries(self.path / kind)
            for name in self._part_names(kind) - committed:
                self.part_path(kind, name).unlink()
        return run

    def _write_header(self, run: str, limits: PhotoLimits | None) -> None:
        settled = self._with_limits(limits).to_json()
        header = {"format_version": FORMAT_VERSION, **settled, "run": run}
        with atomic_write(self.path / "dataset.json") as temporary:
            temporary.write_text(json.dumps(header, indent=2) + "\n")

    def _part_names(self, kind: str, beginning: str = "part-") -> set[str]:
        try:
            # Unlike a glob, it fails where it cannot look.
            files = os.listdir(self.path / kind)  # noqa: PTH208  # fast for many
        except FileNotFoundError:
            return set()
        names = (name.removesuffix(".parquet") for name in files if name.startswith(beginning))
        return {name for name in names if PART_NAME.fullmatch(name)}

    def part_path(self, kind: str, part: str) -> Path:
        """Where a part's file of `photos` or `faces` is."""
        return self.path / kind / f"{part}.parquet"

    def committed_parts(self) -> list[str]:
        """Names of the parts that count, oldest first."""
        return sorted(self._part_names("photos") & self._part_names("faces"))

    @property
    def photo_schema(self) -> pa.Schema:
        """Columns of its photos: `PHOTO_SCHEMA` and metadata."""
        return pa.schema([*PHOTO_SCHEMA, *self.metadata])

    def photos(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The photos as they now stand, one row for each uri.

        Args:
            columns: read only these of `photo_schema`.

        Returns:
            The columns, and with them uri, photo_id, status, is_copy and two more: `part`, which
            the row is in, and `faces_part`, which the faces of its content are in.
        """
        return standing_photos(self.photo_rows(columns))

    def photo_rows(
        self, columns: Sequence[str] | None = None, *, parts: Sequence[str] | None = None
    ) -> pa.Table:
        """All rows of photos as they were written, superseded ones too, oldest part first.

        Args:
            columns: as of `photos`.
            parts: only of these, by default of all committed ones.

        Returns:
            The columns, with them uri, photo_id, status and is_copy, and `part`.
        """
        names = self.photo_schema.names if columns is None else list(columns)
        names = list(dict.fromkeys(["uri", "photo_id", "status", "is_copy", *names]))
        schema = pa.schema([self.photo_schema.field(name) for name in names])
        tables = [schema.append(pa.field("part", pa.string())).empty_table()]
        for part in self.committed_parts() if parts is None else sorted(parts):
            table = read_table(self.part_path("photos", part), schema)
            tables.append(table.append_column("part", pa.repeat(pa.scalar(part), len(table))))
        return pa.concat_tables(tables)

    def faces(
        self, columns: Sequence[str] | None = None, *, photos: pa.Table | None = None
    ) -> Iterator[pa.Table]:
        """The faces of the photos as they now stand, one table per part, oldest first.

        Faces of photos with equal content come once. `uri` is the first of the places where the
        content now is, and the further column `also_at` lists the others.

        Args:
            columns: of `face_schema`, `also_at` and the photos' metadata, which is that of the
                first place; all but metadata by default.
            photos: an earlier answer of `photos`, with the metadata wanted: give the faces as
                they stood then, whatever has been written since. Some rows of it, all those of
                a content or none: the faces of these alone.
        """
        schema = face_schema(self.contract.dimension)
        names = [*schema.names, "also_at"] if columns is None else list(columns)
        metadata = [name for name in names if name in self.metadata.names]
        photos = self.photos(metadata) if photos is None else photos
        of_place = ["uri", "also_at", *metadata]
        read = [n for n in dict.fromkeys(["photo_id", "face_id", *names]) if n not in of_place]
        embedded = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
        embedded = embedded.select(["faces_part", "photo_id", "uri", *metadata])
        embedded = embedded.sort_by([(n, "ascending") for n in ("faces_part", "photo_id", "uri")])
        pending = read_deletions(self.path).pending
        for part, start, count in stretches(embedded["faces_part"]):
            places = places_of_contents(embedded.slice(start, count))
            path = self.part_path("faces", part)
            table = read_table(path, pa.schema([schema.field(name) for name in read]))
            place = pc.index_in(table["photo_id"], value_set=places["photo_id"])
            wanted = pc.is_valid(place)
            if len(pending):
                wanted = pc.and_not(wanted, pc.is_in(table["face_id"], value_set=pending))
            table, place = table.filter(wanted), place.filter(wanted)
            for name in of_place:
                table = table.append_column(name, places[name].take(place))
            yield table.select(names)

    def counts(self) -> DatasetCounts:
        """Count photos and faces."""
        return count_photos(self.photos(COUNTED_COLUMNS))

    def report(self, part: str) -> PartReport:
        """What making a part took."""
        return read_report(self.part_path("photos", part))

    def runs(self) -> list[dict[str, Any]]:
        """What each finished run wrote about itself, oldest first; see `DatasetWriter.finish`."""
        records = []
        for path in sorted((self.path / "runs").glob("*.json")):
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise DamagedFileError(
                    f"{path} is damaged; delete it, it is a record and nothing depends on it"
                )
            records.append(record)
        return records

    def require_whole(self) -> None:
        """Raise DamagedFileError if a committed part has lost its faces file."""
        for part in sorted(self._part_names("photos") - self._part_names("faces")):
            raise DamagedFileError(
                f"{self.part_path('faces', part)} is missing; run `facetrove embed` with the same "
                "photos again and it will be made anew"
            )


@dataclass(frozen=True)
class DatasetWriter:
    """One run's right to add parts. Sent to workers: it holds names alone.

    Attributes:
        dataset: what is written to.
        run: beginning of the names of this run's parts.
    """

    dataset: Dataset
    run: str

    def part_name(self, shard: int) -> str:
        """Name of the part that a shard of this run becomes, shards numbered from 0."""
        return f"{self.run}-{shard:06d}"

    def committed_parts(self) -> set[str]:
        """Names of this run's parts that are committed so far."""
        dataset = self.dataset
        return dataset._part_names("photos", self.run) & dataset._part_names("faces", self.run)

    def write_part(
        self, part: str, photos: pa.Table, faces: pa.Table, seconds: Mapping[str, float]
    ) -> None:
        """Commit one shard: its faces, then its photos. Writing a part again replaces it.

        Args:
            part: as of `part_name`.
            photos: rows of the dataset's `photo_schema`.
            faces: rows of `face_schema`.
            seconds: what it took, by stage.

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
            if _read_header(self.dataset.path).get("run") != self.run:
                raise BusyError(f"another run has taken over dataset {self.dataset.path}")

    def begin_purge(self) -> None:
        """Say that this run takes out rows that an index may not have read."""
        self.dataset.purged = self.run
        self.dataset._write_header(self.run, self.dataset.limits)

    def finish(self, record: dict[str, Any] | None) -> None:
        """Everything was done; keep a record of the run, a JSON document, for `Dataset.runs`."""
        self.dataset._write_header(self.run, self.dataset.limits)
        if record is None:
            return
        with atomic_write(self.dataset.path / "runs" / f"{self.run}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


COUNTED_COLUMNS = ("num_faces", "reason")


def count_photos(photos: pa.Table) -> DatasetCounts:
    """Count rows of `Dataset.photos`, with `COUNTED_COLUMNS` at least, and the faces in them."""
    contents = photos.filter(pc.is_valid(photos["photo_id"]))
    once = contents.take(last_rows(contents, "photo_id"))
    return DatasetCounts(
        num_photos=len(photos),
        num_faces=pc.sum(once["num_faces"]).as_py() or 0,
        num_copies=len(contents) - len(once),
        by_status=_count_values(photos["status"]),
        by_reason=_count_values(photos["reason"].drop_null()),
    )


def _holds_values_of(column: pa.DataType, values: pa.DataType) -> bool:
    """Whether a column can take values of another type: text takes what reads the same again."""
    as_text = pa.types.is_string(column) and values in (pa.int64(), pa.date32())
    return bool(column == values or as_text)


def _could_become_dataset(path: Path) -> bool:
    """Whether a path is an empty folder, but for what a run killed at its start leaves."""
    return path.is_dir() and all(
        entry.name == ".lock"
        or entry.name.endswith(TEMPORARY_SUFFIX)
        or (
            entry.name in {"photos", "faces", "runs"}
            and entry.is_dir()
            and not any(entry.iterdir())
        )
        for entry in path.iterdir()
    )


def _read_header(path: Path) -> dict[str, Any]:
    header_path = path / "dataset.json"
    try:
        document = json.loads(header_path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError(f"{header_path} cannot be read ({error})") from error
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version") if isinstance(document, dict) else None
        raise DamagedFileError(
            f"{header_path} has format version {found!r}, this facetrove reads {FORMAT_VERSION}; "
            "it is damaged or of another version of facetrove: embed into a new dataset"
        )
    return document


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}
