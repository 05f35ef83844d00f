"""A client of the HTTP service, with the names that the same things have in Python."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from faces.core.errors import WrongUsageError
from faces.models.face import Box, Face
from facetrove.client_answers import (
    FoundProbe,
    ask,
    face_fields,
    face_of,
    files_of,
    probe_of,
    query_of,
)
from facetrove.client_changes import ChangingClient
from facetrove.client_people import ServicePeople
from facetrove.client_watches import WatchCalls
from facetrove.comparison import FAR, ComparedFace, Comparison
from search.listing import ListedFace
from search.one_per import OnePer
from search.results import Match

ARROW = "application/vnd.apache.arrow.stream"

TIMEOUT_SECONDS = 60.0
"""Seconds that a request may take by default."""


class ServiceClient(ChangingClient, WatchCalls):
    """A client of a service that `facetrove serve` runs.

    A client can be shared between threads. It is closed by `close`, or as a context.

    Args:
        address: address of the service, such as `http://127.0.0.1:8000`.
        key: the key of the service; None: none is needed.
        timeout: seconds that a request may take.
    """

    def __init__(
        self, address: str, *, key: str | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        super().__init__(httpx.Client(base_url=address, headers=headers, timeout=timeout))

    @property
    def people(self) -> ServicePeople:
        """Who is who, with the verbs of `facetrove.open_people`."""
        return ServicePeople(self._http)

    def close(self) -> None:
        """Close the connections to the service."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def info(self) -> dict[str, Any]:
        """Describe the index that the service searches: version, num_faces, models and rates."""
        found: dict[str, Any] = ask(self._http, "GET", "/v1/index").json()
        return found

    def search(
        self,
        photo: str | Path | bytes,
        k: int | None = None,
        *,
        face: int | None = None,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> list[FoundProbe]:
        """Find the faces most similar to each face of a photo.

        Args:
            photo: path of a photo of this machine, or the content of a photo file.
            k: number of matches per face; None: 10, or with `min_similarity` or `fpir` as many as
                the service allows.
            face: rank by size of the one face to search for, where 1 is the largest; None: every
                face of the photo.
            where: a condition on faces as in SQL's WHERE; None: all faces.
            min_similarity: smallest similarity of a match, [-1, 1].
            one_per: `photo` or `person`: only the best match from each.
            fpir: share of searches for people who are not enrolled that may return a match, (0, 1).

        Returns:
            A probe for each face of the photo, the largest first; empty if no face is found.

        Raises:
            WrongUsageError: the photo cannot be used, or a condition is not valid.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        query = query_of(k, min_similarity, one_per, fpir) | (
            {} if face is None else {"face": face}
        )
        return self._search_photos([photo], query, where)

    def search_together(
        self,
        photos: Sequence[str | Path | bytes],
        k: int | None = None,
        *,
        face: int = 1,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> FoundProbe:
        """Find the faces most similar to one person, who is shown by several photos.

        Args:
            photos: paths of photos of this machine, or contents of photo files.
            face: rank by size of the person's face in each photo, where 1 is the largest.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Raises:
            FaceTroveError: see `search`.
        """
        query = query_of(k, min_similarity, one_per, fpir) | {"together": "true", "face": face}
        (probe,) = self._search_photos(photos, query, where)
        return probe

    def search_embeddings(
        self,
        embeddings: ArrayLike,
        k: int | None = None,
        *,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> pa.Table:
        """Find the faces most similar to each of many embeddings.

        Args:
            embeddings: (n, d) float32 of unit length, made by the models of the index.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Returns:
            A table as of `CandidateLists.to_arrow`: column `probe`, the number of the embedding
            from 0, and the columns of its matches.

        Raises:
            FaceTroveError: see `search`.
        """
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        if vectors.ndim != len("nd"):
            raise WrongUsageError(f"embeddings have shape {vectors.shape}; give (n, d)")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        schema = pa.schema([("embedding", column.type)], metadata={"where": where} if where else {})
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(pa.table([column], schema=schema))
        answer = ask(
            self._http,
            "POST",
            "/v1/search",
            params=query_of(k, min_similarity, one_per, fpir),
            content=sink.getvalue(),
            headers={"Content-Type": ARROW},
        )
        return pa.ipc.open_stream(answer.content).read_all()

    def search_face(
        self,
        face_id: str,
        k: int | None = None,
        *,
        where: str | None = None,
        min_similarity: float | None = None,
        one_per: OnePer | None = None,
        fpir: float | None = None,
    ) -> tuple[Match, ...]:
        """Find the faces most similar to a face of the index, which itself is left out.

        Args:
            face_id: id of the face, as in `Match.face_id`.
            k, where, min_similarity, one_per, fpir: as in `search`.

        Raises:
            FaceTroveError: see `search`; or the index has no such face.
        """
        body = {"face_id": face_id} | ({} if where is None else {"where": where})
        query = query_of(k, min_similarity, one_per, fpir)
        answer = ask(self._http, "POST", "/v1/search", params=query, json=body).json()
        return probe_of(answer["probes"][0]).matches

    def list_faces(
        self, where: str, *, k: int | None = None, one_per: OnePer | None = None
    ) -> list[ListedFace]:
        """List the faces that match a filter, without a probe, sorted by the photos' uris.

        Args:
            where: a condition as in SQL's WHERE; see docs/search.md.
            k: maximum number of faces; None: as many as the service allows.
            one_per: `photo` or `person`: only the first face of each.

        Raises:
            FaceTroveError: see `search`.
        """
        body = {"where": where, "k": k, "one_per": one_per}
        faces = ask(self._http, "POST", "/v1/faces/list", json=body).json()["faces"]
        return [ListedFace(**face_fields(face)) for face in faces]

    def find_faces(self, photo: str | Path | bytes) -> list[Face]:
        """Find and embed every face of a photo by the models of the service's index.

        Args:
            photo: path of a photo of this machine, or the content of a photo file.

        Returns:
            The faces, the largest first.

        Raises:
            FaceTroveError: see `search`.
        """
        answer = ask(self._http, "POST", "/v1/embed", files=files_of([photo])).json()
        return [face_of(face) for face in answer["photos"][0]["faces"]]

    def compare(
        self, a: str | Path | bytes, b: str | Path | bytes, *, far: float = FAR, face: int = 1
    ) -> Comparison:
        """Say whether two photos show one person, by the models of the service's index.

        Args:
            a, b: paths of photos of this machine, or contents of photo files.
            far: false accept rate of the decision, (0, 1).
            face: rank by size of the face to compare in each photo, where 1 is the largest.

        Raises:
            FaceTroveError: see `search`.
        """
        query = {"far": far, "face": face}
        found = ask(self._http, "POST", "/v1/compare", params=query, files=files_of([a, b])).json()
        first, second = (
            ComparedFace(**{**one, "box": Box(**one["box"])}) for one in found["faces"]
        )
        fields = ("similarity", "decision", "threshold", "far", "reason")
        return Comparison(**{name: found[name] for name in fields}, faces=(first, second))

    def thumbnail(self, face_id: str, *, side: int = 160) -> bytes:
        """Return a picture of a face of the index, as the content of a JPEG file.

        Args:
            face_id: id of the face.
            side: width and height in pixels.

        Raises:
            FaceTroveError: see `search`; or the photo cannot be shown.
        """
        path = f"/v1/faces/{face_id}/thumbnail"
        return ask(self._http, "GET", path, params={"side": side}).content

    def _search_photos(
        self, photos: Sequence[str | Path | bytes], query: dict[str, Any], where: str | None
    ) -> list[FoundProbe]:
        data = {} if where is None else {"where": where}
        answer = ask(
            self._http, "POST", "/v1/search", params=query, files=files_of(photos), data=data
        )
        return [probe_of(probe) for probe in answer.json()["probes"]]
