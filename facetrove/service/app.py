"""The application: the operations, the errors that they answer, and the guard around all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import facetrove
from faces.core.errors import FaceTroveError
from faces.photos.rejection import PhotoRejectedError
from facetrove.service import (
    change_routes,
    collection_routes,
    face_routes,
    job_routes,
    page_routes,
    people_decision_routes,
    people_routes,
    search_routes,
    status_routes,
    watch_routes,
)
from facetrove.service.access import needs
from facetrove.service.common import json_response
from facetrove.service.guard import App, Guard, Receive, Send, log_failure
from facetrove.service.openapi import document_of
from facetrove.service.probing import unusable_photo
from facetrove.service.refusals import RefusedError
from facetrove.service.service import Service

_HTTP_CODES = {404: "no_such_path", 405: "wrong_method"}


def make_app(service: Service | None) -> FastAPI:
    """Return the application of a service, without the guard.

    Args:
        service: the service; None: for the OpenAPI document alone.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is not None:
            service.start()
        yield
        if service is not None:
            await service.stop()

    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (
        search_routes,
        face_routes,
        collection_routes,
        people_routes,
        people_decision_routes,
        watch_routes,
        change_routes,
        job_routes,
        status_routes,
        page_routes,
    ):
        app.include_router(routes.router)
    _add_errors(app)
    document: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not document:
            document.append(document_of(app, facetrove.__version__))
        return document[0]

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def guarded(app: FastAPI, service: Service) -> Guard:
    """Return the application with the guard around it."""
    return Guard(
        app,
        service.options.limits,
        service.admission,
        service.origins,
        service.keys,
        service.metrics,
        service.audit,
        service.hidden,
        {("POST", "/v1/search"): _direct(app, "search", search_routes.search)},
    )


def _direct(app: FastAPI, name: str, operation: Callable[[Request], Awaitable[Response]]) -> App:
    """Return an application that answers one operation, which takes nothing but the request."""
    routes = search_routes.router.routes
    (route,) = (one for one in routes if getattr(one, "operation_id", None) == name)
    require_scope = needs("search")

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        scope["app"], scope["route"] = app, route
        request = Request(scope, receive, send)
        try:
            await require_scope(request)
            response = await operation(request)
        except Exception as error:
            response = error_answer(request, error)
        await response(scope, receive, send)

    return answer


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of the service."""
    return make_app(None).openapi()


def _add_errors(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> Response:
        return error_answer(request, error)

    kinds = (RefusedError, FaceTroveError, PhotoRejectedError, RequestValidationError)
    for kind in (*kinds, ClientDisconnect, HTTPException, MemoryError, Exception):
        app.add_exception_handler(kind, answer)


def error_answer(request: Request, error: Exception) -> Response:
    """Return the answer that stands for an error."""
    refusal = _refusal_of(request, error)
    asked = request.state.asked
    if refusal.status >= 500 and refusal.code != "busy":
        log_failure(asked.request_id, error)
    return json_response(
        refusal.to_json(asked.request_id), status=refusal.status, headers=refusal.headers
    )


def _refusal_of(request: Request, error: Exception) -> RefusedError:
    if isinstance(error, ClientDisconnect):
        return RefusedError(400, "client_gone", "the client ended the connection")
    if isinstance(error, PhotoRejectedError):
        return unusable_photo(error, 1)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:])) or "the request"
        kind = first["type"].replace("_", " ")
        return RefusedError(422, "invalid_request", f"{place}: {kind}; see /docs")
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.status_code, "bad_request")
        message = "there is no such operation; /docs lists all"
        headers = dict(error.headers or {})
        return RefusedError(error.status_code, code, message, headers=headers)
    service: Service = request.app.state.service
    return service.hidden.refusal_of(error)
