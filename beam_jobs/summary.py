"""The summary of a run of an embed job: what it found and what it did."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.plan import Plan
from faces.dataset.contradictions import contradictions_among, num_contradictory
from faces.dataset.counts import COUNTED_COLUMNS, DatasetCounts, count_photos
from faces.dataset.writing import DatasetWriter
from faces.photos.listed import PhotoListing
from faces.photos.passed_over import PassedOverCounts, counts_of


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
        num_excluded: number of photos in the dataset that are excluded now.
        num_below_gone: number of missing photos in the places of `EmbedOptions.drop_below`.
        num_kept: numbers of photos in the dataset about which nothing is known, because their
            folder has no photo now, as the mount point of a missing disk; by folder.
        passed_over: numbers of what was passed over in folders and archives, by kind and then by
            ending or pattern; see `faces.photos.passed_over.PassedOverCounts`.
        open_dates: columns of photo lists that stay text because no value says whether their dates
            begin with the day or the month, as `people.csv: Date`.
        num_gone: number of photos that lists name, that were dropped, and whose files are still
            gone; they are in none of the other numbers.
    """

    num_photos: int
    num_new: int
    num_changed: int
    num_retried: int
    num_unchanged: int
    num_out_of_reach: int
    num_vanished: int
    num_excluded: int = 0
    num_below_gone: int = 0
    num_kept: dict[str, int] = field(default_factory=dict)
    passed_over: PassedOverCounts = field(default_factory=dict)
    open_dates: tuple[str, ...] = ()
    num_gone: int = 0

    @classmethod
    def of(cls, plan: Plan, listing: PhotoListing) -> PhotosFound:
        """Count the photos of a plan.

        Args:
            plan: the plan of an embed job.
            listing: the listing that the plan was made for.
        """
        parts = (plan.num_new, plan.num_changed, plan.num_retried, plan.num_unchanged)
        return cls(
            sum(parts),
            *parts,
            plan.num_out_of_reach,
            num_vanished=len(plan.vanished),
            num_excluded=len(plan.excluded),
            num_below_gone=len(plan.below_gone),
            num_kept=plan.num_kept,
            passed_over=counts_of(listing.passed_over),
            open_dates=listing.open_dates,
            num_gone=plan.num_gone,
        )


@dataclass(frozen=True)
class EmbedSummary:
    """The summary of a run, which is stored in the dataset.

    Attributes:
        found: numbers of listed photos, compared with the dataset as it was before.
        num_dropped: number of photos whose faces were dropped: those that vanished or are excluded,
            and those of `EmbedOptions.drop_below`.
        done: numbers of photos and faces that this run committed.
        total: numbers of photos and faces in the dataset after the run.
        started: time of the start in UTC, ISO 8601.
        seconds: wall-clock seconds from start to end, workers' start-up included.
        stage_seconds: seconds summed over all workers, by stage: read, decode, detect, align,
            embed.
        runs_on: engine and device that each model runs on, by the model's name.
        detected: whether faces were detected; False: they were given by another dataset or file,
            and only detected in photos that changed since.
        contradictory: numbers of photos with faces that lie at several places for which photo lists
            say different things, by column.
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
    contradictory: dict[str, int] = field(default_factory=dict)


class RunCounts(NamedTuple):
    """The fields of `EmbedSummary` that are read off the dataset when a run ends."""

    done: DatasetCounts
    total: DatasetCounts
    stage_seconds: dict[str, float]
    contradictory: dict[str, int]


def count_run(writer: DatasetWriter) -> RunCounts:
    """Count what a run has committed, and what the dataset has now."""
    parts = sorted(writer.committed_parts())
    labels = writer.dataset.metadata.names
    photos = writer.dataset.photos([*COUNTED_COLUMNS, *labels])
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
    contradictory = num_contradictory(contradictions_among(photos, labels))
    return RunCounts(done, count_photos(photos), stage_seconds, contradictory)
