"""The progress of a running embed job, as the dataset shows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from faces.core.progress import OnProgress, Progress
from faces.dataset.schema import PartReport
from faces.dataset.writing import DatasetWriter

PROGRESS_INTERVAL_SECONDS = 0.5


@contextmanager
def progress_reports(writer: DatasetWriter, to_do: int, on_progress: OnProgress) -> Iterator[None]:
    """Call back from a thread of its own with what the dataset shows to be committed.

    Looking at files instead of listening to workers works on every runner.
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
