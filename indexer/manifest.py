"""The index folder's manifests and CURRENT. The one place that knows their format.

    INDEX/CURRENT                   one line: name and sha256 of the manifest in force
    INDEX/manifest-<version>.json   what the index is, with the digest of every file

A version is published by writing its files, then its manifest, then CURRENT, each whole or
not at all: whatever interrupts that, CURRENT names a complete version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faces.contract import ModelContract
from faces.errors import DamagedFileError, WrongUsageError
from faces.fetch import sha256_of
from faces.files import atomic_write
from indexer.recipes import MeasuredRecall, Recipe

FORMAT_VERSION = 1
METRIC = "inner_product"


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
        """Raise DamagedFileError, naming the file, unless it is the one described."""
        try:
            found = FileDigest.of(path)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{path} is missing; build the index again") from error
        if found.num_bytes != self.num_bytes:
            raise DamagedFileError(
                f"{path} has {found.num_bytes} bytes instead of {self.num_bytes}: it is truncated "
                "or altered; build the index again"
            )
        if found.sha256 != self.sha256:
            raise DamagedFileError(
                f"{path} differs from what was written (its sha256 is another); build the index "
                "again"
            )


@dataclass(frozen=True)
class SegmentEntry:
    """A segment in a manifest: its folder's name, its rows and its files by name."""

    segment_id: str
    num_faces: int
    files: Mapping[str, FileDigest]


@dataclass(frozen=True)
class Manifest:
    """One version of an index.

    Attributes:
        version: from 1, one more with every publication.
        contract: of the embeddings.
        recipe: how the segments were built.
        recall: measured against exact search.
        segments: oldest first.
        deletions: files that list deleted faces; none can be made yet.
        dataset_state: see `faces.dataset.faces_state`, of the dataset when it was indexed.
    """

    version: int
    contract: ModelContract
    recipe: Recipe
    recall: MeasuredRecall
    segments: tuple[SegmentEntry, ...]
    dataset_state: str
    deletions: tuple[str, ...] = ()
    metric: str = METRIC
    format_version: int = FORMAT_VERSION
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def num_faces(self) -> int:
        """Faces in all segments."""
        return sum(segment.num_faces for segment in self.segments)


def manifest_name(version: int) -> str:
    """File name of a version's manifest."""
    return f"manifest-{version:06d}.json"


def publish(index_dir: Path, manifest: Manifest) -> None:
    """Make a version the one in force. Its segments must be there already."""
    path = index_dir / manifest_name(manifest.version)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    with atomic_write(index_dir / "CURRENT") as temporary:
        temporary.write_text(f"{path.name} {sha256_of(path)}\n")


def read_current(index_dir: Path) -> Manifest:
    """The manifest in force, checked against the digest in CURRENT.

    Raises:
        WrongUsageError: there is no index in the folder.
        DamagedFileError: CURRENT or the manifest is not what was written.
    """
    current_path = index_dir / "CURRENT"
    if not current_path.is_file():
        if (index_dir / "dataset.json").is_file():
            raise WrongUsageError(
                f"{index_dir} is a dataset; build its index with "
                f"`facetrove index {index_dir} INDEX`"
            )
        problem = "is not a facetrove index" if index_dir.exists() else "does not exist"
        raise WrongUsageError(
            f"{index_dir} {problem}; make one with `facetrove index DATASET INDEX`"
        )
    match = re.fullmatch(rb"(manifest-\d{6,}\.json) ([0-9a-f]{64})\n", current_line(index_dir))
    if match is None:
        raise DamagedFileError(f"{current_path} is damaged; build the index again")
    path, digest = index_dir / match[1].decode(), match[2].decode()
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing; build the index again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedFileError(
            f"{path} differs from what was written (its sha256 is another); build the index again"
        )
    return _parse(content, path)


def current_line(index_dir: Path) -> bytes:
    """What CURRENT says now; nothing where it is missing."""
    try:
        return (index_dir / "CURRENT").read_bytes()[:200]
    except FileNotFoundError:
        return b""


def _parse_segment(entry: Any) -> SegmentEntry:
    if not isinstance(entry["segment_id"], str) or type(entry["num_faces"]) is not int:
        raise ValueError("a segment has fields of another type")
    if not re.fullmatch(r"[0-9a-f]{12}", entry["segment_id"]):
        raise ValueError(f"a segment is called {entry['segment_id']!r}")
    files = {name: FileDigest(**digest) for name, digest in entry["files"].items()}
    return SegmentEntry(entry["segment_id"], entry["num_faces"], files)


def _parse(content: bytes, path: Path) -> Manifest:
    try:
        document: dict[str, Any] = json.loads(content)
        if document["format_version"] != FORMAT_VERSION or document["metric"] != METRIC:
            raise ValueError(f"format version {document['format_version']!r}")
        segments = tuple(map(_parse_segment, document.pop("segments")))
        if not segments:
            raise ValueError("it names no segment")
        return Manifest(
            contract=ModelContract.from_json(document.pop("contract"), source=str(path)),
            recipe=Recipe(**document.pop("recipe")),
            recall=MeasuredRecall(**document.pop("recall")),
            segments=segments,
            dataset_state=str(document.pop("dataset_state")),
            deletions=tuple(document.pop("deletions")),
            **document,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(
            f"{path} cannot be read by this version of facetrove ({error}); build the index again"
        ) from error
