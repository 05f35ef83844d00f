"""The index folder's manifests and CURRENT. The one place that knows their format.

    CURRENT                   one line: name and sha256 of the manifest in force
    manifest-<version>.json   what the index is, with the digest of every file
    deletions/<id>.arrow      rows of segments that were deleted: segment, row

A version is published by writing its files, then its manifest, then CURRENT, each whole or
not at all: whatever interrupts that, CURRENT names a complete version.
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
from faces.core.files import PRIVATE, atomic_write
from faces.core.hashing import sha256_of
from faces.core.kinds import is_dataset, is_index
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
METRIC = "inner_product"

REBUILD = "build the index again with --rebuild"
"""What helps against every corruption."""


@dataclass(frozen=True)
class FileDigest:
    """Size and sha256 of a file, by which it is recognised as whole."""

    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileDigest:
        """Describe a file as it is now."""
        return cls(path.stat().st_size, sha256_of(path))

    def require(self, path: Path) -> None:
        """Raise CorruptFileError, naming the file, unless it is the one described."""
        self.require_size(path)
        try:
            sha256 = sha256_of(path)
        except FileNotFoundError as error:  # a writer removes what is out of force
            raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
        if sha256 != self.sha256:
            raise CorruptFileError(
                f"{path} differs from what was written (its sha256 is another); {REBUILD}"
            )

    def require_size(self, path: Path) -> None:
        """The same by the file's size alone, which is cheap."""
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
    """How a segment's recipe did on faces drawn from it, against exact search.

    A probe's own row is left out of both answers, or every recipe would look good. Settings were
    tuned on other probes than these.

    Attributes:
        recall_at_1, recall_at_10: share of the exact nearest 1 and 10 found, in [0, 1].
        recall_of_matches: share found of those of the ten nearest that are above `threshold`;
            None where no threshold is known, or nothing is above.
        threshold: the operating threshold, a similarity.
        num_probes: how many were drawn.
        num_matches: of all probes, what `recall_of_matches` is a share of.
        probes_per_second: in batches, on the machine that built it; likewise the others.
        exact_probes_per_second: by exact search.
        latency_ms_p50, latency_ms_p99: of one probe at a time.
        num_threads: that these were measured with.
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
    """A segment in a manifest.

    Attributes:
        segment_id: its folder's name.
        num_faces: its rows, deleted ones too.
        num_photos: rows of photos read for it.
        recipe: how it is searched.
        measured: how exact that is; None if exact.
        files: its files by name.
        built_on: `cpu` or `cuda`.
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
    """Rows that were deleted: the file that lists them, and how many."""

    name: str
    num_faces: int
    file: FileDigest


@dataclass(frozen=True)
class Manifest:
    """One version of an index.

    Attributes:
        version: from 1, one more with every publication.
        contract: of the embeddings.
        wanted: the options in force.
        segments: oldest first.
        deletions: rows of them that were deleted; None: none.
        dataset_deletions: `faces.dataset.deletions.Deletions.state` of the dataset, when it was
            compared.
        dataset_purged: `Dataset.purged` then.
        calibration: what similarities mean here, where that was measured.
        created: when, in UTC, ISO 8601.
    """

    version: int
    contract: ModelContract
    wanted: IndexOptions
    segments: tuple[SegmentEntry, ...]
    deletions: DeletionsEntry | None = None
    dataset_deletions: str = ""
    dataset_purged: str = ""
    calibration: Calibration | None = None
    metric: str = METRIC
    format_version: int = FORMAT_VERSION
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def num_faces(self) -> int:
        """Faces in all segments that were not deleted."""
        deleted = 0 if self.deletions is None else self.deletions.num_faces
        return sum(segment.num_faces for segment in self.segments) - deleted

    def files(self) -> Iterator[Path]:
        """The paths of all files of this version, relative to the index's folder."""
        here = Path()
        yield current_path(here)
        yield here / manifest_name(self.version)
        for entry in self.segments:
            yield from (segment_dir(here, entry.segment_id) / name for name in entry.files)
        if self.deletions is not None:
            yield deletions_dir(here) / self.deletions.name


def publish(index_dir: Path, manifest: Manifest) -> None:
    """Make a version the one in force. Its segments must be there already."""
    path = index_dir / manifest_name(manifest.version)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    with atomic_write(current_path(index_dir)) as temporary:
        temporary.write_text(f"{path.name} {sha256_of(path)}\n")


def read_current(index: str | Path) -> Manifest:
    """The manifest in force, checked against the digest in CURRENT.

    Raises:
        WrongUsageError: there is no index in the folder.
        CorruptFileError: CURRENT or the manifest is not what was written.
    """
    index_dir = Path(index)
    if not is_index(index_dir):
        if is_dataset(index_dir):
            raise WrongUsageError(
                f"{index_dir} is a dataset; build its index with "
                f"`facetrove index {index_dir} INDEX`"
            )
        if index_dir.is_file():
            raise WrongUsageError(f"{index_dir} is a file, and no index; the index is named first")
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
    """A version's manifest, checked against its digest if that is given.

    Raises:
        WrongUsageError: it is of a newer facetrove.
        CorruptFileError: it is not what was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError(
            f"{path} differs from what was written (its sha256 is another); {REBUILD}"
        )
    return _parse(content, path)


_CURRENT_LINE = re.compile(rf"({MANIFEST_NAME.pattern}) (?P<sha256>[0-9a-f]{{64}})\n".encode())


def manifest_named_by(line: bytes) -> tuple[str, str] | None:
    """The name and the sha256 of the manifest that a line of CURRENT names; None: of none."""
    match = _CURRENT_LINE.fullmatch(line)
    return None if match is None else (match[1].decode(), match["sha256"].decode())


def current_line(index_dir: Path) -> bytes:
    """What CURRENT says now; nothing where it is missing."""
    try:
        return current_path(index_dir).read_bytes()[:200]
    except (FileNotFoundError, NotADirectoryError):
        return b""


def write_deletions(
    index_dir: Path, rows: Mapping[str, NDArray[np.int64]]
) -> DeletionsEntry | None:
    """List deleted rows by segment in a new file; None where there are none."""
    tables = [
        pa.table({"segment": pa.repeat(name, len(numbers)), "row": np.sort(numbers)})
        for name, numbers in rows.items()
        if len(numbers)
    ]
    if not tables:
        return None
    table = pa.concat_tables(tables).combine_chunks()
    folder = deletions_dir(index_dir)
    folder.mkdir(exist_ok=True, mode=PRIVATE)
    name = new_deletions_name()
    write_arrow(folder / name, table)
    return DeletionsEntry(name, len(table), FileDigest.of(folder / name))


def read_deletions(index_dir: Path, entry: DeletionsEntry | None) -> dict[str, NDArray[np.int64]]:
    """Deleted rows by segment.

    Raises:
        CorruptFileError: the file is not what was written.
    """
    if entry is None:
        return {}
    path = deletions_dir(index_dir) / entry.name
    entry.file.require(path)
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    except OSError as error:  # a writer removes what is out of force
        raise CorruptFileError(f"{path} is missing; {REBUILD}") from error
    segments = table["segment"].to_numpy()
    rows = table["row"].to_numpy()
    return {name: rows[segments == name] for name in np.unique(segments).tolist()}


def _parse_segment(entry: Any) -> SegmentEntry:
    segment_id, measured = entry.pop("segment_id"), entry.pop("measured")
    if not isinstance(segment_id, str) or not is_id(segment_id):
        raise ValueError(f"a segment is called {segment_id!r}")
    if type(entry["num_faces"]) is not int or entry["num_faces"] < 0:
        raise ValueError("a segment has no number of faces")
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
        raise ValueError(f"a file of deletions is called {entry['name']!r}")
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
            raise ValueError(f"format version {version!r}")
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
