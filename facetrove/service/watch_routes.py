"""The operations about watches: making, listing, reading and deleting them, and their matches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from faces.core.documents import json_text
from facetrove.service import answers, openapi, watch_answers
from facetrove.service.access import asked_of, may_see, needs, seen_owner
from facetrove.service.bodies import JSON, MULTIPART
from facetrove.service.common import IdempotencyKey, json_response, service_of
from facetrove.service.refusals import RefusedError
from facetrove.service.search_routes import FaceRank
from facetrove.service.watch_making import Conditions, made_watch
from facetrove.service.watch_records import Watch
from facetrove.service.watches import Watches
from facetrove.service.watching import matches_json

router = APIRouter(
    prefix="/v1",
    tags=["watches"],
    dependencies=[Depends(needs("search"))],
    responses=answers.ERRORS,
)

WatchIdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Id of the watch.")]
After = Annotated[
    int, Query(ge=0, le=2**62, description="Number of the match after which they begin.")
]

_OWN = "Every key sees its own watches, and one with the scope admin all."


def _watch_json(watch: Watch) -> dict[str, Any]:
    problem = watch.problem
    return {
        "watch_id": watch.watch_id,
        "created": watch.created,
        "made_from": watch.source,
        "fpir": watch.fpir,
        "where": watch.filter,
        "face_id": watch.faces[0] if watch.source == "face" else None,
        "person_id": watch.person_id,
        "num_probe_faces": len(watch.faces) or None,
        "num_matches": watch.num_matches,
        "num_dropped": watch.num_dropped,
        "last_match_id": watch.last_match,
        "problem": None
        if problem is None
        else {"code": problem, "message": watch_answers.PROBLEMS[problem]},
    }


async def _watch(request: Request, watch_id: str) -> tuple[Watches, Watch]:
    watches = service_of(request).require_watches()
    watch = await asyncio.to_thread(watches.store.find, watch_id)
    if watch is None or not may_see(request, watch.owner):
        raise RefusedError(
            404, "no_such_watch", "there is no watch of this id; GET /v1/watches lists them"
        )
    return watches, watch


def _body() -> dict[str, Any]:
    content = {
        MULTIPART: openapi.multipart_schema(openapi.WHERE, several=False),
        JSON: {
            "schema": openapi.model_schema(watch_answers.WatchRequest),
            "example": {"face_id": "9b1f" + "0" * 28},
        },
    }
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/watches",
    operation_id="add_watch",
    summary="Watch for a face among those that come into the index",
    status_code=201,
    response_model=watch_answers.WatchAnswer,
    openapi_extra=openapi.with_scope("search", _body()),
)
async def add_watch(
    request: Request,
    fpir: Annotated[
        float,
        Query(gt=0, lt=1, description="Share of searches for strangers that may return a match."),
    ],
    face: FaceRank = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Save a probe: a photo of one face, embeddings of one person, a face of the index, or a person
    of the people book. From now on, faces that come into the index are compared with it at the
    threshold of this FPIR."""
    service_of(request).require_watches()
    watch = await made_watch(request, Conditions(fpir, face, idempotency_key))
    asked_of(request).counts["watches"] = 1
    return json_response(_watch_json(watch), status=201)


@router.get(
    "/watches",
    operation_id="list_watches",
    summary="List watches",
    response_model=watch_answers.WatchesAnswer,
    description=f"Return the newest watches first. {_OWN}",
    openapi_extra=openapi.with_scope("search"),
)
async def list_watches(
    request: Request, limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000
) -> Response:
    """Return the newest watches first."""
    watches = service_of(request).require_watches()
    found = await asyncio.to_thread(watches.store.newest, limit, owner=seen_owner(request))
    asked_of(request).counts["watches"] = len(found)
    return json_response({"watches": list(map(_watch_json, found))})


@router.get(
    "/watches/{watch_id}",
    operation_id="get_watch",
    summary="Read a watch",
    response_model=watch_answers.WatchAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def get_watch(request: Request, watch_id: WatchIdPath) -> Response:
    """Return what a watch is for, and whether new faces are compared with it."""
    _, watch = await _watch(request, watch_id)
    return json_response(_watch_json(watch))


@router.delete(
    "/watches/{watch_id}",
    operation_id="delete_watch",
    summary="Delete a watch",
    status_code=204,
    response_class=Response,
    openapi_extra=openapi.with_scope("search"),
)
async def delete_watch(request: Request, watch_id: WatchIdPath) -> Response:
    """Remove every byte of a watch's probe, and its matches."""
    await request.body()
    watches, watch = await _watch(request, watch_id)
    await watches.delete(watch)
    asked_of(request).counts["watches"] = 1
    return Response(status_code=204)


@router.get(
    "/watches/{watch_id}/matches",
    operation_id="list_watch_matches",
    summary="Read the matches of a watch",
    response_model=watch_answers.WatchMatchesAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def list_watch_matches(
    request: Request,
    watch_id: WatchIdPath,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """Return the matches after one, oldest first. Faces that are deleted or gone are left out."""
    watches, watch = await _watch(request, watch_id)
    stored = await asyncio.to_thread(watches.store.matches, watch, after=after, limit=limit)
    searcher = service_of(request).gallery.current
    matches = await asyncio.to_thread(matches_json, searcher, stored)
    asked_of(request).counts["matches"] = len(matches)
    following = stored[-1].match_id if stored else after
    return json_response({"matches": matches, "next": following})


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Events `match`, whose data are a match and whose id is its number; last "
        "`end`, when the watch is deleted.",
    }
}


@router.get(
    "/watches/{watch_id}/events",
    operation_id="follow_watch",
    summary="Follow the matches of a watch",
    response_class=Response,
    responses=_EVENTS,
    openapi_extra=openapi.with_scope("search"),
)
async def follow_watch(
    request: Request,
    watch_id: WatchIdPath,
    after: After = 0,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,18}$", description="As `after`, which browsers send by themselves."
        ),
    ] = None,
) -> Response:
    """Return server-sent events: the matches after one, and further ones as they come."""
    watches, watch = await _watch(request, watch_id)
    service = service_of(request)
    service.admission.require_stream()
    asked_of(request).is_stream = True
    start = after if last_event_id is None else int(last_event_id)

    async def events() -> AsyncIterator[bytes]:
        service.admission.num_streams += 1  # here: a client that is gone by now never begins
        try:
            async for stored in watches.follow(watch.watch_id, start):
                if stored is None:
                    yield b": still there\n\n"
                    continue
                found = await asyncio.to_thread(matches_json, service.gallery.current, stored)
                for match in found:
                    yield _event("match", match, match["match_id"])
            yield _event("end", {}, None)
        finally:
            service.admission.num_streams -= 1

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(name: str, document: dict[str, Any], number: int | None) -> bytes:
    content = " ".join(json_text(document).split("\n"))
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {content}\n\n".encode()
