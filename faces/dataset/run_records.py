"""The summaries of finished runs, runs/<run>.json: what each run did, for people."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from faces.core.documents import Count, Duration, json_text
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import Folder
from faces.dataset.layout import record_file, record_files


class PhotosDone(TypedDict, total=False):
    """Numbers of photos and faces; see `faces.dataset.counts.DatasetCounts`."""

    num_photos: Count
    num_faces: Count


class RunRecord(TypedDict, total=False):
    """What every version of facetrove says of a run, if it says it, beside other fields."""

    started: str
    seconds: Duration
    stage_seconds: dict[str, Duration]
    done: PhotosDone


def write_record(folder: Folder, run: str, record: dict[str, Any]) -> None:
    """Write the summary of a run, a JSON object."""
    with folder.put(record_file(run)) as file:
        file.write(f"{json_text(record)}\n".encode())


def read_records(folder: Folder) -> list[dict[str, Any]]:
    """Return the summaries of all finished runs, oldest first, each a JSON object.

    Raises:
        CorruptFileError: a summary cannot be read.
    """
    records = []
    for name in record_files(folder):
        content = folder.read(name)
        try:
            msgspec.json.decode(content, type=RunRecord)
            records.append(msgspec.json.decode(content, type=dict[str, Any]))
        except (ValueError, RecursionError) as error:
            raise CorruptFileError(
                f"{folder.at(name)} is corrupt ({first_line(error)}); delete it: it is a summary "
                "of a run, and nothing needs it"
            ) from error
    return records
