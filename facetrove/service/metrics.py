"""The measures of the service for Prometheus: requests, latencies, queues, faces and jobs."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
"""Upper bounds in seconds of the histogram of latencies."""

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All measures of one service.

    Attributes:
        requests: number of answers, by operation and status.
        seconds: latencies in seconds, by operation.
        working: number of requests that are being worked on.
        queued: number of requests that wait, by queue.
        batch: sizes of batches, by queue.
        faces: number of faces in the index.
        version: version of the index.
        refreshes: number of versions of the index that were opened.
        jobs: number of jobs, by state.
        thumbnails: size in bytes of the thumbnails in memory.
        watches: number of watches.
        watch_matches: number of matches of watches that were found.
        hook_requests: number of requests to the watch hook, by outcome.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "facetrove_requests", "Answers.", ["operation", "status"], registry=registry
        )
        self.seconds = Histogram(
            "facetrove_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["operation"],
            buckets=LATENCIES,
            registry=registry,
        )
        self.working = Gauge(
            "facetrove_requests_working", "Requests that are being worked on.", registry=registry
        )
        self.queued = Gauge(
            "facetrove_queue_length", "Requests that wait.", ["queue"], registry=registry
        )
        self.batch = Histogram(
            "facetrove_batch_size",
            "Requests that were answered together.",
            ["queue"],
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self.faces = Gauge("facetrove_index_faces", "Faces in the index.", registry=registry)
        self.version = Gauge("facetrove_index_version", "Version of the index.", registry=registry)
        self.refreshes = Counter(
            "facetrove_index_refreshes", "Versions of the index opened.", registry=registry
        )
        self.jobs = Gauge("facetrove_jobs", "Jobs by state.", ["state"], registry=registry)
        self.thumbnails = Gauge(
            "facetrove_thumbnail_bytes", "Thumbnails in memory.", registry=registry
        )

        self.watches = Gauge("facetrove_watches", "Watches.", registry=registry)
        self.watch_matches = Counter(
            "facetrove_watch_matches", "Matches of watches that were found.", registry=registry
        )
        self.hook_requests = Counter(
            "facetrove_hook_requests",
            "Requests to the watch hook by outcome.",
            ["outcome"],
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all measures in Prometheus's text format."""
        return generate_latest(self._registry)
