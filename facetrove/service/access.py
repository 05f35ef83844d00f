"""What an operation needs of the key: its scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

from facetrove.service.guard import Asked
from facetrove.service.keys import Scope
from facetrove.service.refusals import RefusedError


def asked_of(request: Request) -> Asked:
    """Return what the guard knows of a request."""
    asked: Asked = request.state.asked
    return asked


def needs(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency of operations, which refuses keys without a scope."""

    async def require_scope(request: Request) -> None:
        asked = asked_of(request)
        if asked.has_key and (asked.key is None or not asked.key.allows(scope)):
            raise RefusedError(
                403,
                "wrong_scope",
                f"this key does not allow it; ask for a key with the scope {scope}",
            )

    return require_scope


def allows(request: Request, scope: Scope) -> bool:
    """Return whether a request may do what a scope covers."""
    asked = asked_of(request)
    return not asked.has_key or (asked.key is not None and asked.key.allows(scope))


def may_see(request: Request, owner: str) -> bool:
    """Return whether a request may see what a key made: its own, or with the scope admin all."""
    return owner == asked_of(request).owner or allows(request, "admin")


def seen_owner(request: Request) -> str | None:
    """Return whose things a request may list; None: everybody's."""
    return None if allows(request, "admin") else asked_of(request).owner
