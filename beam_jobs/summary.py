"""What a run of the embed job found and did, counted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.plan import Plan
from faces.dataset.store import COUNTED_COLUMNS, DatasetCounts, count_photos
from faces.dataset.writing import DatasetWriter


@dataclass(frozen=True)
class PhotosFound:
    """The photos named, compared with the dataset.

    Attributes:
        num_photos: found.
        num_new, num_changed, num_retried: what a run has to do.
        num_unchanged: in the dataset already.
        num_out_of_reach: of these, photos that cannot be looked at now; what is known stays.
        num_vanished: in the dataset, and no longer where they were.
    """

    num_photos: int
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int
    num_out_of_reach: int
    num_vanished: int

    @classmethod
    def of(cls, plan: Plan) -> PhotosFound:
        """Count a plan."""
        parts = (plan.num_new, plan.num_changed, plan.num_retried, plan.num_unchanged)
        return cls(sum(parts), *parts, plan.num_out_of_reach, len(plan.vanished))


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did; kept in the dataset.

    Attributes:
        found: what there was to do.
        num_dropped: vanished photos whose faces were dropped.
        done: what this run added.
        total: what the dataset now holds.
        started: UTC, ISO 8601.
        seconds: from start to end, workers' start-up included.
        stage_seconds: read, decode, detect, align, embed: added over all workers.
        runs_on: by the names of the models, the engine and device that each runs on.
    """

    found: PhotosFound
    num_dropped: int
    done: DatasetCounts
    total: DatasetCounts
    started: str
    seconds: float
    stage_seconds: dict[str, float]
    runs_on: dict[str, str]


def count_run(writer: DatasetWriter) -> tuple[DatasetCounts, DatasetCounts, dict[str, float]]:
    """What a run has committed, what the dataset holds, and the seconds by stage."""
    parts = sorted(writer.committed_parts())
    photos = writer.dataset.photos(COUNTED_COLUMNS)
    ours = photos.filter(pc.is_in(photos["part"], value_set=pa.array(parts, pa.string())))
    reports = [writer.dataset.report(part) for part in parts]
    stages: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        for stage, seconds in report.seconds.items():
            stages[stage] += seconds
    done = replace(
        count_photos(ours),
        num_faces=sum(report.num_faces for report in reports),
        num_copies=pc.sum(ours["is_copy"]).as_py() or 0,
    )
    stage_seconds = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    return done, count_photos(photos), stage_seconds
