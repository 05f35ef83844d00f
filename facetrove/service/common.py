"""What the operations have in common."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Header, Request, Response

from facetrove.service.bodies import JSON
from facetrove.service.service import Service

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Any name for this request: the same request with the same name is done once.",
    ),
]


def service_of(request: Request) -> Service:
    """Return the service that a request is for."""
    service: Service = request.app.state.service
    return service


def json_response(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a document as a response; numbers that are not finite become null."""
    content = msgspec.json.encode(document)
    return Response(content, status_code=status, media_type=JSON, headers=headers)
