"""The index folder's manifests and CURRENT. The one place that knows their format.

    INDEX/CURRENT                   one line: name and sha256 of the manifest in force
    INDEX/manifest-<version>.json   what the index is, with the digest of every file

A version is published by writing its files, then its manifest, then CURRENT, each whole or
not at all: whatever interrupts that, CURRENT names a complete version.
"""

from __future__ import annotations

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
        if not path.is_file():
            raise DamagedFileError(f"{path} is missing; build the index again")
        num_bytes = path.stat().st_size
        if num_bytes != self.num_bytes:
            raise DamagedFileError(
                f"{path} has {num_bytes} bytes instead of {self.num_bytes}: it is truncated or "
                "altered; build the index again"
            )
        if sha256_of(path) != self.sha256:
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
        dataset_parts: parts of the dataset that the index holds.
    """

    version: int
    contract: ModelContract
    recipe: Recipe
    recall: MeasuredRecall
    segments: tuple[SegmentEntry, ...]
    dataset_parts: tuple[str, ...]
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
    match = re.fullmatch(
        rb"(manifest-\d{6,}\.json) ([0-9a-f]{64})\n", current_path.read_bytes()[:200]
    )
    if match is None:
        raise DamagedFileError(f"{current_path} is damaged; build the index again")
    path, digest = index_dir / match[1].decode(), match[2].decode()
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; build the index again")
    if sha256_of(path) != digest:
        raise DamagedFileError(
            f"{path} differs from what was written (its sha256 is another); build the index again"
        )
    return _parse(path)


def _parse(path: Path) -> Manifest:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        if document["format_version"] != FORMAT_VERSION or document["metric"] != METRIC:
            raise ValueError(f"format version {document['format_version']!r}")
        segments = tuple(
            SegmentEntry(
                entry["segment_id"],
                entry["num_faces"],
                {name: FileDigest(**digest) for name, digest in entry["files"].items()},
            )
            for entry in document.pop("segments")
        )
        return Manifest(
            contract=ModelContract.from_json(document.pop("contract"), source=str(path)),
            recipe=Recipe(**document.pop("recipe")),
            recall=MeasuredRecall(**document.pop("recall")),
            segments=segments,
            dataset_parts=tuple(document.pop("dataset_parts")),
            deletions=tuple(document.pop("deletions")),
            **document,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"{path} cannot be read by this version of facetrove ({error}); build the index again"
        ) from error
