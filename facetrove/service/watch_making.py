"""What a watch is made from: a photo, embeddings, a face of the index or a person."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import Request

from facetrove.service.access import asked_of
from facetrove.service.bodies import (
    JSON,
    MULTIPART,
    embeddings_of,
    kind_of,
    read_form,
    read_json,
    wrong_kind,
)
from facetrove.service.common import service_of
from facetrove.service.joint import numbered_faces
from facetrove.service.refusals import RefusedError, no_such_face, too_large
from facetrove.service.search_routes import parse_json_filter
from facetrove.service.watch_answers import WatchRequest
from facetrove.service.watch_records import NewWatch, Source, Watch
from facetrove.service.watches import Watches
from facetrove.service.watching import contract_text
from search.answering import joint_embedding
from search.searcher import FaceSearcher

MAX_PROBE_FACES = 1_000
"""Maximum number of embeddings, or of faces of a person, that make one probe."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a watch that stand in the query of its request.

    Attributes:
        fpir: false-positive identification rate, (0, 1).
        face: rank by size of the face of the photo; None: the photo has one face.
        idempotency_key: the client's name for this request; None: it has none.
    """

    fpir: float
    face: int | None
    idempotency_key: str | None


async def made_watch(request: Request, conditions: Conditions) -> Watch:
    """Make the watch that a request is for, or return the one that it made before.

    Raises:
        RefusedError: it cannot be made.
        WrongUsageError: the index has no threshold at this rate, or the filter is not valid.
    """
    kind = kind_of(request)
    if kind == MULTIPART:
        return await _from_photo(request, conditions)
    if kind == JSON:
        return await _from_json(request, conditions)
    raise wrong_kind(MULTIPART, JSON)


async def _from_photo(request: Request, conditions: Conditions) -> Watch:
    service = service_of(request)
    form = await read_form(request, max_photos=1, fields=("where",))
    where = form.fields.get("where")
    content = hashlib.sha256(form.photos[0]).hexdigest()
    new = await _begun(request, conditions, "photo", where, [conditions.face, content])
    if isinstance(new, Watch):
        return new
    (photo,) = await service.finder.find(form.photos)
    if conditions.face is None and len(photo.faces) > 1:
        raise RefusedError(
            422,
            "several_faces",
            f"the photo shows {len(photo.faces)} faces; say by `face` which one, 1 is the largest",
        )
    ((_, face),) = numbered_faces(photo, conditions.face or 1, "the photo")
    return await _watches(request).add(replace(new, probe=face.embedding))


async def _from_json(request: Request, conditions: Conditions) -> Watch:
    asked = await read_json(request, WatchRequest)
    given = {
        "embeddings": asked.embeddings,
        "face": asked.face_id,
        "person": asked.person_id,
    }
    sources: list[Source] = [name for name, value in given.items() if value is not None]  # type: ignore[misc]
    if len(sources) != 1:
        raise RefusedError(
            422, "no_probe", "send one of `embeddings`, `face_id` and `person_id`, or a photo"
        )
    if conditions.face is not None:
        raise RefusedError(422, "only_photos", "face is for a photo; leave it out")
    (source,) = sources
    new = await _begun(request, conditions, source, asked.where, given[source])
    if isinstance(new, Watch):
        return new
    new = await asyncio.to_thread(_with_probe, new, asked, service_of(request).gallery.current)
    return await _watches(request).add(new)


def _watches(request: Request) -> Watches:
    return service_of(request).require_watches()


async def _begun(
    request: Request, conditions: Conditions, source: Source, where: str | None, probe: Any
) -> NewWatch | Watch:
    """Return a watch without its probe, once all else is right; or the one made before."""
    service, watches, owner = service_of(request), _watches(request), asked_of(request).owner
    where = None if where is None else parse_json_filter(where)
    text = json.dumps([source, conditions.fpir, where, probe], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    key = conditions.idempotency_key
    same = await asyncio.to_thread(watches.store.same_request, owner, key, digest)
    if same is not None:
        return same
    await asyncio.to_thread(watches.store.require_room, service.options.limits.max_watches)
    searcher = service.gallery.current
    searcher.threshold(conditions.fpir)
    if where is not None:
        await asyncio.to_thread(lambda: searcher.snapshot.masks(where))
    return NewWatch(
        owner,
        source,
        conditions.fpir,
        where,
        contract_text(searcher.contract),
        idempotency_key=key,
        digest=digest,
    )


def _with_probe(new: NewWatch, asked: WatchRequest, searcher: FaceSearcher) -> NewWatch:
    """Return a watch with its probe, made of embeddings, a face or a person."""
    if asked.embeddings is not None:
        if len(asked.embeddings) > MAX_PROBE_FACES:
            raise too_large("max_embeddings", f"send at most {MAX_PROBE_FACES} embeddings")
        embeddings = embeddings_of(asked.embeddings, searcher.contract.dimension)
        probe = embeddings[0] if len(embeddings) == 1 else joint_embedding(embeddings)
        return replace(new, probe=probe)
    if asked.face_id is not None:
        if searcher.snapshot.position_of(asked.face_id) is None:
            raise no_such_face()
        return replace(new, faces=(asked.face_id,))
    assert asked.person_id is not None, "one of the three is given"
    person, faces = _faces_of_person(searcher, asked.person_id)
    return replace(new, faces=faces, person_id=person)


def _faces_of_person(searcher: FaceSearcher, person_id: int) -> tuple[int, list[str]]:
    """Return the number of a person, who may be merged, and the ids of the faces in the index."""
    snapshot = searcher.snapshot
    if snapshot.people is None or not snapshot.people.view.exists(person_id):
        raise RefusedError(
            404, "no_such_person", "there is no person of this number; search for a current one"
        )
    view = snapshot.people.view
    person = view.state.root(person_id)
    ids = view.faces_of(person)
    there = np.flatnonzero(snapshot.positions_of(ids) >= 0)[:MAX_PROBE_FACES]
    if not len(there):
        raise RefusedError(404, "no_such_face", "the index holds no face of this person")
    return person, [ids[number] for number in there.tolist()]
