"""The operations for whoever runs the server: health, measures, and the documentation."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode

from fastapi import APIRouter, Request, Response

from faces.core.errors import FaceTroveError
from facetrove.service import answers, openapi
from facetrove.service.access import allows, asked_of
from facetrove.service.common import json_response, service_of
from facetrove.service.docs_page import STYLE, docs_page
from facetrove.service.keys import SCOPES
from facetrove.service.metrics import TEXT_FORMAT
from indexer.manifest import current_line

router = APIRouter(tags=["operation"])


@router.get(
    "/livez",
    operation_id="livez",
    summary="Tell whether the server runs",
    response_model=answers.HealthAnswer,
)
async def livez() -> Response:
    """Answer as long as the server does."""
    return json_response({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Tell whether the server can search",
    response_model=answers.HealthAnswer,
    responses={503: {"model": answers.HealthAnswer, "description": "It cannot search."}},
)
async def readyz(request: Request) -> Response:
    """Answer 200 as long as the index in force is there."""
    index = service_of(request).options.index
    try:
        is_there = await asyncio.to_thread(current_line, index) is not None
    except (FaceTroveError, OSError):
        is_there = False
    status = "ok" if is_there else "not ready"
    return json_response({"status": status}, status=200 if is_there else 503)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Read the measures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Measures.",
        },
        401: answers.ERRORS[401],
    },
)
async def metrics(request: Request) -> Response:
    """Return requests, latencies, queues, faces, versions and jobs. Any key may read them."""
    service = service_of(request)
    service.metrics.working.set(service.admission.num_working)
    return Response(service.metrics.text(), headers={"Content-Type": TEXT_FORMAT})


@router.get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request) -> Response:
    """Return the OpenAPI document."""
    return json_response(request.app.openapi())


@router.get(
    "/v1/me",
    operation_id="get_me",
    summary="Tell what this client may do",
    response_model=answers.MeAnswer,
    responses=answers.ERRORS,
    openapi_extra=openapi.with_scope("any"),
)
async def get_me(request: Request) -> Response:
    """Return the key's name and scopes, and what the server can do for them."""
    asked, service = asked_of(request), service_of(request)
    enrols = service.runner is not None and allows(request, "enrol")
    folders = service.options.folders if enrols else ()
    return json_response(
        {
            "name": asked.owner or None,
            "needs_key": asked.has_key,
            "scopes": [scope for scope in SCOPES if allows(request, scope)],
            "jobs": service.runner is not None,
            "uploads": enrols and service.uploads is not None,
            "folders": [str(folder.absolute()) for folder in folders],
            "max_k": service.options.limits.max_k,
            "max_photo_bytes": service.options.limits.photo.max_bytes,
            "max_request_bytes": service.options.limits.max_request_bytes,
        }
    )


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Return the documentation as one page, which loads nothing."""
    digest = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = docs_page(request.app.openapi())
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})
