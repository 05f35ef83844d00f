"""The OpenAPI document: what FastAPI makes of the operations, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from facetrove.service.answers import SearchRequest
from facetrove.service.bodies import ARROW, JSON, MULTIPART

DESCRIPTION = """Face search over HTTP: the vocabulary is that of the Python package `facetrove`.

Where the server needs keys, send `Authorization: Bearer KEY`; `x-scope` names the scope that an
operation needs. Every error has one form, `{"error": {"code", "message", "request_id"}}`. What
changes the dataset or the index is a job: `202`, with its address in the header `Location`. A
decision about people is done when it is answered. Send an `Idempotency-Key` with either, to be able
to send the same request again.
"""

_PHOTO = {"type": "string", "format": "binary", "description": "A photo file."}


def multipart_schema(
    fields: dict[str, Any] | None = None, *, several: bool = True
) -> dict[str, Any]:
    """Return the description of a form of photos, with further fields by their names."""
    photo = {"type": "array", "items": _PHOTO, "minItems": 1} if several else _PHOTO
    return {
        "schema": {
            "type": "object",
            "properties": {"photo": photo, **(fields or {})},
            "required": ["photo"],
            "additionalProperties": False,
        },
        "encoding": {"photo": {"contentType": "image/*"}},
    }


def multipart_body(fields: dict[str, Any] | None = None, *, several: bool = True) -> dict[str, Any]:
    """Return the description of a request whose body is a form of photos."""
    content = {MULTIPART: multipart_schema(fields, several=several)}
    return {"requestBody": {"required": True, "content": content}}


def model_schema(model: type[Any]) -> dict[str, Any]:
    """Return the schema of a request's model, whole."""
    schema: dict[str, Any] = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


def json_body(model: type[Any]) -> dict[str, Any]:
    """Return the description of a request whose body is JSON."""
    return {
        "requestBody": {"required": True, "content": {JSON: {"schema": model_schema(model)}}},
    }


MAX_FILTER = 10_000
"""Maximum number of characters of a filter."""


def query_parameters(model: type[Any]) -> list[dict[str, Any]]:
    """Return the description of a request's query, by its model."""
    found = []
    for name, schema in model_schema(model)["properties"].items():
        description = schema.pop("description", "")
        found.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": schema,
            }
        )
    return found


WHERE: dict[str, Any] = {
    "where": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_FILTER,
        "description": "A condition on faces as in SQL's WHERE, such as `person = 'Ann'`.",
    }
}


def search_body() -> dict[str, Any]:
    """Return the description of a search's body: photos, JSON or an Arrow stream."""
    example = {"face_id": "9b1f" + "0" * 28, "where": "person = 'Ann'"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: multipart_schema(WHERE),
                JSON: {"schema": model_schema(SearchRequest), "example": example},
                ARROW: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "A stream without compression whose column `embedding` is a "
                        "fixed-size list of float32; the metadata `where` of its schema may be a "
                        "filter.",
                    }
                },
            },
        }
    }


def with_scope(scope: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return further parts of an operation's description, with the scope that it needs."""
    return {**(extra or {}), "x-scope": scope, "security": [{}, {"key": []}]}


def document_of(app: FastAPI, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    document = get_openapi(
        title="facetrove",
        version=version,
        openapi_version="3.1.0",
        summary="Face search over HTTP",
        description=DESCRIPTION,
        routes=app.routes,
        tags=[
            {"name": "search", "description": "Search, compare, detect and embed."},
            {"name": "faces", "description": "Read faces and photos of the index."},
            {"name": "people", "description": "Who is who, and decisions about it."},
            {"name": "watches", "description": "Saved probes, for faces that are still to come."},
            {"name": "index", "description": "The index in force."},
            {"name": "changes", "description": "Jobs that change the dataset and the index."},
            {"name": "jobs", "description": "How far jobs are."},
            {"name": "operation", "description": "For whoever runs the server."},
        ],
    )
    schemes = {"key": {"type": "http", "scheme": "bearer", "description": "A key of the server."}}
    document.setdefault("components", {})["securitySchemes"] = schemes
    return document
