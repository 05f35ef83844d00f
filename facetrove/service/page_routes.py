"""The page for people: its files, which are part of the package, and the policy that binds them.

The files hold nothing of anybody, so that they need no key; all that the page shows it asks the
operations for. It is plain HTML, CSS and ES modules, served as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from facetrove.service.guard import OPEN_PREFIX
from facetrove.service.refusals import RefusedError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("page")

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Content types of the page's files by their endings; other files are not served."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content security policy of the page: its own files alone; `blob:` for pictures that are asked for
with a key. With trusted types, text can never become markup or script."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
"""Headers of the page's files: a browser keeps them, and asks each time whether they are new."""


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its content.
        kind: its content type.
        tag: its entity tag.
    """

    content: bytes
    kind: str
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """Return the page's files by their names in the folder, such as `views/search.js`."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in KINDS:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(FOLDER).as_posix()
            found[name] = PageFile(content, KINDS[path.suffix], tag)
    return found


@router.get("/")
async def get_page(request: Request) -> Response:
    """Return the page."""
    return _answer(request, "index.html")


@router.get(OPEN_PREFIX + "{name:path}")
async def get_page_file(request: Request, name: str) -> Response:
    """Return a file of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise RefusedError(404, "no_such_path", "the page has no such file; reload it")
    headers = {**HEADERS, "ETag": found.tag}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.kind, headers=headers)
