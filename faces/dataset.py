"""The dataset on disk: Parquet parts of photos and faces. The one place that knows the format.

    DATASET/dataset.json                  format version, model contract, settings, run in force
    DATASET/photos/<part>.parquet         one row per photo seen
    DATASET/faces/<part>.parquet          one row per face found
    DATASET/runs/<run>.json               what a run did

A part is one shard's result. Its photos file is written last and is the commit mark: a part
counts when both its files are there. Part names sort by age; where two parts speak of the
same uri, the newer one holds.

Faces belong to a content (photo_id), not to a place: of a photo that lies in five places, one
row has the faces in its part, and the others are copies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faces.contract import ModelContract, require_same_contract
from faces.errors import BusyError, DamagedFileError, WrongUsageError, first_line
from faces.files import (
    PRIVATE,
    TEMPORARY_SUFFIX,
    atomic_write,
    remove_temporaries,
    writer_lock,
)
from faces.images import PhotoLimits
from faces.pipeline import FaceSelection
from faces.quality import FaceQuality

FORMAT_VERSION = 2

PART_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{8}-\d{6,}")


NO_METADATA = pa.schema([])

_REPORT_KEY = b"facetrove_report"


class PhotoStatus(StrEnum):
    """How a photo ended. A closed set: it is stored."""

    EMBEDDED = "embedded"  # at least one face
    NO_FACE = "no_face"
    REJECTED = "rejected"  # see the row's reason, one of faces.images.RejectReason
    GONE = "gone"  # the file vanished and its faces were dropped on request; such rows are hidden


PHOTO_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),  # see faces.photos.photo_uri
        pa.field("num_bytes", pa.int64(), nullable=False),  # -1: could not be told
        pa.field("mtime_ns", pa.int64(), nullable=False),  # since 1970; -1: could not be told
        pa.field("photo_id", pa.string()),  # sha256 of the content; null when it was not read
        pa.field("width", pa.int32()),  # pixels of the upright photo; null when rejected
        pa.field("height", pa.int32()),
        pa.field("num_faces", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # PhotoStatus
        pa.field("reason", pa.string()),  # RejectReason; null unless rejected
        pa.field("is_copy", pa.bool_(), nullable=False),  # faces stand with another row of photo_id
    ]
)

METADATA_TYPES = {
    str(kind): kind
    for kind in (
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("us"),
    )
}
"""Types of the columns that photo lists may add to a dataset's photos, by their stored names."""


def face_schema(dimension: int) -> pa.Schema:
    """The columns of a face, for embeddings of `dimension` numbers."""
    return pa.schema(
        [
            pa.field("face_id", pa.string(), nullable=False),  # unique in a dataset
            pa.field("photo_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),  # where the photo was when it was read
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # x, y, width, height
            pa.field("landmarks", pa.list_(pa.float32(), 10), nullable=False),  # x, y five times
            pa.field("score", pa.float32(), nullable=False),  # the detector's, 0 to 1
            *(pa.field(f.name, pa.float32(), nullable=False) for f in fields(FaceQuality)),
            pa.field("embedding", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


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


@dataclass(frozen=True)
class PartReport:
    """What making one part took; kept in the part itself.

    Attributes:
        num_photos, num_faces, num_rejected: rows of it.
        seconds: by stage.
    """

    num_photos: int
    num_faces: int
    num_rejected: int
    seconds: dict[str, float]


class Dataset:
    """A dataset folder.

    Attributes:
        path: of the folder.
        contract: what made its embeddings.
        selection: which faces were kept.
        metadata: columns that photo lists added to its photos.
        limits: of the photos that the last run tried; None while a run with others goes on.
    """

    def __init__(
        self,
        path: Path,
        contract: ModelContract,
        selection: FaceSelection = FaceSelection(),
        metadata: pa.Schema = NO_METADATA,
        limits: PhotoLimits | None = PhotoLimits(),
    ) -> None:
        self.path = path
        self.contract = contract
        self.selection = selection
        self.metadata = metadata
        self.limits = limits

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
        joined = existing.with_metadata(self.metadata)
        return Dataset(self.path, self.contract, self.selection, joined.metadata, self.limits)

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
        return Dataset(self.path, self.contract, self.selection, metadata, self.limits)

    def _begin_run(self, limits: PhotoLimits | None) -> str:
        """Take the dataset over from earlier runs and clear what they left unfinished.

        The name of the run goes into dataset.json, and workers look there before they commit:
        a worker of an earlier run that outlived it can then commit nothing any more.
        """
        latest = max((int(name.split("-")[1]) for name in self.committed_parts()), default=0)
        run = f"part-{latest + 1:06d}-{uuid4().hex[:8]}"
        self._write_header(run, limits)
        remove_temporaries(self.path)
        committed = set(self.committed_parts())
        for kind in ("photos", "faces"):
            remove_temporaries(self.path / kind)
            for name in self._part_names(kind) - committed:
                self._part_path(kind, name).unlink()
        return run

    def _write_header(self, run: str, limits: PhotoLimits | None) -> None:
        settled = Dataset(self.path, self.contract, self.selection, self.metadata, limits)
        header = {"format_version": FORMAT_VERSION, **settled.to_json(), "run": run}
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

    def _part_path(self, kind: str, part: str) -> Path:
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
        names = self.photo_schema.names if columns is None else list(columns)
        names = list(dict.fromkeys(["uri", "photo_id", "status", "is_copy", *names]))
        schema = pa.schema([self.photo_schema.field(name) for name in names])
        tables = [schema.append(pa.field("part", pa.string())).empty_table()]
        for part in self.committed_parts():
            table = _read_parquet(self._part_path("photos", part), schema)
            tables.append(table.append_column("part", pa.repeat(pa.scalar(part), len(table))))
        rows = pa.concat_tables(tables)
        faces_part = _faces_parts(rows)
        rows = rows.take(_last_rows(rows, "uri"))
        rows = rows.filter(pc.not_equal(rows["status"], PhotoStatus.GONE.value))
        place = pc.index_in(rows["photo_id"], value_set=faces_part["photo_id"])
        return rows.append_column("faces_part", faces_part["part"].take(place))

    def faces(
        self, columns: Sequence[str] | None = None, *, photos: pa.Table | None = None
    ) -> Iterator[pa.Table]:
        """The faces of the photos as they now stand, one table per part, oldest first.

        Faces of photos with equal content come once. `uri` is the first of the places where the
        content now is, and the further column `also_at` lists the others.

        Args:
            columns: of `face_schema` and `also_at`, all by default.
            photos: an earlier answer of `photos`: give the faces as they stood then, whatever
                has been written since.
        """
        photos = self.photos([]) if photos is None else photos
        schema = face_schema(self.contract.dimension)
        names = [*schema.names, "also_at"] if columns is None else list(columns)
        read = [n for n in dict.fromkeys(["photo_id", *names]) if n not in {"uri", "also_at"}]
        embedded = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
        embedded = embedded.select(["faces_part", "photo_id", "uri"])
        embedded = embedded.sort_by([(name, "ascending") for name in embedded.column_names])
        for part, start, count in _stretches(embedded["faces_part"]):
            places = _places(embedded.slice(start, count))
            path = self._part_path("faces", part)
            table = _read_parquet(path, pa.schema([schema.field(name) for name in read]))
            place = pc.index_in(table["photo_id"], value_set=places["photo_id"])
            table, place = table.filter(pc.is_valid(place)), place.drop_null()
            for name in ("uri", "also_at"):
                table = table.append_column(name, places[name].take(place))
            yield table.select(names)

    def counts(self) -> DatasetCounts:
        """Count photos and faces."""
        return count_photos(self.photos(COUNTED_COLUMNS))

    def report(self, part: str) -> PartReport:
        """What making a part took."""
        path = self._part_path("photos", part)
        try:
            return PartReport(**json.loads(pq.read_schema(path).metadata[_REPORT_KEY]))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise _damaged_part(path, error) from error

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
                f"{self._part_path('faces', part)} is missing; run `facetrove embed` with the same "
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
        rejected = pc.sum(pc.equal(photos["status"], PhotoStatus.REJECTED.value)).as_py() or 0
        report = PartReport(len(photos), len(faces), rejected, dict(seconds))
        photos = photos.replace_schema_metadata({_REPORT_KEY: json.dumps(asdict(report))})
        with (
            atomic_write(self.dataset._part_path("photos", part)) as photos_path,
            atomic_write(self.dataset._part_path("faces", part)) as faces_path,
        ):
            for table, path in ((faces, faces_path), (photos, photos_path)):
                pq.write_table(table, path, compression="zstd", write_page_checksum=True)
            if _read_header(self.dataset.path).get("run") != self.run:
                raise BusyError(f"another run has taken over dataset {self.dataset.path}")

    def finish(self, record: dict[str, Any] | None) -> None:
        """Everything was done; keep a record of the run, a JSON document, for `Dataset.runs`."""
        self.dataset._write_header(self.run, self.dataset.limits)
        if record is None:
            return
        with atomic_write(self.dataset.path / "runs" / f"{self.run}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


def faces_state(photos: pa.Table) -> str:
    """A digest of rows of `Dataset.photos`, equal while `Dataset.faces` gives the same of them."""
    embedded = photos.filter(pc.equal(photos["status"], PhotoStatus.EMBEDDED.value))
    rows = pc.binary_join_element_wise(
        embedded["photo_id"], embedded["faces_part"], embedded["uri"], "\0"
    )
    digest = hashlib.sha256()
    for chunk in rows.take(pc.sort_indices(rows)).chunks:
        for start in range(0, len(chunk), _DIGESTED_ROWS):
            lines = chunk.slice(start, _DIGESTED_ROWS).to_pylist()
            digest.update("".join(f"{line}\0\0" for line in lines).encode())
    return digest.hexdigest()


_DIGESTED_ROWS = 1 << 16

COUNTED_COLUMNS = ("num_faces", "reason")


def count_photos(photos: pa.Table) -> DatasetCounts:
    """Count rows of `Dataset.photos`, with `COUNTED_COLUMNS` at least, and the faces in them."""
    contents = photos.filter(pc.is_valid(photos["photo_id"]))
    once = contents.take(_last_rows(contents, "photo_id"))
    return DatasetCounts(
        num_photos=len(photos),
        num_faces=pc.sum(once["num_faces"]).as_py() or 0,
        num_copies=len(contents) - len(once),
        by_status=_count_values(photos["status"]),
        by_reason=_count_values(photos["reason"].drop_null()),
    )


def faces_table(
    rows: Sequence[dict[str, Any]], embeddings: NDArray[np.float32], dimension: int
) -> pa.Table:
    """Face rows and their (n, dimension) embeddings as a table of `face_schema`."""
    schema = face_schema(dimension)
    without = pa.Table.from_pylist(list(rows), schema=schema.remove(len(schema) - 1))
    flat = pa.array(np.ascontiguousarray(embeddings, dtype=np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, dimension)
    return without.append_column(schema.field("embedding"), column)


def embedding_matrix(faces: pa.Table) -> NDArray[np.float32]:
    """The (n, d) float32 embeddings of a table of faces."""
    column = faces["embedding"]
    dimension = column.type.list_size
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    joined = np.concatenate(flat) if flat else np.empty(0, dtype=np.float32)
    return np.asarray(joined.reshape(-1, dimension), dtype=np.float32)


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


def _read_parquet(path: Path, schema: pa.Schema) -> pa.Table:
    """Read columns of a part, checking its pages against their checksums.

    A column that may be null and is not there is one of metadata that came later.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            present = set(file.schema_arrow.names)
            table = file.read([name for name in schema.names if name in present])
        for field in schema:
            if (
                field.name not in present
                and field.nullable
                and field.name not in PHOTO_SCHEMA.names
            ):
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged_part(path, error) from error


def _damaged_part(path: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"{path} is damaged ({first_line(error)}); delete it and run `facetrove embed` with the "
        "same photos again"
    )


def _last_rows(rows: pa.Table, key: str) -> pa.Array:
    """Numbers of the last row of each value of a column, ascending."""
    numbered = rows.select([key]).append_column("row", pa.array(np.arange(len(rows))))
    return numbered.group_by(key).aggregate([("row", "max")])["row_max"].combine_chunks().sort()


def _faces_parts(rows: pa.Table) -> pa.Table:
    """For each content with faces, the newest part that has them; of superseded rows too."""
    owners = rows.filter(
        pc.and_(pc.equal(rows["status"], PhotoStatus.EMBEDDED.value), pc.invert(rows["is_copy"]))
    )
    return owners.take(_last_rows(owners, "photo_id")).select(["photo_id", "part"])


def _places(photos: pa.Table) -> pa.Table:
    """For each content: photo_id, the first uri that has it, and a list of the others.

    Takes rows sorted by photo_id and uri.
    """
    starts = np.array([start for _, start, _ in _stretches(photos["photo_id"])], dtype=np.int64)
    uris = photos["uri"].combine_chunks()
    others = np.ones(len(photos), dtype=bool)
    others[starts] = False
    # Before each content's first place lie the other places of all contents before it.
    offsets = np.append(starts - np.arange(len(starts)), len(photos) - len(starts))
    return pa.table(
        {
            "photo_id": photos["photo_id"].take(starts),
            "uri": uris.take(starts),
            "also_at": pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), uris.filter(pa.array(others))
            ),
        }
    )


def _stretches(column: pa.ChunkedArray) -> Iterator[tuple[Any, int, int]]:
    """Value, first row and number of rows of each run of equal values in a column."""
    encoded = pc.run_end_encode(column.combine_chunks())
    start = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield value, start, end - start
        start = end


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}
