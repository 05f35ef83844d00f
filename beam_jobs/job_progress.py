"""The progress of a running embed job, read from the dataset that it writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from faces.core.progress import OnProgress, Progress
from faces.dataset.schema import PartReport
from faces.dataset.writing import DatasetWriter

PROGRESS_INTERVAL_SECONDS = 0.5
"""Seconds between two reports of progress."""


@contextmanager
def progress_reports(writer: DatasetWriter, to_do: int, on_progress: OnProgress) -> Iterator[None]:
    """Report from another thread how many photos are committed, while the context is open.

    Progress is read from the dataset's files and not from workers, so that it works on every Beam
    runner.

    Args:
        writer: the run's right to add parts to the dataset.
        to_do: number of photos that the run embeds; 0: nothing is reported.
        on_progress: called at the start, every `PROGRESS_INTERVAL_SECONDS`, and at the end.
    """
    if not to_do:
        yield
        return
    reports: dict[str, PartReport] = {}
    stopped = threading.Event()

    def report() -> None:
        for part in writer.committed_parts() - reports.keys():
            reports[part] = writer.dataset.report(part)
        on_progress(
            Progress(
                "embedding",
                sum(report.num_photos for report in reports.values()),
                to_do,
                "photos",
                {
                    "faces": sum(report.num_faces for report in reports.values()),
                    "rejected": sum(report.num_rejected for report in reports.values()),
                },
            )
        )

    def watch() -> None:
        while not stopped.wait(PROGRESS_INTERVAL_SECONDS):
            report()

    report()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        report()
