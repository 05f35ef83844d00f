"""What the operations have in common."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request, Response

from facetrove.service.bodies import JSON
from facetrove.service.refusals import RefusedError
from facetrove.service.service import Service


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


def no_such_face() -> RefusedError:
    """Return the refusal of a face id that the index does not have."""
    return RefusedError(
        404, "no_such_face", "the index holds no face of this id; search again for a current one"
    )
