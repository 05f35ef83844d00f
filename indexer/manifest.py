"""An index's manifests and CURRENT: the one module that reads and writes their formats.

    CURRENT                   one line: name and sha256 of the current manifest
    manifest-<version>.json   describes a version of the index, with the digest of every file
    deletions/<id>.arrow      the deleted rows of a version: columns segment, row

Publishing a version writes its files, then its manifest, then CURRENT, each of them whole or not at
all: wherever it is interrupted, CURRENT names a complete version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta
from numpy.typing import NDArray

from faces.core.arrow_files import read_arrow, write_arrow
from faces.core.contract import ModelContract
from faces.core.documents import Count, Duration, Share, json_text, parse
from faces.core.errors import (
    CorruptFileError,
    MissingFileError,
    OlderFormatError,
    WrongUsageError,
    first_line,
)
from faces.core.kinds import is_dataset, is_index
from faces.core.named import require_no_address
from faces.core.storage import FileDigest
from faces.core.words import counted
from indexer.layout import (
    CURRENT,
    DELETIONS,
    ID_PATTERN,
    MANIFEST_NAME,
    REBUILD,
    SEGMENTS,
    index_folder,
    manifest_name,
    new_deletions_name,
)
from indexer.options import IndexOptions, Recipe
from indexer.thresholds import Calibration

FORMAT_VERSION = 3
"""Version of the index format that this module writes and reads."""

OLDER_VERSIONS = (2,)
"""Versions that `indexer.upgrade` carries over."""

METRIC = "inner_product"
"""The only metric of an index; of unit vectors it is the cosine similarity."""

_DELETIONS_SCHEMA = pa.schema(
    [pa.field("segment", pa.string(), nullable=False), pa.field("row", pa.int64(), nullable=False)]
)
"""The columns of a file of deleted rows."""

NEVER_COMPARED = ""
"""`Manifest.dataset_deletions` of an index that its next update compares with the dataset."""


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

    recall_at_1: Share
    recall_at_10: Share
    recall_of_matches: Share | None
    threshold: float | None
    num_probes: Count
    num_matches: Count
    probes_per_second: Duration
    exact_probes_per_second: Duration
    latency_ms_p50: Duration
    latency_ms_p99: Duration
    num_threads: Count


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

    segment_id: Annotated[str, Meta(pattern=rf"\A{ID_PATTERN}\Z")]
    num_faces: Count
    num_photos: Count
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

    name: Annotated[str, Meta(pattern=rf"\A{ID_PATTERN}\.arrow\Z")]
    num_faces: Count
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
        dataset_relative: path of the dataset from the index's folder at that time; "" if unknown.
        dataset_id: `DatasetSettings.dataset_id` of the dataset; "" if it had none.
        calibration: the index's FPIR by similarity; None: it has not been calibrated.
        metric: always `inner_product`.
        format_version: version of the format of the index's files.
        created: time of publication in UTC, ISO 8601.
    """

    version: Annotated[int, Meta(ge=0, le=10**9)]
    contract: ModelContract
    wanted: IndexOptions
    segments: tuple[SegmentEntry, ...]
    deletions: DeletionsEntry | None = None
    dataset_deletions: str = NEVER_COMPARED
    dataset_purged: str = ""
    dataset: str = ""
    dataset_relative: str = ""
    dataset_id: str = ""
    calibration: Calibration | None = None
    metric: str = METRIC
    format_version: int = FORMAT_VERSION
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __repr__(self) -> str:
        faces, segments = counted(self.num_faces, "face"), counted(len(self.segments), "segment")
        return f"<manifest: version {self.version}, {faces} in {segments}>"

    @property
    def num_faces(self) -> int:
        """The number of faces in all segments, deleted ones excluded."""
        deleted = 0 if self.deletions is None else self.deletions.num_faces
        return sum(segment.num_faces for segment in self.segments) - deleted

    def files(self) -> Iterator[str]:
        """Iterate over the names of this version's files in the index's folder."""
        yield CURRENT
        yield manifest_name(self.version)
        for entry in self.segments:
            yield from (f"{SEGMENTS}/{entry.segment_id}/{name}" for name in entry.files)
        if self.deletions is not None:
            yield f"{DELETIONS}/{self.deletions.name}"


def publish(index_dir: Path, manifest: Manifest, *, previous: bytes | None = None) -> None:
    """Write a version's manifest and make it the current one; its other files must exist.

    Args:
        index_dir: path of the index's folder, whose lease the caller holds.
        manifest: the manifest.
        previous: the content of CURRENT when the caller read it; None: there was none.

    Raises:
        BusyError: another process has published a version since then.
    """
    folder, name = index_folder(index_dir), manifest_name(manifest.version)
    content = f"{json_text(asdict(manifest))}\n".encode()
    with folder.put(name) as file:
        file.write(content)
    line = f"{name} {hashlib.sha256(content).hexdigest()}\n".encode()
    folder.put_unchanged(CURRENT, line, previous=previous)


def read_current(index: str | Path) -> Manifest:
    """Read the current manifest, and check it against the sha256 in CURRENT.

    Args:
        index: path of the index's folder.

    Raises:
        WrongUsageError: there is no index at that path, or another version of facetrove wrote it.
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
    name, content = current_content(index_dir)
    return parse_manifest(content, index_dir, name)


def current_content(index_dir: Path) -> tuple[str, bytes]:
    """Return name and content of the manifest that CURRENT names, whatever its format.

    Raises:
        CorruptFileError: CURRENT or the manifest is not what was written.
    """
    named = manifest_named_by(current_line(index_dir))
    if named is None:
        raise CorruptFileError(f"{index_dir / CURRENT} is corrupt; {REBUILD}")
    name, sha256 = named
    content = index_folder(index_dir).read(name)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError(
            f"{index_dir / name} differs from what was written (its sha256 has changed); {REBUILD}"
        )
    return name, content


def read_manifest(index_dir: Path, name: str) -> Manifest:
    """Read a version's manifest, whether or not it is the current one.

    Args:
        index_dir: path of the index's folder.
        name: name of the manifest.

    Raises:
        WrongUsageError: another version of facetrove wrote the manifest.
        CorruptFileError: the manifest cannot be read.
    """
    return parse_manifest(index_folder(index_dir).read(name), index_dir, name)


_CURRENT_LINE = re.compile(rf"({MANIFEST_NAME.pattern}) (?P<sha256>[0-9a-f]{{64}})\n".encode())


def manifest_named_by(line: bytes | None) -> tuple[str, str] | None:
    """Return the name and sha256 of the manifest that a line of CURRENT names, or None."""
    match = _CURRENT_LINE.fullmatch(line or b"")
    return None if match is None else (match[1].decode(), match["sha256"].decode())


def current_line(index_dir: Path) -> bytes | None:
    """Return the content of CURRENT; None if there is no such file."""
    try:
        return index_folder(index_dir).read(CURRENT)
    except (MissingFileError, NotADirectoryError):
        return None


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
    folder, name = index_folder(index_dir), new_deletions_name()
    folder.make_folder(DELETIONS)
    write_arrow(folder, f"{DELETIONS}/{name}", table)
    return DeletionsEntry(name, len(table), folder.digest(f"{DELETIONS}/{name}"))


def read_deletions(index_dir: Path, entry: DeletionsEntry | None) -> dict[str, NDArray[np.int64]]:
    """Read the deleted rows of a version.

    Returns:
        (n,) int64 row numbers by segment id.

    Raises:
        CorruptFileError: the file is missing or is not what was written.
    """
    if entry is None:
        return {}
    folder, name = index_folder(index_dir), f"{DELETIONS}/{entry.name}"
    content = folder.mapped(name, entry.file)
    try:
        table = read_arrow(content).cast(_DELETIONS_SCHEMA)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(name)} is corrupt ({first_line(error)}); {REBUILD}"
        ) from error
    segments = table["segment"].to_numpy()
    rows = table["row"].to_numpy()
    return {name: rows[segments == name] for name in np.unique(segments).tolist()}


@dataclass(frozen=True)
class _Version:
    """The format of a manifest, whatever else is in it; the deletions must not be left out."""

    format_version: int
    metric: str
    deletions: Any


def parse_manifest(content: bytes, index_dir: Path, name: str) -> Manifest:
    """Parse a manifest by the name that it has in an index; it raises as `read_manifest` does."""
    path = index_dir / name
    try:
        found = msgspec.json.decode(content, type=_Version)
        if found.format_version > FORMAT_VERSION:
            raise WrongUsageError(
                f"{path} was written by a newer facetrove (format {found.format_version}, this "
                f"one reads {FORMAT_VERSION}); update facetrove"
            )
        if found.format_version in OLDER_VERSIONS:
            raise OlderFormatError.of(index_dir, found.format_version, FORMAT_VERSION)
        if found.format_version != FORMAT_VERSION or found.metric != METRIC:
            raise ValueError(f"format version {found.format_version} instead of {FORMAT_VERSION}")
        manifest = parse(content, Manifest)
        _require_sense(manifest, name)
    except ValueError as error:
        raise CorruptFileError(
            f"{path} cannot be read by this version of facetrove ({first_line(error)}); {REBUILD}"
        ) from error
    return manifest


def _require_sense(manifest: Manifest, name: str) -> None:
    """Raise ValueError where parts of a manifest contradict each other."""
    if manifest_name(manifest.version) != name:
        raise ValueError(f"it says that it is version {manifest.version}")
    ids = [entry.segment_id for entry in manifest.segments]
    if len(set(ids)) < len(ids):
        raise ValueError("it has a segment twice")
    if manifest.num_faces < 0:
        raise ValueError("it deletes more faces than there are")
