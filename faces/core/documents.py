"""JSON documents: read by a typed model, and written so that what is written is always JSON.

A model is a dataclass whose fields have types and, by `msgspec.Meta`, ranges; `parse` holds a
document to all of them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from faces.core.errors import CorruptFileError, first_line

if TYPE_CHECKING:
    from faces.core.storage import Folder

Count = Annotated[int, Meta(ge=0, le=10**15)]
"""A number of things, or of bytes, that a machine could have."""

VersionNumber = Annotated[int, Meta(ge=1, le=10**9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Duration = Annotated[float, Meta(ge=0)]
"""A time in seconds or milliseconds, or a rate; finite, as all numbers of a document are."""

Kind = TypeVar("Kind")


def parse(content: bytes | str, kind: type[Kind]) -> Kind:
    """Return the document that JSON holds, as a value of a dataclass or another type.

    Args:
        content: the JSON.
        kind: the type; a field without a default must be there, and no field that it lacks.

    Raises:
        ValueError: it is no JSON, or holds something else. NaN and infinity are no JSON. The
            message says where.
    """
    try:
        found = msgspec.json.decode(content, type=kind)
        _require_known_fields(msgspec.json.decode(content), msgspec.to_builtins(found), "$")
    except (RecursionError, UnicodeError) as error:
        raise ValueError(first_line(error)) from error
    return found


def document_of(folder: Folder, name: str, content: bytes, kind: type[Kind]) -> Kind:
    """Return the document in a file whose content was read.

    Args:
        folder: the folder of the file.
        name: name of the file, for the error message.
        content: the file's content.
        kind: the document's type, see `parse`.

    Raises:
        CorruptFileError: the file holds no such document.
    """
    try:
        return parse(content, kind)
    except ValueError as error:
        raise CorruptFileError(
            f"{folder.at(name)} cannot be read by this version of facetrove ({first_line(error)}); "
            f"{folder.remedy}"
        ) from error


def json_text(document: Any) -> str:
    """Return a document as indented JSON; numbers that are not finite become null."""
    try:
        return json.dumps(document, indent=2, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return a JSON value with null in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(found) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(found) for found in value]
    return value


def _require_known_fields(found: Any, known: Any, place: str) -> None:
    """Raise ValueError for a field of a document that its model lacks, which is none of ours."""
    if isinstance(found, dict) and isinstance(known, dict):
        for name, value in found.items():
            if name not in known:
                raise ValueError(f"there is no field {name!r} - at `{place}`")
            _require_known_fields(value, known[name], f"{place}.{name}")
    elif isinstance(found, list) and isinstance(known, list | tuple):
        for number, (value, of_model) in enumerate(zip(found, known, strict=True)):
            _require_known_fields(value, of_model, f"{place}[{number}]")
