"""The operations that change the dataset and the index, each of which is a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response

from faces.dataset.people_decisions import DECISION_ID
from faces.dataset.people_verbs import undo_decision
from facetrove.service import answers, change_answers, openapi, people_answers
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import (
    JSON,
    MULTIPART,
    Form,
    kind_of,
    read_form,
    read_json,
    wrong_kind,
)
from facetrove.service.common import IdempotencyKey, json_response, service_of
from facetrove.service.folders import require_allowed_folder
from facetrove.service.job_runner import job_json
from facetrove.service.jobs import JobKind, NewJob
from facetrove.service.keys import Scope
from facetrove.service.people_decision_routes import decided
from facetrove.service.refusals import RefusedError
from facetrove.service.service import Service
from facetrove.service.uploads import Uploads
from indexer.delete import plan_deletion
from indexer.undo import list_deletions

router = APIRouter(prefix="/v1", tags=["changes"], responses=answers.ERRORS)

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": change_answers.JobAnswer,
        "description": "The job, queued and on the disk. The header Location has its address.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}

MAX_COLUMNS, MAX_VALUE = 32, 1_000
"""How many columns an enrol request may give, and how many characters a value may have."""


async def begin(
    request: Request, kind: JobKind, what: dict[str, Any], idempotency_key: str | None
) -> Response:
    """Queue a job, and answer with it."""
    service, asked = service_of(request), asked_of(request)
    new = NewJob(kind, what, asked.owner, idempotency_key)
    job, _ = await service.require_runner().add(new)
    asked.job = job.job_id
    headers = {"Location": f"/v1/jobs/{job.job_id}"}
    return json_response(job_json(job, None), status=202, headers=headers)


Operation = TypeVar("Operation", bound=Callable[..., Any])


def changes(
    path: str, name: str, summary: str, scope: Scope, body: dict[str, Any] | None
) -> Callable[[Operation], Operation]:
    """Return the decorator of an operation that is a job."""
    return router.post(
        path,
        operation_id=name,
        summary=summary,
        status_code=202,
        response_class=Response,
        responses=ACCEPTED,
        dependencies=[Depends(needs(scope))],
        openapi_extra=openapi.with_scope(scope, body),
    )


_COLUMNS = {
    "columns": {
        "type": "string",
        "contentMediaType": JSON,
        "description": 'Columns of all these photos as a JSON object, such as {"person": "Ann"}.',
    }
}


def _enrol_body() -> dict[str, Any]:
    content = {
        JSON: {"schema": openapi.model_schema(change_answers.EnrolRequest)},
        MULTIPART: openapi.multipart_schema(_COLUMNS),
    }
    return {"requestBody": {"required": True, "content": content}}


@changes("/enrol", "enrol", "Add photos to the dataset and the index", "enrol", _enrol_body())
async def enrol(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Add the photos of a folder on the server, which the operator has allowed; or photos that are
    sent in, where the server keeps such photos."""
    service = service_of(request)
    service.require_runner()
    kind = kind_of(request)
    if kind == JSON:
        asked = await read_json(request, change_answers.EnrolRequest)
        require_allowed_folder(asked.folder, service.options.folders)
        return await begin(request, "enrol", {"folder": asked.folder}, idempotency_key)
    if kind != MULTIPART:
        raise wrong_kind(JSON, MULTIPART)
    if service.uploads is None:
        raise RefusedError(
            409, "no_uploads", "this server keeps no photos; have it started with --uploads DIR"
        )
    most = service.options.limits.max_uploads
    form = await read_form(request, max_photos=most, fields=("columns",))
    columns = _columns(form)
    kept = await asyncio.to_thread(_keep, service, service.uploads, form)
    asked_of(request).counts["photos"] = len(kept)
    what = {"uploads": [name for name, _ in kept], "columns": columns}
    try:
        return await begin(request, "enrol", what, idempotency_key)
    except RefusedError:
        new = [name for name, is_new in kept if is_new]
        await asyncio.to_thread(service.uploads.remove, new)
        raise


def _keep(service: Service, uploads: Uploads, form: Form) -> list[tuple[str, bool]]:
    """Keep the photos of a form: all of them, or none."""
    kept: list[tuple[str, bool]] = []
    try:
        for number, content in enumerate(form.photos, start=1):
            if len(content) > service.options.limits.photo.max_bytes:
                raise RefusedError(
                    413, "over_photo_limits", f"photo {number} is too large; send a smaller one"
                )
            found = uploads.keep(content, number)
            kept.append((found.name, found.is_new))
    except BaseException:
        uploads.remove(name for name, is_new in kept if is_new)
        raise
    return kept


def _columns(form: Form) -> dict[str, str]:
    """Return the columns that a form gives to its photos."""
    text = form.fields.get("columns")
    try:
        found = {} if text is None else json.loads(text)
        right = (
            isinstance(found, dict)
            and len(found) <= MAX_COLUMNS
            and all(
                isinstance(value, str) and len(value) <= MAX_VALUE and value.isprintable()
                for pair in found.items()
                for value in pair
            )
            and all(found)
        )
    except (ValueError, RecursionError):
        right = False
    if not right:
        raise RefusedError(
            422,
            "bad_columns",
            f"columns is a JSON object of at most {MAX_COLUMNS} texts by their columns' names",
        )
    return found


@changes(
    "/delete",
    "delete_faces",
    "Delete faces",
    "curate",
    openapi.json_body(change_answers.DeleteRequest),
)
async def delete_faces(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Withhold faces from every search. Until a purge, `undo` takes that back."""
    asked = await read_json(request, change_answers.DeleteRequest)
    what = _selected(asked)
    return await begin(request, "delete", what, idempotency_key)


def _selected(asked: change_answers.DeleteRequest) -> dict[str, Any]:
    if not (asked.faces or asked.photos or asked.where):
        raise RefusedError(422, "nothing_selected", "give `faces`, `photos` or `where`")
    return {"faces": asked.faces, "photos": asked.photos, "where": asked.where}


@router.post(
    "/delete/plan",
    operation_id="plan_deletion",
    summary="Count the faces that a deletion would delete",
    response_model=change_answers.DeletionPlanAnswer,
    dependencies=[Depends(needs("curate"))],
    openapi_extra=openapi.with_scope("curate", openapi.json_body(change_answers.DeleteRequest)),
)
async def count_deletion(request: Request) -> Response:
    """Delete nothing."""
    asked = await read_json(request, change_answers.DeleteRequest)
    service = service_of(request)
    service.require_runner()
    assert service.dataset is not None, "where there are jobs there is a dataset"
    plan = await asyncio.to_thread(
        plan_deletion, service.dataset, service.options.index, **_selected(asked)
    )
    return json_response({"num_faces": plan.num_faces})


@router.get(
    "/deletions",
    operation_id="list_deletions",
    summary="List the deletions that can be taken back",
    response_model=change_answers.DeletionsAnswer,
    dependencies=[Depends(needs("curate"))],
    openapi_extra=openapi.with_scope("curate"),
)
async def get_deletions(request: Request) -> Response:
    """List them by id, time and number of faces, oldest first."""
    service = service_of(request)
    service.require_runner()
    assert service.dataset is not None, "where there are jobs there is a dataset"
    found = await asyncio.to_thread(list_deletions, service.dataset)
    names = ("deletion_id", "deleted_at", "num_faces")
    return json_response(
        {"deletions": [{name: getattr(one, name) for name in names} for one in found]}
    )


@router.post(
    "/undo",
    operation_id="undo",
    summary="Take a deletion or a decision about people back",
    status_code=202,
    response_class=Response,
    responses={
        200: {"model": people_answers.DecisionAnswer, "description": "A decision is taken back."},
        **ACCEPTED,
    },
    dependencies=[Depends(needs("curate"))],
    openapi_extra=openapi.with_scope("curate", openapi.json_body(change_answers.UndoRequest)),
)
async def undo(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Have the faces of a deletion found again by a job, as long as no purge has made it final; or
    take a decision about people back at once."""
    asked = await read_json(request, change_answers.UndoRequest)
    if (asked.id is None) == (asked.deletion_id is None):
        raise RefusedError(422, "nothing_selected", "give `id`, of a deletion or a decision")
    undone = asked.id or asked.deletion_id or ""
    if DECISION_ID.fullmatch(undone) is None:
        return await begin(request, "undo", {"deletion_id": undone}, idempotency_key)
    return await decided(request, undone, lambda book: undo_decision(book, undone), idempotency_key)


@changes(
    "/purge",
    "purge",
    "Make deletions final",
    "admin",
    openapi.json_body(change_answers.PurgeRequest),
)
async def purge(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Remove every byte of deleted faces from the dataset, the index, the uploads and the jobs; the
    job's result is the report."""
    asked = await read_json(request, change_answers.PurgeRequest)
    return await begin(request, "purge", asked.model_dump(), idempotency_key)


@changes(
    "/people/group",
    "group_people",
    "Group faces by person",
    "enrol",
    openapi.json_body(people_answers.GroupRequest),
)
async def group_people(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Group the faces of the index by person, in agreement with what was decided; the job's result
    says how many people there are."""
    asked = await read_json(request, people_answers.GroupRequest)
    return await begin(request, "group", asked.model_dump(), idempotency_key)


@changes(
    "/index/calibrate",
    "calibrate",
    "Measure the false-positive rate of the index",
    "admin",
    openapi.json_body(change_answers.CalibrateRequest),
)
async def calibrate(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Measure how similar strangers look in this index, and store that in it."""
    asked = await read_json(request, change_answers.CalibrateRequest)
    return await begin(request, "calibrate", asked.model_dump(), idempotency_key)


@changes("/index/verify", "verify", "Check that the index is intact", "admin", None)
async def verify(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Read every byte of the index, and compare it with the dataset."""
    await request.body()
    return await begin(request, "verify", {}, idempotency_key)


@changes("/index/compact", "compact", "Rewrite the index as one segment", "admin", None)
async def compact(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Rewrite the index without faces that are deleted or out of date."""
    await request.body()
    return await begin(request, "compact", {}, idempotency_key)


@router.post(
    "/index/refresh",
    operation_id="refresh",
    tags=["index"],
    summary="Open the newest version of the index",
    response_model=answers.RefreshAnswer,
    dependencies=[Depends(needs("admin"))],
    openapi_extra=openapi.with_scope("admin"),
)
async def refresh(request: Request) -> Response:
    """Look for a newer version now; the server does so by itself twice a second."""
    await request.body()
    service = service_of(request)
    refreshed = await service.refresh()
    manifest = service.gallery.current.manifest
    return json_response(
        {
            "refreshed": refreshed,
            "version": manifest.version,
            "num_faces": manifest.num_faces,
        }
    )
