"""The dataset on disk: Parquet parts of photos and faces. The one place that knows the format.

    DATASET/dataset.json                  format version, model contract, run in force
    DATASET/photos/<part>.parquet         one row per photo seen
    DATASET/faces/<part>.parquet          one row per face found

A part is one shard's result. Its photos file is written last and is the commit mark: a part
counts when both its files are there. Part names sort by age; where two parts speak of the
same photo, the newer one holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from faces.errors import BusyError, DamagedFileError, WrongUsageError
from faces.files import TEMPORARY_SUFFIX, atomic_write, remove_temporaries, writer_lock

FORMAT_VERSION = 1

PART_NAME = re.compile(r"part-\d{6,}-[0-9a-f]{8}-\d{6,}")


class PhotoStatus(StrEnum):
    """How a photo ended. A closed set: it is stored."""

    EMBEDDED = "embedded"  # at least one face
    NO_FACE = "no_face"
    REJECTED = "rejected"  # see the row's reason, one of faces.images.RejectReason


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
    ]
)


def face_schema(dimension: int) -> pa.Schema:
    """The columns of a face, for embeddings of `dimension` numbers."""
    return pa.schema(
        [
            pa.field("face_id", pa.string(), nullable=False),  # unique in a dataset
            pa.field("photo_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),  # x, y, width, height
            pa.field("landmarks", pa.list_(pa.float32(), 10), nullable=False),  # x, y five times
            pa.field("score", pa.float32(), nullable=False),  # the detector's, 0 to 1
            pa.field("embedding", pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )


@dataclass(frozen=True)
class DatasetCounts:
    """What is in a dataset.

    Attributes:
        num_photos: photos seen.
        num_faces: faces found.
        by_status: photos by `PhotoStatus`.
        by_reason: rejected photos by `RejectReason`.
    """

    num_photos: int
    num_faces: int
    by_status: dict[str, int]
    by_reason: dict[str, int]


class Dataset:
    """A dataset folder and the contract its embeddings share."""

    def __init__(self, path: Path, contract: ModelContract) -> None:
        self.path = path
        self.contract = contract

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open an existing dataset.

        Raises:
            WrongUsageError: there is none at `path`.
            DamagedFileError: its dataset.json cannot be read.
        """
        if not (path / "dataset.json").is_file():
            if (path / "CURRENT").is_file():
                raise WrongUsageError(f"{path} is an index; name the dataset it was built from")
            problem = "is not a facetrove dataset" if path.exists() else "does not exist"
            raise WrongUsageError(
                f"{path} {problem}; make one with `facetrove embed PHOTOS DATASET`"
            )
        document = _read_header(path)
        contract = ModelContract.from_json(
            document.get("contract"), source=str(path / "dataset.json")
        )
        return cls(path, contract)

    @classmethod
    @contextmanager
    def open_for_writing(cls, path: Path, contract: ModelContract) -> Iterator[DatasetWriter]:
        """Open a dataset for one run of a job, or begin a new one; hold its lock meanwhile.

        Raises:
            WrongUsageError: `path` is something else.
            ContractMismatchError: the dataset was made by another model.
            BusyError: another run is writing it.
        """
        existing = (path / "dataset.json").is_file()
        if not existing and path.exists() and not _could_become_dataset(path):
            raise WrongUsageError(
                f"{path} exists and is not a facetrove dataset; name a new or empty folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        with writer_lock(path, what=f"dataset {path}"):
            if existing:
                require_same_contract(
                    contract,
                    cls.open(path).contract,
                    ours_name="this run",
                    theirs_name=f"dataset {path}",
                    remedy="choose the dataset's own model or name a new dataset",
                )
            for name in ("photos", "faces"):
                (path / name).mkdir(exist_ok=True)
            dataset = cls(path, contract)
            yield DatasetWriter(dataset, dataset._begin_run())

    def _begin_run(self) -> str:
        """Take the dataset over from earlier runs and clear what they left unfinished.

        The name of the run goes into dataset.json, and workers look there before they commit:
        a worker of an earlier run that outlived it can then commit nothing any more.
        """
        latest = max((int(name.split("-")[1]) for name in self.committed_parts()), default=0)
        run = f"part-{latest + 1:06d}-{uuid4().hex[:8]}"
        header = {
            "format_version": FORMAT_VERSION,
            "contract": self.contract.to_json(),
            "run": run,
        }
        with atomic_write(self.path / "dataset.json") as temporary:
            temporary.write_text(json.dumps(header, indent=2) + "\n")
        remove_temporaries(self.path)
        committed = set(self.committed_parts())
        for kind in ("photos", "faces"):
            remove_temporaries(self.path / kind)
            for name in self._part_names(kind) - committed:
                self._part_path(kind, name).unlink()
        return run

    def _part_names(self, kind: str) -> set[str]:
        names = (path.stem for path in (self.path / kind).glob("part-*.parquet"))
        return {name for name in names if PART_NAME.fullmatch(name)}

    def _part_path(self, kind: str, part: str) -> Path:
        return self.path / kind / f"{part}.parquet"

    def committed_parts(self) -> list[str]:
        """Names of the parts that count, oldest first."""
        return sorted(self._part_names("photos") & self._part_names("faces"))

    def photos(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The photos as they now stand, one row each: `PHOTO_SCHEMA` and the row's `part`.

        Args:
            columns: read only these; `uri` and `part` come with them.
        """
        wanted = None if columns is None else list(dict.fromkeys(["uri", *columns]))
        tables = []
        for part in self.committed_parts():
            table = _read_parquet(self._part_path("photos", part), PHOTO_SCHEMA, columns=wanted)
            tables.append(table.append_column("part", pa.repeat(pa.scalar(part), len(table))))
        if not tables:
            fields = [pa.field("part", pa.string())]
            return pa.schema([*PHOTO_SCHEMA, *fields]).empty_table()
        everything = pa.concat_tables(tables)
        rows = pa.array(np.arange(len(everything)))
        newest = everything.append_column("row", rows).group_by("uri").aggregate([("row", "max")])
        return everything.take(newest["row_max"].sort())

    def faces(
        self, columns: Sequence[str] | None = None, *, photos: pa.Table | None = None
    ) -> Iterator[pa.Table]:
        """The faces of the photos as they now stand, one table per part, oldest first.

        Args:
            columns: of `face_schema`, all by default.
            photos: an earlier answer of `photos`: give the faces as they stood then, whatever
                has been written since.
        """
        photos = self.photos([]) if photos is None else photos
        schema = face_schema(self.contract.dimension)
        wanted = None if columns is None else list(dict.fromkeys(["uri", *columns]))
        for part, current in _uris_by_part(photos):
            table = _read_parquet(self._part_path("faces", part), schema, columns=wanted)
            table = table.filter(pc.is_in(table["uri"], value_set=current))
            yield table if columns is None else table.select(list(columns))

    def counts(self, parts: set[str] | None = None) -> DatasetCounts:
        """Count photos and faces, of all parts or only of those named."""
        photos = self.photos(["num_faces", "status", "reason"])
        if parts is not None:
            photos = photos.filter(
                pc.is_in(photos["part"], value_set=pa.array(sorted(parts), pa.string()))
            )
        return DatasetCounts(
            num_photos=len(photos),
            num_faces=pc.sum(photos["num_faces"]).as_py() or 0,
            by_status=_count_values(photos["status"]),
            by_reason=_count_values(photos["reason"].drop_null()),
        )

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
        return {part for part in self.dataset.committed_parts() if part.startswith(self.run)}

    def write_part(self, part: str, photos: pa.Table, faces: pa.Table) -> None:
        """Commit one shard: its faces, then its photos. Writing a part again replaces it.

        Raises:
            BusyError: another run has taken the dataset over.
        """
        with (
            atomic_write(self.dataset._part_path("photos", part)) as photos_path,
            atomic_write(self.dataset._part_path("faces", part)) as faces_path,
        ):
            for table, path in ((faces, faces_path), (photos, photos_path)):
                pq.write_table(table, path, compression="zstd", write_page_checksum=True)
            if _read_header(self.dataset.path).get("run") != self.run:
                raise BusyError(f"another run has taken over dataset {self.dataset.path}")


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


def _could_become_dataset(path: Path) -> bool:
    """Whether a path is an empty folder, but for what a run killed at its start leaves."""
    return path.is_dir() and all(
        entry.name == ".lock"
        or entry.name.endswith(TEMPORARY_SUFFIX)
        or (entry.name in {"photos", "faces"} and entry.is_dir() and not any(entry.iterdir()))
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
            "it is damaged or of another version of facetrove"
        )
    return document


def _read_parquet(path: Path, schema: pa.Schema, *, columns: list[str] | None) -> pa.Table:
    """Read a part, checking its pages against their checksums and its columns against `schema`."""
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        expected = schema if columns is None else pa.schema([schema.field(n) for n in columns])
        return table.cast(expected)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(
            f"{path} is damaged ({reason}); delete it and run `facetrove embed` with the same "
            "photos again"
        ) from error


def _uris_by_part(photos: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Each part's photos, which lie side by side in what `Dataset.photos` gives."""
    uris, start = photos["uri"].combine_chunks(), 0
    for part, count in _count_values(photos["part"]).items():  # in order of appearance
        yield part, uris.slice(start, count)
        start += count


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}
