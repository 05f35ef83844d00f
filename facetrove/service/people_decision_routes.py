"""The operations that decide who is who: done when they are answered, and taken back by `undo`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from faces.dataset import people_verbs as verbs
from facetrove.service import answers, openapi, people_answers
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import read_json
from facetrove.service.common import IdempotencyKey, json_response, service_of
from facetrove.service.people import Decide, people_json

router = APIRouter(
    prefix="/v1",
    tags=["people"],
    dependencies=[Depends(needs("curate"))],
    responses=answers.ERRORS,
)

Operation = TypeVar("Operation", bound=Callable[..., Any])


def decides(
    path: str, name: str, summary: str, body: type[BaseModel]
) -> Callable[[Operation], Operation]:
    """Return the decorator of an operation that decides something."""
    return router.post(
        path,
        operation_id=name,
        summary=summary,
        response_model=people_answers.DecisionAnswer,
        openapi_extra=openapi.with_scope("curate", openapi.json_body(body)),
    )


async def decided(
    request: Request,
    asked: Any,
    decide: Decide,
    idempotency_key: str | None,
    *,
    people: Sequence[int] = (),
    faces: Sequence[str] = (),
) -> Response:
    """Decide what is asked, once for each idempotency key, and answer with the decision.

    Args:
        request: the request.
        asked: what is asked, as a document.
        decide: a function that decides.
        idempotency_key: the client's name for this request; None: it has none.
        people: the people whom it is about, all of whom there must be.
        faces: face_ids of the faces that it is about.
    """
    service, known = service_of(request), asked_of(request)
    runner, served = service.require_runner(), service.require_people()
    known.people = tuple(people)
    known.counts |= {"people": len(people), "faces": len(faces)}
    operation = getattr(request.scope["route"], "operation_id", "")
    author = known.owner or None

    def work() -> tuple[str, dict[str, Any]]:
        with runner.decision_keys.held(known.owner, idempotency_key, [operation, asked]) as own_id:
            decision, now, slots = served.decide(
                decide, author, next_id=own_id, people=people, faces=faces
            )
            return decision.decision_id, {
                "decision_id": decision.decision_id,
                "verb": decision.verb,
                "author": decision.author,
                "time": decision.decided_at,
                "people": people_json(now, slots),
            }

    known.decision, answer = await asyncio.to_thread(work)
    return json_response(answer)


@decides("/people/name", "name_person", "Give a person a name", people_answers.NameRequest)
async def name_person(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Give a person a name, or none. The next search knows it."""
    asked = await read_json(request, people_answers.NameRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.name_person(book, asked.person_id, asked.name),
        idempotency_key,
        people=[asked.person_id],
    )


@decides("/people/merge", "merge_people", "Say that people are one", people_answers.MergeRequest)
async def merge_people(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that people are one, who keeps number and name of the first of them."""
    asked = await read_json(request, people_answers.MergeRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.merge_people(book, asked.people),
        idempotency_key,
        people=asked.people,
    )


@decides(
    "/people/separate",
    "separate_people",
    "Say that two people are not one",
    people_answers.SeparateRequest,
)
async def separate_people(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that two people are not one, so that they are neither grouped nor merged."""
    asked = await read_json(request, people_answers.SeparateRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.separate_people(book, asked.one, asked.other),
        idempotency_key,
        people=[asked.one, asked.other],
    )


@decides(
    "/people/split",
    "split_person",
    "Say that faces of a person are somebody else",
    people_answers.PersonFacesRequest,
)
async def split_person(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that some faces of a person are somebody else, who is the second of `people`."""
    asked = await read_json(request, people_answers.PersonFacesRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.split_person(book, asked.person_id, asked.faces),
        idempotency_key,
        people=[asked.person_id],
        faces=asked.faces,
    )


@decides(
    "/people/move", "move_faces", "Say whose faces faces are", people_answers.PersonFacesRequest
)
async def move_faces(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that faces are a person, whoever they were taken for."""
    asked = await read_json(request, people_answers.PersonFacesRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.move_faces(book, asked.faces, asked.person_id),
        idempotency_key,
        people=[asked.person_id],
        faces=asked.faces,
    )


@decides(
    "/people/confirm",
    "confirm_faces",
    "Say that faces are this person, for sure",
    people_answers.ConfirmRequest,
)
async def confirm_faces(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that faces are the person whom they are taken for, so that no grouping moves them."""
    asked = await read_json(request, people_answers.ConfirmRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.confirm_faces(book, asked.person_id, asked.faces),
        idempotency_key,
        people=[asked.person_id],
        faces=asked.faces,
    )


@decides(
    "/people/reject",
    "reject_faces",
    "Say that faces are not this person's",
    people_answers.PersonFacesRequest,
)
async def reject_faces(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that faces are not a person's, whoever they are."""
    asked = await read_json(request, people_answers.PersonFacesRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.reject_faces(book, asked.faces, asked.person_id),
        idempotency_key,
        people=[asked.person_id],
        faces=asked.faces,
    )


@decides("/people/ignore", "ignore_people", "Ignore strangers", people_answers.FlagRequest)
async def ignore_people(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that people are strangers, who are no longer listed or asked about; or are again."""
    asked = await read_json(request, people_answers.FlagRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.flag_people(book, "ignore", asked.people, on=asked.on),
        idempotency_key,
        people=asked.people,
    )


@decides("/people/hide", "hide_people", "Hide people", people_answers.FlagRequest)
async def hide_people(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Leave people out of lists, or no longer; searches still find them."""
    asked = await read_json(request, people_answers.FlagRequest)
    return await decided(
        request,
        asked.model_dump(),
        lambda book: verbs.flag_people(book, "hide", asked.people, on=asked.on),
        idempotency_key,
        people=asked.people,
    )
