"""An index's manifests and CURRENT: the one module that reads and writes their formats.

    CURRENT                   one line: name and sha256 of the current manifest
    manifest-<version>.json   describes a version of the index, with the digest of every file
    deletions/<id>.arrow      the deleted rows of a version: columns segment, row

Publishing a version writes its files, then its manifest, then CURRENT, each of them whole or not at
all: wherever it is interrupted, CURRENT names a complete version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.core.arrow_files import write_arrow
from faces.core.contract import ModelContract
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.files import PRIVATE_DIR_MODE, atomic_write
from faces.core.hashing import sha256_of
from faces.core.kinds import is_dataset, is_index
from faces.core.named import require_no_address
from indexer.layout import (
    MANIFEST_NAME,
    current_path,
    deletions_dir,
    is_deletions_name,
    is_id,
    manifest_name,
    new_deletions_name,
    segment_dir,
)
from indexer.options import IndexOptions, Recipe
from indexer.thresholds import Calibration

FORMAT_VERSION = 3
"""Version of the index format that this module writes and reads."""

METRIC = "inner_product"
"""The only metric of an index; of unit vectors it is the cosine similarity."""

NEVER_COMPARED = ""
"""`Manifest.dataset_deletions` of an index that its next update compares with the dataset."""

REBUILD = "build the index again with --rebuild"
"""What to do about any corrupt file of an index; error messages end in it."""


@dataclass(frozen=True)
class FileDigest:
    """Size in bytes and sha256 of a file, by which corruption is detected."""

    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileDigest:
        """Compute the digest of a file."""
        return cls(path.stat().st_size, sha256_of(path))

    def require(self, path: Path) -> None:
        """Raise CorruptFileError, naming the file, unless its size and sha256 are these."""
        self.require_size(path)
        try:
            sha256 = sha256_of(path)
        except FileNotFoundError as error:  # a writer may have removed an old version's file
            raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
        if sha256 != self.sha256:
            raise CorruptFileError(
                f"{path} differs from what was written (its sha256 has changed); {REBUILD}"
            )

    def require_size(self, path: Path) -> None:
        """Raise CorruptFileError, unless its size is this; quicker than `require`."""
        try:
            num_bytes = path.stat().st_size
        except FileNotFoundError as error:
            raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
        if num_bytes != self.num_bytes:
            raise CorruptFileError(
                f"{path} has {num_bytes} bytes instead of {self.num_bytes}: it is truncated "
                "or altered; build the index again with --rebuild"
            )


@dataclass(frozen=True)
class Measured:
    """Recall and speed of a segment's search, measured with faces of the segment as probes.

    Recall is relative to exact search. A probe's own row is left out of both results: every recipe
    finds it. The settings of the search were tuned with other probes than these.

    Attributes:
        recall_at_1, recall_at_10: share of the exact 1 and 10 nearest faces found, [0, 1].
        recall_of_matches: share found of those of the ten nearest faces that reach `threshold`,
            [0, 1]; None if there is no threshold, or no face reaches it.
        threshold: the operating threshold, a similarity; None: none is defined for the model.
        num_probes: number of probes.
        num_matches: number of faces that `recall_of_matches` is a share of, over all probes.
        probes_per_second: speed of the search in batches, on the machine that built the index.
        exact_probes_per_second: speed of exact search in batches, on the same machine.
        latency_ms_p50, latency_ms_p99: median and 99th percentile of the milliseconds that the
            search of a single probe takes, on the same machine.
        num_threads: number of FAISS's threads in these measurements.
    """

    recall_at_1: float
    recall_at_10: float
    recall_of_matches: float | None
    threshold: float | None
    num_probes: int
    num_matches: int
    probes_per_second: float
    exact_probes_per_second: float
    latency_ms_p50: float
    latency_ms_p99: float
    num_threads: int


@dataclass(frozen=True)
class SegmentEntry:
    """The entry of a segment in a manifest.

    Attributes:
        segment_id: id of the segment, which is its folder's name.
        num_faces: number of rows of faces, deleted ones included.
        num_photos: number of rows of photos that were read for the segment.
        recipe: how the segment is searched.
        measured: recall and speed of the search; None if exact search was chosen without trying
            another recipe.
        files: size and sha256 of the segment's files, by file name.
        built_on: where the vectors were clustered, `cpu` or `cuda`.
    """

    segment_id: str
    num_faces: int
    num_photos: int
    recipe: Recipe
    measured: Measured | None
    files: Mapping[str, FileDigest]
    built_on: str = "cpu"


@dataclass(frozen=True)
class DeletionsEntry:
    """The entry of a file of deleted rows in a manifest.

    Attributes:
        name: name of the file.
        num_faces: number of rows that the file lists.
        file: size and sha256 of the file.
    """

    name: str
    num_faces: int
    file: FileDigest


@dataclass(frozen=True)
class Manifest:
    """The description of one version of an index.

    Attributes:
        version: number of the version, from 1, increased by 1 with every publication.
        contract: the models and preprocessing that made the index's embeddings.
        wanted: the options that the index is built with.
        segments: the segments, oldest first.
        deletions: the file that lists the segments' deleted rows; None: no row is deleted.
        dataset_deletions: `faces.dataset.deletions.Deletions.state` of the dataset when the index
            was last compared with it.
        dataset_purged: `Dataset.purged` of the dataset at that time.
        dataset: absolute path of the dataset at that time; "" in indexes of the first release.
        calibration: the index's FPIR by similarity; None: it has not been calibrated.
        metric: always `inner_product`.
        format_version: version of the format of the index's files.
        created: time of publication in UTC, ISO 8601.
    """

    version: int
    contract: ModelContract
    wanted: IndexOptions
    segments: tuple[SegmentEntry, ...]
    deletions: DeletionsEntry | None = None
    dataset_deletions: str = NEVER_COMPARED
    dataset_purged: str = ""
    dataset: str = ""
    calibration: Calibration | None = None
    metric: str = METRIC
    format_version: int = FORMAT_VERSION
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def num_faces(self) -> int:
        """The number of faces in all segments, deleted ones excluded."""
        deleted = 0 if self.deletions is None else self.deletions.num_faces
        return sum(segment.num_faces for segment in self.segments) - deleted

    def files(self) -> Iterator[Path]:
        """Iterate over the paths of this version's files, relative to the index's folder."""
        here = Path()
        yield current_path(here)
        yield here / manifest_name(self.version)
        for entry in self.segments:
            yield from (segment_dir(here, entry.segment_id) / name for name in entry.files)
        if self.deletions is not None:
            yield deletions_dir(here) / self.deletions.name


def publish(index_dir: Path, manifest: Manifest) -> None:
    """Write a version's manifest and make it the current one; its other files must exist."""
    path = index_dir / manifest_name(manifest.version)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    with atomic_write(current_path(index_dir)) as temporary:
        temporary.write_text(f"{path.name} {sha256_of(path)}\n")


def read_current(index: str | Path) -> Manifest:
    """Read the current manifest, and check it against the sha256 in CURRENT.

    Args:
        index: path of the index's folder.

    Raises:
        WrongUsageError: there is no index at that path, or a newer facetrove wrote it.
        CorruptFileError: CURRENT or the manifest is not what was written.
    """
    require_no_address(index)
    index_dir = Path(index)
    if not is_index(index_dir):
        if is_dataset(index_dir):
            raise WrongUsageError(
                f"{index_dir} is a dataset; build its index with "
                f"`facetrove index {index_dir} INDEX`"
            )
        if index_dir.is_file():
            raise WrongUsageError(f"{index_dir} is a file, not an index; name the index first")
        problem = "is not a facetrove index" if index_dir.exists() else "does not exist"
        raise WrongUsageError(
            f"{index_dir} {problem}; make one with `facetrove index DATASET INDEX`"
        )
    named = manifest_named_by(current_line(index_dir))
    if named is None:
        raise CorruptFileError(f"{current_path(index_dir)} is corrupt; {REBUILD}")
    name, sha256 = named
    return read_manifest(index_dir / name, sha256=sha256)


def read_manifest(path: Path, *, sha256: str | None = None) -> Manifest:
    """Read a version's manifest.

    Args:
        path: path of the manifest.
        sha256: sha256 that the manifest must have; None: it is not checked.

    Raises:
        WrongUsageError: a newer facetrove wrote the manifest.
        CorruptFileError: the manifest is not what was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError(
            f"{path} differs from what was written (its sha256 has changed); {REBUILD}"
        )
    return _parse(content, path)


_CURRENT_LINE = re.compile(rf"({MANIFEST_NAME.pattern}) (?P<sha256>[0-9a-f]{{64}})\n".encode())


def manifest_named_by(line: bytes) -> tuple[str, str] | None:
    """Return the name and sha256 of the manifest that a line of CURRENT names, or None."""
    match = _CURRENT_LINE.fullmatch(line)
    return None if match is None else (match[1].decode(), match["sha256"].decode())


def current_line(index_dir: Path) -> bytes:
    """Return the content of CURRENT, at most 200 bytes of it; empty if the file is missing."""
    try:
        return current_path(index_dir).read_bytes()[:200]
    except (FileNotFoundError, NotADirectoryError):
        return b""


def write_deletions(
    index_dir: Path, rows: Mapping[str, NDArray[np.int64]]
) -> DeletionsEntry | None:
    """Write deleted rows, given by segment id, to a new file; return None if there are none."""
    tables = [
        pa.table({"segment": pa.repeat(name, len(numbers)), "row": np.sort(numbers)})
        for name, numbers in rows.items()
        if len(numbers)
    ]
    if not tables:
        return None
    table = pa.concat_tables(tables).combine_chunks()
    folder = deletions_dir(index_dir)
    folder.mkdir(exist_ok=True, mode=PRIVATE_DIR_MODE)
    name = new_deletions_name()
    write_arrow(folder / name, table)
    return DeletionsEntry(name, len(table), FileDigest.of(folder / name))


def read_deletions(index_dir: Path, entry: DeletionsEntry | None) -> dict[str, NDArray[np.int64]]:
    """Read the deleted rows of a version.

    Returns:
        (n,) int64 row numbers by segment id.

    Raises:
        CorruptFileError: the file is missing or is not what was written.
    """
    if entry is None:
        return {}
    path = deletions_dir(index_dir) / entry.name
    entry.file.require(path)
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    except OSError as error:  # a writer may have removed an old version's file
        raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
    segments = table["segment"].to_numpy()
    rows = table["row"].to_numpy()
    return {name: rows[segments == name] for name in np.unique(segments).tolist()}


def _parse_segment(entry: Any) -> SegmentEntry:
    segment_id, measured = entry.pop("segment_id"), entry.pop("measured")
    if not isinstance(segment_id, str) or not is_id(segment_id):
        raise ValueError(f"segment_id is {segment_id!r} instead of 12 hexadecimal digits")
    if type(entry["num_faces"]) is not int or entry["num_faces"] < 0:
        raise ValueError(f"num_faces of segment {segment_id} is {entry['num_faces']!r}")
    return SegmentEntry(
        segment_id=segment_id,
        recipe=Recipe(**entry.pop("recipe")),
        measured=None if measured is None else Measured(**measured),
        files={name: FileDigest(**digest) for name, digest in entry.pop("files").items()},
        **entry,
    )


def _parse_deletions(entry: Any) -> DeletionsEntry | None:
    if entry is None:
        return None
    if not is_deletions_name(entry["name"]):
        raise ValueError(f"the file of deleted rows is named {entry['name']!r}")
    return DeletionsEntry(entry["name"], int(entry["num_faces"]), FileDigest(**entry["file"]))


def _parse_calibration(entry: Any) -> Calibration | None:
    if entry is None:
        return None
    similarities, rates = (tuple(map(float, entry.pop(n))) for n in ("similarities", "rates"))
    return Calibration(similarities=similarities, rates=rates, **entry)


def _parse(content: bytes, path: Path) -> Manifest:
    try:
        document: dict[str, Any] = json.loads(content)
        version = document["format_version"]
        if type(version) is int and version > FORMAT_VERSION:
            raise WrongUsageError(
                f"{path} was written by a newer facetrove (format {version}, this one reads "
                f"{FORMAT_VERSION}); update facetrove"
            )
        if version != FORMAT_VERSION or document["metric"] != METRIC:
            raise ValueError(f"format version {version!r} instead of {FORMAT_VERSION}")
        return Manifest(
            contract=ModelContract.from_json(document.pop("contract"), source=str(path)),
            wanted=IndexOptions(**document.pop("wanted")),
            segments=tuple(map(_parse_segment, document.pop("segments"))),
            deletions=_parse_deletions(document.pop("deletions")),
            calibration=_parse_calibration(document.pop("calibration", None)),
            **document,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} cannot be read by this version of facetrove ({error}); {REBUILD}"
        ) from error
