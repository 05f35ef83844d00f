"""The summary of a run of an embed job: what it found and what it did."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.plan import Plan
from faces.dataset.counts import COUNTED_COLUMNS, DatasetCounts, count_photos
from faces.dataset.writing import DatasetWriter


@dataclass(frozen=True)
class PhotosFound:
    """Numbers of listed photos, compared with the dataset.

    Attributes:
        num_photos: number of listed photos.
        num_new: number of photos that the dataset does not have.
        num_changed: number of photos whose file or metadata changed, or whose faces file was lost.
        num_retried: number of rejected photos that are tried again.
        num_unchanged: number of photos that the dataset has as they are.
        num_out_of_reach: number of unchanged photos whose files cannot be read now; their rows in
            the dataset stay.
        num_vanished: number of photos in the dataset that no longer exist at their uri.
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
        """Count the photos of a plan.

        Args:
            plan: the plan of an embed job.
        """
        parts = (plan.num_new, plan.num_changed, plan.num_retried, plan.num_unchanged)
        return cls(sum(parts), *parts, plan.num_out_of_reach, len(plan.vanished))


@dataclass(frozen=True)
class EmbedSummary:
    """The summary of a run, which is stored in the dataset.

    Attributes:
        found: numbers of listed photos, compared with the dataset as it was before.
        num_dropped: number of vanished photos whose faces were dropped.
        done: numbers of photos and faces that this run committed.
        total: numbers of photos and faces in the dataset after the run.
        started: time of the start in UTC, ISO 8601.
        seconds: wall-clock seconds from start to end, workers' start-up included.
        stage_seconds: seconds summed over all workers, by stage: read, decode, detect, align,
            embed.
        runs_on: engine and device that each model runs on, by the model's name.
        detected: whether faces were detected; False: they were given by another dataset or file,
            and only detected in photos that changed since.
    """

    found: PhotosFound
    num_dropped: int
    done: DatasetCounts
    total: DatasetCounts
    started: str
    seconds: float
    stage_seconds: dict[str, float]
    runs_on: dict[str, str]
    detected: bool = True


def count_run(writer: DatasetWriter) -> tuple[DatasetCounts, DatasetCounts, dict[str, float]]:
    """Count what a run has committed.

    Returns:
        Numbers of photos and faces of the run, numbers of those in the dataset, and seconds summed
        over all workers, by stage.
    """
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
        num_faces=pc.sum(ours["num_faces"].filter(pc.invert(ours["is_copy"]))).as_py() or 0,
        num_copies=pc.sum(ours["is_copy"]).as_py() or 0,
    )
    stage_seconds = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    return done, count_photos(photos), stage_seconds
