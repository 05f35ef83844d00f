"""The people of a service's dataset, with the verbs of `facetrove.open_people`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from faces.core.errors import WrongUsageError
from faces.dataset.people_verbs import PersonName
from facetrove.client_answers import (
    PAGE,
    ServiceDecision,
    ServiceJob,
    ask,
    decision_of,
    files_of,
    idempotent,
    job_of,
    pages,
)
from facetrove.comparison import FAR
from facetrove.people.roster_names import MAX_PREFIX, name_key
from facetrove.people.tables import PeopleTable


class ServicePeople:
    """The people of a service's dataset: `ServiceClient.people`.

    A person is named by number or by name. Decisions are made, and are seen by the next search,
    when the call returns; `idempotency_key` is a name for a decision, with which it can be sent
    again without being made twice. Where a call cannot be done, the errors are those of
    `ServiceClient.search`; WrongUsageError too where there is no such person or face.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def list(
        self,
        *,
        hidden: bool = False,
        ignored: bool = False,
        name: str | None = None,
        named: bool | None = None,
        order: str = "faces",
        k: int | None = None,
    ) -> PeopleTable:
        """List people.

        Args:
            hidden, ignored: list people too who are hidden or ignored.
            name: beginning of any word of their names, in any case; None: any.
            named: only people who have a name, or have none; None: both.
            order: `faces` (most first), `name` or `doubts` (most doubtful faces first).
            k: maximum number of people; None: all.

        Returns:
            A row for each person: person_id, person, named_by, num_faces, num_photos, num_doubtful,
            first, last, cover_face_id, is_hidden, is_ignored and conflict.
        """
        body = {"hidden": hidden, "ignored": ignored, "name": name, "named": named, "order": order}
        return _table(pages(self._http, "POST", "/v1/people/list", "people", body, k))

    def person(self, person: PersonName) -> dict[str, Any]:
        """Return a person, with the fields of `list`.

        Args:
            person: number or name of the person.
        """
        return self._ask("GET", f"{self._number(person)}")

    def faces(
        self, person: PersonName, *, order: str = "doubt", k: int | None = None
    ) -> PeopleTable:
        """List the faces of a person.

        Args:
            person: number or name of the person.
            order: `doubt`, the most doubtful first, or `taken`, by the time of the photo.
            k: maximum number of faces; None: all.

        Returns:
            A row for each face: the fields of `ListedFace`, doubt, and said_by (`human`, `machine`
            or `list`).
        """
        number = self._number(person)
        return _table(
            pages(self._http, "GET", f"/v1/people/{number}/faces", "faces", {"order": order}, k)
        )

    def photos(
        self,
        with_people: PersonName | Sequence[PersonName] = (),
        without: PersonName | Sequence[PersonName] = (),
        *,
        k: int | None = None,
    ) -> PeopleTable:
        """List the photos that show all of some people and none of others.

        Args:
            with_people: numbers or names of people whom a photo shows.
            without: numbers or names of people whom it does not show.
            k: maximum number of photos; None: all.

        Returns:
            Columns uri, photo_id, person_ids, people, num_unknown.
        """
        body = {"with": self._numbers(with_people), "without": self._numbers(without)}
        return _table(pages(self._http, "POST", "/v1/people/photos", "photos", body, k))

    def companions(self, person: PersonName, *, k: int = PAGE) -> PeopleTable:
        """List who appears in photos with a person, most often first.

        Args:
            person: number or name of the person.
            k: maximum number of people.

        Returns:
            Columns person_id, person, num_photos.
        """
        path = f"{self._number(person)}/companions"
        return _table(self._ask("GET", path, params={"limit": k})["companions"])

    def questions(self, *, k: int = 20) -> Sequence[dict[str, Any]]:
        """List pairs of people who may be one, first where an answer joins or separates most faces.

        Args:
            k: maximum number of pairs, up to 100.

        Returns:
            For each pair one and other (the fields of `list`), similarity, one_faces, other_faces.
        """
        return [*self._ask("GET", "questions", params={"k": k})["questions"]]

    def decisions(self, *, k: int | None = None) -> PeopleTable:
        """List what was decided, newest first.

        Args:
            k: maximum number of decisions; None: all.

        Returns:
            A row for each: decision_id, time, author, verb, people, num_people, num_faces, name,
            on, undoes, is_undone, can_be_undone and why_not.
        """
        return _table(pages(self._http, "GET", "/v1/people/decisions", "decisions", {}, k))

    def name(
        self, person: PersonName, name: str | None, *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Give a person a name.

        Args:
            person: number or name of the person.
            name: the name; None: the person has none any more.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person, or it is no name.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        body = {"person_id": self._number(person), "name": name}
        return self._decide("name", body, idempotency_key)

    def merge(
        self, people: Sequence[PersonName], *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Say that people are one, who keeps number and name of the first of them.

        Args:
            people: numbers or names of two people or more.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person, or somebody said that two are different.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("merge", {"people": self._numbers(people)}, idempotency_key)

    def separate(
        self, one: PersonName, other: PersonName, *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Say that two people are not one, so that they are neither grouped nor merged.

        Args:
            one: number or name of a person.
            other: number or name of another person.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person, or they were merged.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        body = {"one": self._number(one), "other": self._number(other)}
        return self._decide("separate", body, idempotency_key)

    def split(
        self, person: PersonName, faces: str | Sequence[str], *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Say that some faces of a person are somebody else: the second in its `people`.

        Args:
            person: number or name of the person.
            faces: face_ids of faces of this person.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person, or a face is not this person's.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("split", self._of_faces(person, faces), idempotency_key)

    def move(
        self, faces: str | Sequence[str], person: PersonName, *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Say whose faces some faces are.

        Args:
            faces: face_ids.
            person: number or name of the person.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("move", self._of_faces(person, faces), idempotency_key)

    def confirm(
        self,
        person: PersonName,
        faces: str | Sequence[str] = (),
        *,
        idempotency_key: str | None = None,
    ) -> ServiceDecision:
        """Say that faces, or all of a person, are that person, so that no grouping moves them.

        Args:
            person: number or name of the person.
            faces: face_ids; none: all faces of the person.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person, or a face is not taken for this person.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("confirm", self._of_faces(person, faces), idempotency_key)

    def reject(
        self, faces: str | Sequence[str], person: PersonName, *, idempotency_key: str | None = None
    ) -> ServiceDecision:
        """Say that faces are not a person's, whoever they are.

        Args:
            faces: face_ids.
            person: number or name of the person.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("reject", self._of_faces(person, faces), idempotency_key)

    def ignore(
        self,
        people: PersonName | Sequence[PersonName],
        *,
        on: bool = True,
        idempotency_key: str | None = None,
    ) -> ServiceDecision:
        """Say that people are strangers, who are no longer listed or asked about; or are again.

        Args:
            people: numbers or names of people.
            on: False: they are listed again.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("ignore", {"people": self._numbers(people), "on": on}, idempotency_key)

    def hide(
        self,
        people: PersonName | Sequence[PersonName],
        *,
        on: bool = True,
        idempotency_key: str | None = None,
    ) -> ServiceDecision:
        """Leave people out of lists, or no longer; searches still find them.

        Args:
            people: numbers or names of people.
            on: False: they are shown again.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such person.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        return self._decide("hide", {"people": self._numbers(people), "on": on}, idempotency_key)

    def undo(self, decision_id: str, *, idempotency_key: str | None = None) -> ServiceDecision:
        """Take a decision back.

        Args:
            decision_id: id of the decision, from `decisions`.
            idempotency_key: a name for the decision, with which it can be sent again; None: none.

        Raises:
            WrongUsageError: there is no such decision, or others rest on it.
            FaceTroveError: the service refuses, or cannot be reached.
        """
        headers = idempotent(idempotency_key)
        answer = ask(self._http, "POST", "/v1/undo", json={"id": decision_id}, headers=headers)
        return decision_of(answer.json())

    def group(
        self,
        *,
        precision: float = 0.99,
        only_new: bool = False,
        idempotency_key: str | None = None,
    ) -> ServiceJob:
        """Have the faces grouped by person, in agreement with what humans decided.

        Args:
            precision: share of the pairs of faces of one person that are rightly one, 0.9 to 0.999.
            only_new: whether people stay as they are, and only new faces join them.
            idempotency_key: a name for this request, with which it can be sent again; None: none.

        Returns:
            The job, which waits; see `ServiceClient.wait`.
        """
        body = {"precision": precision, "only_new": only_new}
        return job_of(self._ask("POST", "group", body, headers=idempotent(idempotency_key)))

    def compare(
        self, photo: str | Path | bytes, person: PersonName, *, far: float = FAR, face: int = 1
    ) -> dict[str, Any]:
        """Say whether a photo shows a person, by the most similar of the person's faces.

        Args:
            photo: path of a photo of this machine, or the content of a photo file.
            person: number or name of the person.
            far: share of strangers who count as the person, (0, 1); see docs/service.md.
            face: rank by size of the face to compare, where 1 is the largest.

        Returns:
            similarity, threshold, admit, reason, num_compared (faces of the person) and so on.
        """
        data = {"person_id": str(self._number(person))}
        query, files = {"far": far, "face": face}, files_of([photo])
        answer = ask(self._http, "POST", "/v1/compare", params=query, files=files, data=data)
        return dict(answer.json())

    def _of_faces(self, person: PersonName, faces: str | Sequence[str]) -> dict[str, Any]:
        ids = [faces] if isinstance(faces, str) else [*faces]
        return {"person_id": self._number(person), "faces": ids}

    def _numbers(self, people: PersonName | Sequence[PersonName]) -> Sequence[int]:
        some = [people] if isinstance(people, int | str) else people
        return [self._number(person) for person in some]

    def _number(self, person: PersonName) -> int:
        """Return the number of a person who is named by number or name."""
        if isinstance(person, int) or person.isdecimal():
            return int(person)
        key = name_key(person)
        found = self.list(hidden=True, ignored=True, name=person[:MAX_PREFIX]).to_list()
        numbers = [one["person_id"] for one in found if name_key(one["person"]) == key]
        if len(numbers) != 1:
            which = f"{len(numbers)} people are" if numbers else "nobody is"
            raise WrongUsageError(f"{which} called {person[:100]!r}; name one by number")
        return int(numbers[0])

    def _decide(
        self, verb: str, body: dict[str, Any], idempotency_key: str | None
    ) -> ServiceDecision:
        return decision_of(self._ask("POST", verb, body, headers=idempotent(idempotency_key)))

    def _ask(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        answer = ask(self._http, method, f"/v1/people/{path}", json=body, **options)
        return dict(answer.json())


def _table(rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> PeopleTable:
    return PeopleTable(pa.Table.from_pylist([*rows]))
