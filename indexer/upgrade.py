"""Carrying an index of an older format over to the format that is written now.

    format 1    had one FAISS index and no embeddings beside it: it is built again, and loses
                nothing, as it held no options or calibration
    format 2    had no embedding norm of faces, which is NaN now

The embeddings stay the same, and so do options, measured recall, deleted rows and calibration. New
segments get copies of the old ones' files; the manifest is written after them, and CURRENT
last. A call that is stopped leaves the old version in force, and the next one begins again.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from faces.core.arrow_files import open_arrow
from faces.core.contract import PREPROCESSING_VERSION
from faces.core.errors import CorruptFileError, OlderFormatError, first_line
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.storage import FileDigest, Folder
from indexer.faces_file import FACES_SCHEMA
from indexer.folder import IndexWriter
from indexer.layout import LOCK, REBUILD, index_folder, segment_folder
from indexer.manifest import (
    FORMAT_VERSION,
    Manifest,
    SegmentEntry,
    current_content,
    parse_manifest,
    read_current,
    read_deletions,
    write_deletions,
)
from indexer.segment_files import FACES_FILE, new_segment


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
    with index_folder(path).lease(what=f"index {path}", name=LOCK):
        found, manifest = _read_older(path)
        segments = {}
        for number, entry in enumerate(manifest.segments):
            on_progress(Progress("upgrading the index", number, len(manifest.segments)))
            segments[entry.segment_id] = _upgraded(path, entry)
        rows = read_deletions(path, manifest.deletions)
        if not rows.keys() <= segments.keys():
            raise CorruptFileError(f"index {path} deletes rows of other segments; {REBUILD}")
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
    name, content = current_content(index_dir)
    document = msgspec.json.decode(content)
    found = document["format_version"]
    document["format_version"] = FORMAT_VERSION
    return found, parse_manifest(msgspec.json.encode(document), index_dir, name)


def _upgraded(index_dir: Path, entry: SegmentEntry) -> SegmentEntry:
    """Write a segment with the columns that a segment of the older format lacks."""
    old = segment_folder(index_dir, entry.segment_id)
    with new_segment(index_dir) as new:
        files: dict[str, FileDigest] = {}
        for name, digest in entry.files.items():
            if name == FACES_FILE:
                _write_faces(old, new, digest)
                files[name] = new.digest(name)
            else:
                with old.open(name, digest) as file, new.put(name) as copy:
                    shutil.copyfileobj(file, copy)
                files[name] = digest
        return replace(entry, segment_id=new.at().name, files=files)


def _write_faces(old: Folder, new: Folder, digest: FileDigest) -> None:
    """Write faces.arrow anew, batch by batch, with NaN in the columns that it lacks."""
    content = old.mapped(FACES_FILE, digest)
    try:
        reader = open_arrow(content)
        lacking = [field for field in FACES_SCHEMA if field.name not in reader.schema.names]
        if any(field.type != pa.float32() for field in lacking):
            raise pa.ArrowInvalid("a column is missing")
        metadata = [field for field in reader.schema if field.name not in FACES_SCHEMA.names]
        schema = pa.schema([*FACES_SCHEMA, *metadata])
        with new.put(FACES_FILE) as file, pa.ipc.new_file(file, schema) as writer:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                for field in lacking:
                    unknown = np.full(batch.num_rows, np.nan, np.float32)
                    batch = batch.append_column(field, pa.array(unknown))
                writer.write_batch(batch.select(schema.names).cast(schema))
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{old.at(FACES_FILE)} is corrupt ({first_line(error)}); {REBUILD}"
        ) from error
