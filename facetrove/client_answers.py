"""What a service answers to its client, as the objects that the same calls in Python return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from faces.core.errors import BusyError, FaceTroveError, WrongUsageError
from faces.models.face import Box, Detection, Face, FaceQuality
from search.results import Match


@dataclass(frozen=True)
class ServiceDecision:
    """A decision about people that a service has made.

    Attributes:
        decision_id: id by which it is taken back.
        verb: what kind of decision it is, such as `merge`.
        author: who decided.
        time: when, in UTC, ISO 8601.
        people: whom it was about, as they are now: person_id, person, num_faces and so on. Of a
            split the second is the new person.
    """

    decision_id: str
    verb: str
    author: str
    time: str
    people: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class FoundProbe:
    """A face that a service searched for, and its matches.

    Attributes:
        matches: the matches, most similar first.
        photo: number of its photo in the request, from 1; None: no photo was sent.
        box: box of the face in pixels of the upright photo; None: as of `photo`, or several photos
            were searched together.
        score: the detector's confidence in the face, [0, 1]; None: as of `box`.
        number: rank of the face by its size among the photo's faces; None: as of `box`.
        num_faces: number of faces that were found in the photo; None: as of `box`.
    """

    matches: tuple[Match, ...]
    photo: int | None = None
    box: Box | None = None
    score: float | None = None
    number: int | None = None
    num_faces: int | None = None


@dataclass(frozen=True)
class ServiceJob:
    """A job of a service.

    Attributes:
        job_id: id of the job.
        kind: what it does: `enrol`, `delete`, `undo`, `purge`, `group`, `calibrate`, `verify` or
            `compact`.
        state: `queued`, `running`, `cancelling`, `done`, `failed` or `cancelled`.
        progress: how far it is: step, done, total, unit and counts; None: it does not run.
        result: what it did, by the names of the same function's result; None: it is not done.
        error: code and message of why it failed; None: it has not.
    """

    job_id: str
    kind: str
    state: str
    progress: Mapping[str, Any] | None
    result: Mapping[str, Any] | None
    error: Mapping[str, str] | None

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.state in ("done", "failed", "cancelled")


def ask(http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request, and return its answer.

    Args:
        http: the connections to the service.
        method: method of the request, such as `GET`.
        path: path of the operation.
        options: options of `httpx.Client.request`.

    Raises:
        WrongUsageError: a value cannot be used.
        BusyError: there is no room now.
        FaceTroveError: the service refuses for another reason, or cannot be reached.
    """
    try:
        answer = http.request(method, path, **options)
    except httpx.HTTPError as error:
        raise FaceTroveError(
            f"the service cannot be reached ({type(error).__name__}); check its address, and that "
            "`facetrove serve` runs"
        ) from error
    if answer.is_success:
        return answer
    try:
        told = answer.json()["error"]
        code, message = str(told["code"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "", f"the service answers with status {answer.status_code}"
    if answer.status_code in (413, 415, 422) or code == "no_such_person":
        raise WrongUsageError(message)
    raise BusyError(message) if code == "busy" else FaceTroveError(message)


def query_of(
    k: int | None, min_similarity: float | None, one_per: str | None, fpir: float | None
) -> dict[str, Any]:
    """Return the conditions of a search as the query of a request."""
    found = {"k": k, "min_similarity": min_similarity, "one_per": one_per, "fpir": fpir}
    return {name: value for name, value in found.items() if value is not None}


def files_of(photos: Sequence[str | Path | bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Return photos as the files of a form; their names stay here."""
    try:
        contents = [one if isinstance(one, bytes) else Path(one).read_bytes() for one in photos]
    except OSError as error:
        raise WrongUsageError(f"{error.filename} cannot be read ({error.strerror})") from error
    return [("photo", ("photo", content)) for content in contents]


def idempotent(key: str | None) -> dict[str, str]:
    """Return the header by which a request can be sent again."""
    return {} if key is None else {"Idempotency-Key": key}


def face_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a face, of an answer's document."""
    return {**fields, "box": Box(**fields["box"]), "also_at": tuple(fields["also_at"])}


def probe_of(fields: dict[str, Any]) -> FoundProbe:
    """Return the probe of an answer's document."""
    matches = tuple(Match(**face_fields(match)) for match in fields.pop("matches"))
    box = fields.pop("box", None)
    return FoundProbe(matches, box=None if box is None else Box(**box), **fields)


def face_of(fields: Mapping[str, Any]) -> Face:
    """Return the face of an answer's document."""
    box = np.array(list(fields["box"].values()), np.float32)
    landmarks = np.array(fields["landmarks"], np.float32)
    return Face(
        Detection(box, landmarks, fields["score"]),
        np.array(fields["embedding"], np.float32),
        fields["embedding_norm"],
        FaceQuality(**fields["quality"]),
    )


def job_of(fields: Mapping[str, Any]) -> ServiceJob:
    """Return the job of an answer's document."""
    return ServiceJob(**{name: fields[name] for name in ServiceJob.__dataclass_fields__})


PAGE = 500
"""How many rows are asked for at a time."""


def pages(
    http: httpx.Client, method: str, path: str, key: str, asked: Mapping[str, Any], k: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an operation that answers page by page.

    Args:
        http: the connections to the service.
        method: method of the request, `GET` or `POST`.
        path: path of the operation.
        key: the field of an answer that has the rows.
        asked: what is asked, beside the page.
        k: maximum number of rows; None: all.

    Raises:
        WrongUsageError, BusyError, FaceTroveError: see `ask`.
    """
    left, after = k, dict[str, str]()
    while left is None or left > 0:
        limit = PAGE if left is None else min(left, PAGE)
        query = {**asked, "limit": limit, **after}
        sent = {"params": query} if method == "GET" else {"json": query}
        page = ask(http, method, path, **sent).json()
        yield from page[key]
        if page["next"] is None:
            return
        after = {"after": page["next"]}
        left = None if left is None else left - limit


def decision_of(fields: dict[str, Any]) -> ServiceDecision:
    """Return a decision from its fields in an answer."""
    return ServiceDecision(**{**fields, "people": tuple(fields["people"])})
