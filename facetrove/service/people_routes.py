"""The operations that read who is who."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from faces.dataset.people_contradictions import reason_against_undo
from faces.dataset.people_decisions import MAX_PERSON, Decision
from facetrove.people.roster_counts import doubts_of
from facetrove.people.roster_faces import Rows
from facetrove.people.roster_pages import (
    Cursor,
    FaceCursor,
    FaceOrder,
    PeopleQuery,
    face_cursor,
    faces_page,
    people_page,
)
from facetrove.people.roster_photos import (
    after_uri,
    companions,
    photos_with,
    shown_in,
)
from facetrove.service import answers, openapi, people_answers
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import read_json
from facetrove.service.common import json_response, service_of
from facetrove.service.cursors import After, cursor_of, place_of
from facetrove.service.people import PeopleNow, people_json
from facetrove.service.refusals import too_large
from search.listing import faces_at

router = APIRouter(
    prefix="/v1",
    tags=["people"],
    dependencies=[Depends(needs("search"))],
    responses=answers.ERRORS,
)

PersonPath = Annotated[int, Path(ge=1, le=MAX_PERSON, description="Number of the person.")]
Limit = Annotated[int, Query(ge=1, le=10**9, description="How many on a page.")]

MAX_QUESTIONS = 100
"""Pairs of people that are asked about at once: each costs some milliseconds."""

MAX_PEOPLE_TOLD = 100
"""Numbers of people of a decision in the history; an import may be about many more."""


def limited(request: Request, limit: int) -> int:
    """Return how many are asked for, unless it is more than the service gives at once."""
    most = service_of(request).options.limits.max_k
    if limit > most:
        raise too_large("max_k", f"limit is {limit}; ask for {most} or fewer at a time")
    return limit


async def people_now(request: Request) -> PeopleNow:
    """Return who is who now."""
    return await asyncio.to_thread(service_of(request).require_people().now)


@router.post(
    "/people/list",
    operation_id="list_people",
    summary="List people",
    response_model=people_answers.PeopleAnswer,
    openapi_extra=openapi.with_scope("search", openapi.json_body(people_answers.PeopleRequest)),
)
async def list_people(request: Request) -> Response:
    """List people page by page. What is asked stands in the body, since addresses are written to
    the logs of proxies."""
    asked = await read_json(request, people_answers.PeopleRequest)
    fields = asked.model_dump(exclude={"after"}) | {"limit": limited(request, asked.limit)}
    query = PeopleQuery(**fields, after=place_of(asked.after, _cursor_kind(asked.order)))
    people = await people_now(request)

    def page() -> dict[str, Any]:
        found = people_page(people.roster, query)
        return {
            "people": people_json(people, found.slots),
            "next": cursor_of(found.after),
            "num_people": found.num_people,
            "state": people.state,
        }

    answer = await asyncio.to_thread(page)
    asked_of(request).counts["people"] = len(answer["people"])
    return json_response(answer)


def _cursor_kind(order: str) -> type[Cursor]:
    kind: Any = tuple[str, int] if order == "name" else tuple[int, int]
    return kind  # type: ignore[no-any-return]


@router.get(
    "/people/questions",
    operation_id="list_questions",
    summary="Ask which people are the same",
    response_model=people_answers.QuestionsAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def list_questions(
    request: Request,
    k: Annotated[int, Query(ge=1, le=MAX_QUESTIONS, description="Maximum number of pairs.")] = 20,
) -> Response:
    """List pairs of people who may be one, first where an answer joins or separates most faces.
    Merging or separating them answers it."""
    people = service_of(request).require_people()
    now = await people_now(request)
    found = await asyncio.to_thread(people.questions, now, k)
    asked_of(request).counts["questions"] = len(found)
    return json_response({"questions": found})


@router.get(
    "/people/decisions",
    operation_id="list_decisions",
    summary="List what was decided about people",
    response_model=people_answers.DecisionsAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def list_decisions(request: Request, limit: Limit = 50, after: After = None) -> Response:
    """List decisions, newest first, and whether each can be taken back."""
    size = limited(request, limit)
    last = place_of(after, str)
    people = await people_now(request)

    def page() -> dict[str, Any]:
        decisions = people.roster.view.seen.decisions[::-1]
        left = [one for one in decisions if last is None or one.key < last][: size + 1]
        return {
            "decisions": [_entry(people, decision) for decision in left[:size]],
            "next": cursor_of(left[size - 1].key if len(left) > size else None),
            "num_decisions": len(decisions),
        }

    answer = await asyncio.to_thread(page)
    asked_of(request).counts["decisions"] = len(answer["decisions"])
    return json_response(answer)


def _entry(people: PeopleNow, decision: Decision) -> dict[str, Any]:
    view = people.roster.view
    reason = reason_against_undo(view, decision)
    return {
        "decision_id": decision.decision_id,
        "time": decision.decided_at,
        "author": decision.author,
        "verb": decision.verb,
        "people": decision.people[:MAX_PEOPLE_TOLD],
        "num_people": len(decision.people),
        "num_faces": view.seen.num_faces[decision.key],
        "name": decision.name,
        "on": decision.on,
        "undoes": decision.undoes or None,
        "is_undone": decision.key not in view.state.in_force,
        "can_be_undone": reason is None,
        "why_not": None if reason is None else f"decision {decision.decision_id} {reason}",
    }


@router.get(
    "/people/{person_id}",
    operation_id="get_person",
    summary="Read a person",
    response_model=people_answers.PersonAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def get_person(request: Request, person_id: PersonPath) -> Response:
    """Return a person; of one who was merged into another, that one."""
    people = await people_now(request)
    asked_of(request).people = (person_id,)
    (found,) = await asyncio.to_thread(people_json, people, [people.slot(person_id)])
    return json_response(found)


@router.get(
    "/people/{person_id}/faces",
    operation_id="list_faces_of_person",
    summary="List the faces of a person",
    response_model=people_answers.PersonFacesAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def list_faces_of_person(
    request: Request,
    person_id: PersonPath,
    order: Annotated[
        FaceOrder,
        Query(description="The most doubtful first, or by the time of the photo."),
    ] = "doubt",
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """List them page by page, the most doubtful first."""
    size = limited(request, limit)
    kind: Any = FaceCursor
    last: FaceCursor | None = place_of(after, kind)
    people = await people_now(request)
    asked_of(request).people = (person_id,)

    def page() -> dict[str, Any]:
        roster = people.roster
        theirs = roster.rows_of(people.slot(person_id))
        rows = faces_page(roster, theirs, order=order, limit=size, after=last)
        found = _faces_json(people, rows[:size])
        more = None
        if len(rows) > size:
            more = face_cursor(roster, int(rows[size - 1]), found[-1]["face_id"], order)
        return {"faces": found, "next": cursor_of(more), "num_faces": len(theirs)}

    answer = await asyncio.to_thread(page)
    asked_of(request).counts["faces"] = len(answer["faces"])
    return json_response(answer)


def _faces_json(people: PeopleNow, rows: Rows) -> list[dict[str, Any]]:
    roster = people.roster
    doubts = doubts_of(roster.faces, rows, roster.by_human).tolist()
    return [
        {
            **face.to_json(),
            "doubt": None if np.isnan(doubt) else doubt,
            "said_by": "human"
            if roster.by_human[row]
            else ("list" if roster.faces.is_listed[row] else "machine"),
        }
        for face, row, doubt in zip(
            faces_at(people.snapshot, rows), rows.tolist(), doubts, strict=True
        )
    ]


@router.get(
    "/people/{person_id}/companions",
    operation_id="list_companions",
    summary="List who is in photos with a person",
    response_model=people_answers.CompanionsAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def list_companions(request: Request, person_id: PersonPath, limit: Limit = 50) -> Response:
    """List them, those with most photos first."""
    size = limited(request, limit)
    people = await people_now(request)
    asked_of(request).people = (person_id,)
    slot, roster = people.slot(person_id), people.roster
    found = (await asyncio.to_thread(companions, roster, [slot]))[:size]
    asked_of(request).counts["people"] = len(found)
    numbers = [int(roster.numbers[one]) for one, _ in found]
    return json_response(
        {
            "companions": [
                {"person_id": number, "person": roster.names.names.get(number), "num_photos": count}
                for number, (_, count) in zip(numbers, found, strict=True)
            ]
        }
    )


@router.post(
    "/people/photos",
    operation_id="list_photos_of_people",
    summary="List the photos that show people",
    response_model=people_answers.PhotosAnswer,
    openapi_extra=openapi.with_scope("search", openapi.json_body(people_answers.PhotosRequest)),
)
async def list_photos_of_people(request: Request) -> Response:
    """List the photos that show all of some people and none of others, sorted by their uris."""
    asked = await read_json(request, people_answers.PhotosRequest)
    size = limited(request, asked.limit)
    last = place_of(asked.after, str)
    people = await people_now(request)
    asked_of(request).people = (*asked.with_, *asked.without)

    def page() -> dict[str, Any]:
        roster = people.roster
        wanted, unwanted = (_slots(people, some) for some in (asked.with_, asked.without))
        photos = photos_with(roster, wanted, unwanted)
        left = photos if last is None else after_uri(roster, photos, last)
        shown = shown_in(roster, left[:size])
        return {
            "photos": [
                {**vars(photo), "people": [*map(roster.shown_name, photo.person_ids)]}
                for photo in shown
            ],
            "next": cursor_of(shown[-1].uri if len(left) > size else None),
            "num_photos": len(photos),
        }

    answer = await asyncio.to_thread(page)
    asked_of(request).counts["photos"] = len(answer["photos"])
    return json_response(answer)


def _slots(people: PeopleNow, numbers: Sequence[int]) -> list[int]:
    return sorted({people.slot(number) for number in numbers})
