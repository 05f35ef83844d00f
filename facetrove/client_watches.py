"""The calls of a service's client that are about watches, and what these return."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import ArrayLike

from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.client_answers import ask, face_fields, files_of, idempotent
from search.listing import ListedFace


@dataclass(frozen=True)
class ServiceWatch:
    """A watch of a service: a saved probe with which new faces of its index are compared.

    Attributes:
        watch_id: id of the watch.
        created: time in UTC, ISO 8601.
        made_from: `photo`, `embeddings`, `face` or `person`.
        fpir: share of searches for people who are not enrolled that may return a match in the whole
            index, (0, 1).
        where: condition on the faces as in SQL's WHERE; None: all faces.
        face_id: id of the face that it was made from; None: as of `made_from`.
        person_id: number of the person whom it was made from; None: as of `made_from`.
        num_probe_faces: number of faces of the index that it was made from; None: its embedding is
            stored.
        num_matches: number of its matches that are kept.
        num_dropped: number of its oldest matches that were dropped.
        last_match_id: number of its newest match; 0: it has had none.
        problem: code and message of why new faces are not compared with it at present; None: they
            are.
    """

    watch_id: str
    created: str
    made_from: str
    fpir: float
    where: str | None
    face_id: str | None
    person_id: int | None
    num_probe_faces: int | None
    num_matches: int
    num_dropped: int
    last_match_id: int
    problem: Mapping[str, str] | None


@dataclass(frozen=True)
class WatchMatch:
    """A face that came into the index of a service after a watch was made, and is similar to it.

    Attributes:
        match_id: number of the match among those of the watch, from 1.
        found: time in UTC, ISO 8601.
        found_in: version of the index in which it was found.
        similarity: inner product of the two unit-length embeddings, [-1, 1]; higher is nearer.
        fpir: share of searches for people who are not enrolled that find a match as similar, (0,
            1]; None: none is known.
        fpir_basis: what `fpir` rests on, as in `Match`.
        strangers: `fpir` in words; None: none is known.
        face: the face.
    """

    match_id: int
    found: str
    found_in: int
    similarity: float
    fpir: float | None
    fpir_basis: str | None
    strangers: str | None
    face: ListedFace


class WatchCalls:
    """The calls of a client that are about watches."""

    _http: httpx.Client

    def add_watch(
        self,
        photo: str | Path | bytes | None = None,
        *,
        fpir: float,
        face: int | None = None,
        embeddings: ArrayLike | None = None,
        face_id: str | None = None,
        person_id: int | None = None,
        where: str | None = None,
        idempotency_key: str | None = None,
    ) -> ServiceWatch:
        """Have the faces that come into the service's index from now on compared with a probe.

        Args:
            photo: path of a photo of this machine, or the content of a photo file; the service
                keeps the embedding alone. One of `photo`, `embeddings`, `face_id` and `person_id`
                is given.
            fpir: share of searches for people who are not enrolled that may return a match in the
                whole index, (0, 1).
            face: rank by size of the face of the photo, where 1 is the largest; None: the photo
                shows one face.
            embeddings: (n, d) float32 of unit length, of one person, made by the index's models.
            face_id: id of a face of the index.
            person_id: number of a person of the people book.
            where: a condition on faces as in SQL's WHERE; None: all faces.
            idempotency_key: a name for this request, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: a value cannot be used, or the index has no threshold at this rate.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        query = {"fpir": fpir} | ({} if face is None else {"face": face})
        options: dict[str, Any] = {"params": query, "headers": idempotent(idempotency_key)}
        given = {"face_id": face_id, "person_id": person_id, "where": where}
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if embeddings is not None:
            body["embeddings"] = np.asarray(embeddings, np.float32).tolist()
        if photo is None:
            options["json"] = body
        elif body.keys() - {"where"}:
            raise WrongUsageError("give one of photo, embeddings, face_id and person_id")
        else:
            options |= {"files": files_of([photo]), "data": body}
        return ServiceWatch(**ask(self._http, "POST", "/v1/watches", **options).json())

    def watches(self, *, limit: int = 1_000) -> list[ServiceWatch]:
        """Return the newest watches of the key, newest first; with the scope admin, of all keys.

        Args:
            limit: maximum number of watches.

        Raises:
            FaceTroveError: see `add_watch`.
        """
        found = ask(self._http, "GET", "/v1/watches", params={"limit": limit}).json()
        return [ServiceWatch(**fields) for fields in found["watches"]]

    def watch(self, watch_id: str) -> ServiceWatch:
        """Return a watch as it is now.

        Args:
            watch_id: id of the watch.

        Raises:
            FaceTroveError: see `add_watch`; or there is no such watch.
        """
        return ServiceWatch(**ask(self._http, "GET", f"/v1/watches/{watch_id}").json())

    def delete_watch(self, watch_id: str) -> None:
        """Remove a watch: every byte of its probe, and its matches.

        Args:
            watch_id: id of the watch.

        Raises:
            FaceTroveError: see `watch`.
        """
        ask(self._http, "DELETE", f"/v1/watches/{watch_id}")

    def watch_matches(self, watch_id: str, *, after: int = 0) -> list[WatchMatch]:
        """Return the matches of a watch, oldest first, without those of faces that are deleted.

        Args:
            watch_id: id of the watch.
            after: number of the match after which they begin; 0: from the first that is kept.

        Raises:
            FaceTroveError: see `watch`.
        """
        found: list[WatchMatch] = []
        while True:
            query = {"after": after, "limit": 1_000}
            page = ask(self._http, "GET", f"/v1/watches/{watch_id}/matches", params=query).json()
            found += map(_match_of, page["matches"])
            if page["next"] == after:
                return found
            after = page["next"]

    def follow_watch(self, watch_id: str, *, after: int = 0) -> Iterator[WatchMatch]:
        """Yield the matches of a watch, and further ones as they come, until it is deleted.

        Args:
            watch_id: id of the watch.
            after: number of the match after which they begin; 0: from the first that is kept.

        Raises:
            FaceTroveError: see `watch`; or the connection ends.
        """
        self.watch(watch_id)  # tells what is wrong, if anything
        path = f"/v1/watches/{watch_id}/events"
        try:
            with self._http.stream("GET", path, params={"after": after}) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if line == "event: end":
                        return
                    if line.startswith("data: "):
                        yield _match_of(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError as error:
            raise FaceTroveError(
                f"the service ended the stream of events ({type(error).__name__}); follow the "
                "watch again, after the last match that came"
            ) from error


def _match_of(fields: Mapping[str, Any]) -> WatchMatch:
    own = {name: fields[name] for name in WatchMatch.__dataclass_fields__ if name != "face"}
    face = {name: value for name, value in fields.items() if name not in own}
    return WatchMatch(**own, face=ListedFace(**face_fields(face)))
