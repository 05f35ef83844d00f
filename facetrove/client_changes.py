"""What changes a service's dataset and index, each as a job, as its client asks for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from faces.core.errors import FaceTroveError
from facetrove.client_answers import ServiceJob, ask, files_of, idempotent, job_of

POLL_SECONDS = 0.2


class ChangingClient:
    """The part of `ServiceClient` that changes the dataset and the index.

    Args:
        http: the connections to the service.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def embed_photos(
        self,
        photos: str | Path | Sequence[str | Path | bytes],
        *,
        columns: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> ServiceJob:
        """Have photos added to the service's dataset and index.

        Args:
            photos: path of a folder on the server, or photos of this machine, which are sent.
            columns: columns that all photos that are sent get, such as {"person": "Ann"}.
            idempotency_key: a name for this request, with which it can be sent again; None: none.

        Returns:
            The job, which waits; see `wait`.

        Raises:
            FaceTroveError: see `search`.
        """
        if isinstance(photos, str | Path):
            return self._begin("/v1/enrol", {"folder": str(photos)}, idempotency_key)
        data = {} if columns is None else {"columns": json.dumps(dict(columns))}
        headers = idempotent(idempotency_key)
        files = files_of(photos)
        return job_of(
            ask(self._http, "POST", "/v1/enrol", files=files, data=data, headers=headers).json()
        )

    def plan_deletion(
        self,
        *,
        faces: Sequence[str] = (),
        photos: Sequence[str] = (),
        where: str | None = None,
    ) -> int:
        """Count the faces that `delete_faces` would delete.

        Args:
            faces: face ids.
            photos: uris or photo ids of photos whose faces are all selected.
            where: a condition on faces as in SQL's WHERE.

        Raises:
            FaceTroveError: see `search`.
        """
        body = {"faces": list(faces), "photos": list(photos), "where": where}
        return int(ask(self._http, "POST", "/v1/delete/plan", json=body).json()["num_faces"])

    def delete_faces(
        self,
        where: str | None = None,
        *,
        faces: Sequence[str] = (),
        photos: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> ServiceJob:
        """Have faces deleted, so that no search finds them any more; until a purge, undo helps.

        Args:
            where, faces, photos: as in `plan_deletion`.
            idempotency_key: as in `embed_photos`.

        Raises:
            FaceTroveError: see `search`.
        """
        body = {"faces": list(faces), "photos": list(photos), "where": where}
        return self._begin("/v1/delete", body, idempotency_key)

    def undo(self, deletion_id: str, *, idempotency_key: str | None = None) -> ServiceJob:
        """Have a deletion taken back.

        Args:
            deletion_id: id of the deletion, from the result of its job.
            idempotency_key: as in `embed_photos`.

        Raises:
            FaceTroveError: see `search`.
        """
        return self._begin("/v1/undo", {"deletion_id": deletion_id}, idempotency_key)

    def purge(
        self,
        *,
        deletions: Sequence[str] | None = None,
        names: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> ServiceJob:
        """Have deletions made final; the job's result is the report.

        Args:
            deletions: ids of the deletions; None: all.
            names: names of people to remove from the photos' columns.
            idempotency_key: as in `embed_photos`.

        Raises:
            FaceTroveError: see `search`.
        """
        body = {"deletions": None if deletions is None else list(deletions), "names": list(names)}
        return self._begin("/v1/purge", body, idempotency_key)

    def verify_index(self, *, idempotency_key: str | None = None) -> ServiceJob:
        """Have the index checked; the problems stand in the job's result.

        Args:
            idempotency_key: as in `embed_photos`.

        Raises:
            FaceTroveError: see `search`.
        """
        return self._begin("/v1/index/verify", None, idempotency_key)

    def compact_index(self, *, idempotency_key: str | None = None) -> ServiceJob:
        """Have the index rewritten as one segment.

        Args:
            idempotency_key: as in `embed_photos`.

        Raises:
            FaceTroveError: see `search`.
        """
        return self._begin("/v1/index/compact", None, idempotency_key)

    def job(self, job_id: str) -> ServiceJob:
        """Return how far a job is.

        Args:
            job_id: id of the job.

        Raises:
            FaceTroveError: see `search`; or there is no such job.
        """
        return job_of(ask(self._http, "GET", f"/v1/jobs/{job_id}").json())

    def wait(self, job: ServiceJob, *, timeout: float = 3600.0) -> ServiceJob:
        """Wait until a job has ended, and return it.

        Args:
            job: the job.
            timeout: seconds to wait.

        Raises:
            FaceTroveError: it failed or was cancelled, or has not ended in time.
        """
        deadline = time.monotonic() + timeout
        while not job.is_finished:
            if time.monotonic() > deadline:
                raise FaceTroveError(f"job {job.job_id} has not ended in {timeout:g} seconds")
            time.sleep(POLL_SECONDS)
            job = self.job(job.job_id)
        if job.state != "done":
            why = (job.error or {}).get("message", "it was cancelled")
            raise FaceTroveError(f"job {job.job_id} did not succeed: {why}")
        return job

    def _begin(self, path: str, body: Any, idempotency_key: str | None) -> ServiceJob:
        headers = idempotent(idempotency_key)
        return job_of(ask(self._http, "POST", path, json=body, headers=headers).json())
