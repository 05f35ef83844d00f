"""The options of the service: what it serves, to whom, and the limits on what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from faces.core.settings import Device, PhotoLimits

SERVICE_PHOTO_LIMITS = PhotoLimits(
    max_bytes=25_000_000, max_pixels=50_000_000, max_memory=400_000_000, photo_timeout=5.0
)
"""The limits on a photo that is sent in. They are tighter than those of the embed job: somebody
waits for the answer, and others wait behind. 50 million pixels are those of a good camera."""


@dataclass(frozen=True)
class ServiceLimits:
    """The limits on requests. A request beyond one is refused with an error that names it.

    Attributes:
        photo: limits on each photo that is sent in.
        max_request_bytes: maximum size of a request's body in bytes.
        max_buffered_bytes: maximum size in bytes of all bodies that are being received or worked
            on at a time.
        max_photos: maximum number of photos in a search, detection or embedding request.
        max_uploads: maximum number of photos in an enrol request.
        max_faces: maximum number of faces in a photo.
        max_k: maximum number of matches for each face, and of faces in a list.
        max_embeddings: maximum number of embeddings in a request.
        max_matches: maximum number of matches in one answer.
        max_rate: maximum number of requests per second of one key, or of one client address where
            no keys are needed; None: no limit.
        max_concurrent: maximum number of requests that are worked on at a time.
        max_connections: maximum number of open connections.
        max_jobs: maximum number of jobs that wait or run.
        max_streams: maximum number of open streams of events.
        request_timeout: seconds in which a request has to arrive.
        answer_timeout: seconds in which a client has to take a piece of an answer.
        max_stored_bytes: maximum size in bytes of all photos that are kept in the uploads folder.
        max_watches: maximum number of watches.
        max_watch_matches: number of matches of each watch that are kept; older ones are dropped.
    """

    photo: PhotoLimits = SERVICE_PHOTO_LIMITS
    max_request_bytes: int = 100_000_000
    max_buffered_bytes: int = 400_000_000
    max_photos: int = 16
    max_uploads: int = 1_000
    max_faces: int = 256
    max_k: int = 1_000
    max_embeddings: int = 20_000
    max_matches: int = 500_000
    max_rate: float | None = None
    max_concurrent: int = 64
    max_connections: int = 512
    max_jobs: int = 100
    max_streams: int = 32
    request_timeout: float = 30.0
    answer_timeout: float = 60.0
    max_stored_bytes: int = 50_000_000_000
    max_watches: int = 1_000
    max_watch_matches: int = 10_000


@dataclass(frozen=True)
class ServiceOptions:
    """What the service serves, and to whom.

    Attributes:
        index: path of the index.
        dataset: path of the dataset that the index was built from; None: the one that the index
            names.
        host: address to listen on.
        port: port to listen on; 0: any free one.
        keys: path of the file of keys; None: no keys are needed, which only a loopback address
            allows.
        allowed_hosts: further names by which clients may call the service, beside its address.
        folders: folders whose photos may be enrolled, with those in folders inside them.
        uploads: folder in which photos that are sent in to be enrolled are kept; None: none may be.
        state: folder of the jobs; None: beside the index, see `state_dir`.
        audit: file of the audit log; None: in the state's folder.
        read_only: answer searches alone: no jobs, no state, and the audit log only if it is named.
        device: device to search on.
        limits: limits on requests.
        refresh_seconds: seconds between two looks whether the index has a newer version.
        enrol_folders: those of `folders` that are enrolled at the start and regularly.
        enrol_every: seconds from one such round to the next.
        watch_hook: address that is told of new matches of watches; None: none is.
        watch_hook_secret: path of the file with the secret by which these requests are signed.
    """

    index: Path
    dataset: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    uploads: Path | None = None
    state: Path | None = None
    audit: Path | None = None
    read_only: bool = False
    device: Device = "auto"
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    refresh_seconds: float = 0.5
    enrol_folders: tuple[Path, ...] = ()
    enrol_every: float = 900.0
    watch_hook: str | None = None
    watch_hook_secret: Path | None = None

    @property
    def state_dir(self) -> Path:
        """The folder of the jobs and the audit log: beside the index unless it is named."""
        index = self.index.absolute()
        return self.state or index.with_name(f"{index.name}.service")

    @property
    def audit_path(self) -> Path | None:
        """The file of the audit log; None: there is none."""
        if self.audit is not None or self.read_only:
            return self.audit
        return self.state_dir / "audit.jsonl"
