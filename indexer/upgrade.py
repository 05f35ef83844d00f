"""Carrying an index of an older format over to the format that is written now.

    format 1    had one FAISS index and no embeddings beside it: it is built again, and loses
                nothing, as it held no options or calibration
    format 2    had no embedding norm of faces, which is NaN now

The embeddings stay the same, and so do options, measured recall, deleted rows and calibration. New
segments get the unchanged files of the old ones; the manifest is written after them, and CURRENT
last. A call that is stopped leaves the old version in force, and the next one begins again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from faces.core.contract import PREPROCESSING_VERSION
from faces.core.errors import CorruptFileError, OlderFormatError, first_line
from faces.core.files import atomic_write, writer_lock
from faces.core.progress import OnProgress, Progress, ignore_progress
from indexer.faces_file import FACES_SCHEMA
from indexer.folder import IndexWriter
from indexer.layout import LOCK, segment_dir
from indexer.manifest import (
    FORMAT_VERSION,
    REBUILD,
    FileDigest,
    Manifest,
    SegmentEntry,
    current_line,
    manifest_named_by,
    parse_manifest,
    read_current,
    read_deletions,
    write_deletions,
)
from indexer.segment_files import (
    CODES_FILE,
    FACES_FILE,
    PHOTOS_FILE,
    VECTORS_FILE,
    new_segment_dir,
)

_SEGMENT_FILES = frozenset({VECTORS_FILE, FACES_FILE, PHOTOS_FILE, CODES_FILE})
"""Names of the files that a segment may have, in all formats that are carried over."""


@dataclass(frozen=True)
class IndexUpgrade:
    """The result of carrying an index over to the current format.

    Attributes:
        index: path of the index's folder.
        format_before: format version that it had.
        format_version: format version that it has now.
        version: number of the version of the index that is in force now.
        num_faces: number of faces in the index.
        has_calibration: whether it has a calibration. That of the old format is kept, since the
            embeddings are the same.
        preprocessing_version: version of the preprocessing that made the embeddings.
        is_current: whether these embeddings can be compared with embeddings made now. If not,
            embed the dataset into a new one, and build its index.
    """

    index: str
    format_before: int
    format_version: int
    version: int
    num_faces: int
    has_calibration: bool
    preprocessing_version: int
    is_current: bool

    @property
    def has_changed(self) -> bool:
        """Whether anything was to be done."""
        return self.format_before != self.format_version

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def upgrade_index(path: Path, *, on_progress: OnProgress = ignore_progress) -> IndexUpgrade:
    """Carry an index over to the current format, as its next version.

    Args:
        path: path of the index's folder.
        on_progress: called before each segment.

    Raises:
        WrongUsageError: a newer facetrove wrote the index.
        CorruptFileError: a file of the index is not what was written, or the index is of format 1.
        BusyError: another process is writing the index.
    """
    try:
        return _result(path, FORMAT_VERSION, read_current(path))
    except OlderFormatError:
        pass
    with writer_lock(path, what=f"index {path}", name=LOCK):
        found, manifest = _read_older(path)
        segments = {}
        for number, entry in enumerate(manifest.segments):
            on_progress(Progress("upgrading the index", number, len(manifest.segments)))
            segments[entry.segment_id] = _upgraded(path, entry)
        rows = read_deletions(path, manifest.deletions)
        renamed = {segments[segment_id].segment_id: rows[segment_id] for segment_id in rows}
        published = IndexWriter(path, None).publish(
            replace(
                manifest,
                segments=tuple(segments.values()),
                deletions=write_deletions(path, renamed),
            )
        )
    return _result(path, found, published)


def _result(path: Path, format_before: int, manifest: Manifest) -> IndexUpgrade:
    preprocessing = manifest.contract.preprocessing_version
    return IndexUpgrade(
        index=str(path),
        format_before=format_before,
        format_version=FORMAT_VERSION,
        version=manifest.version,
        num_faces=manifest.num_faces,
        has_calibration=manifest.calibration is not None,
        preprocessing_version=preprocessing,
        is_current=preprocessing == PREPROCESSING_VERSION,
    )


def _read_older(index_dir: Path) -> tuple[int, Manifest]:
    """Return the format version of the current manifest, and the manifest as of this version."""
    named = manifest_named_by(current_line(index_dir))
    if named is None:
        raise CorruptFileError(f"CURRENT of {index_dir} is corrupt; {REBUILD}")
    path = index_dir / named[0]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != named[1]:
        raise CorruptFileError(f"{path} differs from what was written; {REBUILD}")
    document = json.loads(content)
    found = document["format_version"]
    document["format_version"] = FORMAT_VERSION
    return found, parse_manifest(json.dumps(document).encode(), path)


def _upgraded(index_dir: Path, entry: SegmentEntry) -> SegmentEntry:
    """Write a segment with the columns that a segment of the older format lacks."""
    old = segment_dir(index_dir, entry.segment_id)
    for name, digest in entry.files.items():
        if name not in _SEGMENT_FILES:  # a path would lead out of the folder
            raise CorruptFileError(f"a manifest of {index_dir} names a file {name!r}; {REBUILD}")
        digest.require(old / name)
    with new_segment_dir(index_dir) as folder:
        files: dict[str, FileDigest] = {}
        for name, digest in entry.files.items():
            if name == FACES_FILE:
                _write_faces(old / name, folder / name)
                files[name] = FileDigest.of(folder / name)
            else:
                _link(old / name, folder / name)
                files[name] = digest
        return replace(entry, segment_id=folder.name, files=files)


def _link(old: Path, new: Path) -> None:
    """Give a file, which never changes, a second name, or copy it where that is not possible."""
    try:
        os.link(old, new)
    except OSError:
        with atomic_write(new) as temporary:
            shutil.copyfile(old, temporary)


def _write_faces(old: Path, new: Path) -> None:
    """Write faces.arrow anew, batch by batch, with NaN in the columns that it lacks."""
    try:
        with pa.memory_map(str(old)) as source, pa.ipc.open_file(source) as reader:
            lacking = [field for field in FACES_SCHEMA if field.name not in reader.schema.names]
            metadata = [field for field in reader.schema if field.name not in FACES_SCHEMA.names]
            schema = pa.schema([*FACES_SCHEMA, *metadata])
            with (
                atomic_write(new) as temporary,
                pa.OSFile(str(temporary), "wb") as file,
                pa.ipc.new_file(file, schema) as writer,
            ):
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    batch.validate(full=True)
                    for field in lacking:
                        unknown = np.full(batch.num_rows, np.nan, np.float32)
                        batch = batch.append_column(field, pa.array(unknown))
                    writer.write_batch(batch.select(schema.names).cast(schema))
    except pa.ArrowException as error:
        raise CorruptFileError(f"{old} is corrupt ({first_line(error)}); {REBUILD}") from error
