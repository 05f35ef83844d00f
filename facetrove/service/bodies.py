"""The bodies of requests: multipart forms, JSON and Arrow streams, read in memory and bounded."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from fastapi import Request
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from faces.core.arrow_checks import require_values
from faces.core.vectors import has_unit_length
from facetrove.service.refusals import RefusedError, too_large

JSON, MULTIPART = "application/json", "multipart/form-data"
ARROW = "application/vnd.apache.arrow.stream"

MAX_FIELD_BYTES = 100_000
"""Maximum size in bytes of a field of a form that is no photo."""

MAX_FIELDS = 16

MAX_JSON_BYTES = 20_000_000
"""Maximum size in bytes of a JSON document; many embeddings are smaller as an Arrow stream."""

LARGE_JSON_BYTES = 100_000
"""Size in bytes from which on JSON is read in a thread: it takes milliseconds."""

_DICTIONARY, _RECORDS = 2, 3
"""Types of messages in an Arrow stream, by the format's Message.fbs."""

Model = TypeVar("Model", bound=BaseModel)


class _InMemory(MultiPartParser):
    """A parser that keeps photos in memory: nothing that is sent in is written unasked."""

    spool_max_size = 2**62


@dataclass(frozen=True)
class Form:
    """A multipart form.

    Attributes:
        photos: contents of the files, in their order.
        fields: the other fields.
    """

    photos: tuple[bytes, ...]
    fields: dict[str, str]


def kind_of(request: Request) -> str:
    """Return a request's content type, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def wrong_kind(*kinds: str) -> RefusedError:
    """Return the refusal of a content type that an operation does not take."""
    return RefusedError(415, "wrong_content_type", f"send {' or '.join(kinds)}")


async def read_form(request: Request, *, max_photos: int, fields: tuple[str, ...]) -> Form:
    """Read a multipart form of photos.

    Args:
        request: the request.
        max_photos: maximum number of photos.
        fields: names of the other fields that the form may have.

    Raises:
        RefusedError: it is no such form, has no photo or too many.
    """
    if kind_of(request) != MULTIPART:
        raise wrong_kind(MULTIPART)
    # The whole body first: what is parsed is bounded by what the guard has let through.
    content = await request.body()

    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    parser = _InMemory(
        request.headers,
        stream(),
        max_files=max_photos + 1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError, UnicodeError) as error:
        if "Too many files" in str(error):
            raise _too_many_photos(max_photos) from error
        raise RefusedError(
            400, "bad_form", "the multipart form cannot be read; send photos as files"
        ) from error
    try:
        return await _checked_form(form, max_photos=max_photos, fields=fields)
    finally:
        await form.close()


async def _checked_form(form: FormData, *, max_photos: int, fields: tuple[str, ...]) -> Form:
    photos: list[bytes] = []
    values: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "photo":
                raise RefusedError(422, "unknown_field", "send photos in the field `photo`")
            photos.append(await value.read())
        elif name not in fields or name in values:
            raise RefusedError(
                422,
                "unknown_field",
                f"send the file `photo`, and once each: {', '.join(fields) or 'nothing else'}",
            )
        else:
            values[name] = value
    if not photos:
        raise RefusedError(422, "no_photo", "send a photo as the file `photo`")
    if len(photos) > max_photos:
        raise _too_many_photos(max_photos)
    return Form(tuple(photos), values)


def _too_many_photos(max_photos: int) -> RefusedError:
    return too_large("max_photos", f"send at most {max_photos} photos at a time")


async def read_json(request: Request, model: type[Model]) -> Model:
    """Read a JSON document.

    Raises:
        RefusedError: it is no such document.
    """
    if kind_of(request) != JSON:
        raise wrong_kind(JSON)
    content = await request.body()
    if len(content) > MAX_JSON_BYTES:
        raise too_large("max_json", "the JSON is over 20 MB; send embeddings as an Arrow stream")
    if len(content) > LARGE_JSON_BYTES:
        return await asyncio.to_thread(parse_json, content, model)
    return parse_json(content, model)


def parse_query(request: Request, model: type[Model]) -> Model:
    """Return a request's query.

    Raises:
        RefusedError: a value cannot be used.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise _invalid(error) from error


def parse_json(content: bytes | str, model: type[Model]) -> Model:
    """Return the document that JSON holds.

    Raises:
        RefusedError: it is no such document; the message says where, and repeats no value.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> RefusedError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"])) or "the document"
    status = 400 if first["type"] == "json_invalid" else 422
    return RefusedError(
        status, "invalid_request", f"{place}: {first['type'].replace('_', ' ')}; correct it"
    )


def embeddings_of(values: object, dimension: int) -> NDArray[np.float32]:
    """Return embeddings that a client sent as (n, d) float32.

    Raises:
        RefusedError: they have another shape or length.
    """
    try:
        found = np.array(values, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise _wrong_embeddings(dimension) from error
    if found.ndim != 2 or found.shape[1] != dimension or not len(found):
        raise _wrong_embeddings(dimension)
    right = has_unit_length(found)
    if not right.all():
        raise RefusedError(
            422,
            "not_unit_length",
            f"embedding {int(np.argmin(right))} (from 0) does not have Euclidean length 1; divide "
            "each embedding by its norm",
        )
    return found


def _wrong_embeddings(dimension: int) -> RefusedError:
    return RefusedError(
        422,
        "wrong_embeddings",
        f"send a list of embeddings of {dimension} numbers each, made by the index's models",
    )


@dataclass(frozen=True)
class ArrowProbes:
    """The embeddings of an Arrow stream.

    Attributes:
        embeddings: (n, d) float32 of unit length.
        where: the filter in the metadata of the schema; None: there is none.
    """

    embeddings: NDArray[np.float32]
    where: str | None


def read_arrow_probes(content: bytes, dimension: int, *, max_embeddings: int) -> ArrowProbes:
    """Read a stream with a column `embedding`, a list of float32 in each row.

    Args:
        content: the stream.
        dimension: number of dimensions of the index's embeddings.
        max_embeddings: maximum number of rows.

    Raises:
        RefusedError: it is no such stream.
    """
    try:
        batches, where = _batches(content, dimension, max_embeddings)
        parts = [_matrix(batch, dimension) for batch in batches]
    except (pa.ArrowException, ValueError, KeyError, OSError, MemoryError, struct.error) as error:
        raise RefusedError(
            400, "bad_arrow", f"the Arrow stream cannot be read ({type(error).__name__})"
        ) from error
    if not parts:
        raise _wrong_embeddings(dimension)
    return ArrowProbes(embeddings_of(np.concatenate(parts), dimension), where)


def _batches(
    content: bytes, dimension: int, max_embeddings: int
) -> tuple[list[pa.RecordBatch], str | None]:
    """Return the record batches of a stream, and the filter in its schema's metadata."""
    buffer = pa.py_buffer(content)
    with pa.ipc.open_stream(buffer) as reader:
        schema = reader.schema
    if schema.field("embedding").type != pa.list_(pa.float32(), dimension):
        raise _wrong_embeddings(dimension)
    where = (schema.metadata or {}).get(b"where")
    batches, count = [], 0
    messages = pa.ipc.MessageReader.open_stream(buffer)
    messages.read_next_message()  # the schema
    for message in messages:
        if _header_of(message.metadata) != (_RECORDS, False):
            raise RefusedError(
                400,
                "bad_arrow",
                "write the stream without compression and without dictionaries",
            )
        batch = pa.ipc.read_record_batch(message, schema)
        count += batch.num_rows
        if count > max_embeddings:
            raise too_large(
                "max_embeddings", f"send at most {max_embeddings:,} embeddings at a time"
            )
        batches.append(batch)
    return batches, None if where is None else where.decode(errors="replace")


def _matrix(batch: pa.RecordBatch, dimension: int) -> NDArray[np.float32]:
    batch = batch.select(["embedding"])
    batch.validate(full=True)
    never_null = pa.schema([batch.schema.field("embedding").with_nullable(False)])
    require_values(batch, never_null)
    values = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float32).reshape(-1, dimension)


def _header_of(metadata: pa.Buffer) -> tuple[int, bool]:
    """Return the type of an Arrow message, and whether its buffers are compressed.

    Compressed buffers could unpack to any size, and Arrow has no limit for that. The metadata is a
    flatbuffer (https://flatbuffers.dev/internals): a table begins with the distance to its vtable,
    which has the places of its fields.
    """
    data = bytes(metadata)

    def field(table: int, number: int) -> int | None:
        vtable = table - struct.unpack_from("<i", data, table)[0]
        (size,) = struct.unpack_from("<H", data, vtable)
        slot = 4 + 2 * number
        (place,) = struct.unpack_from("<H", data, vtable + slot) if slot + 2 <= size else (0,)
        return table + place if place else None

    (message,) = struct.unpack_from("<I", data, 0)
    kind, header = field(message, 1), field(message, 2)
    if kind is None or header is None or data[kind] == _DICTIONARY:
        return _DICTIONARY, False
    table = header + struct.unpack_from("<I", data, header)[0]
    return data[kind], data[kind] == _RECORDS and field(table, 3) is not None
