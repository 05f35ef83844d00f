"""The operations that search, compare, detect and embed."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request, Response

from faces.dataset.people_decisions import MAX_PERSON
from faces.models.face import Face
from facetrove.comparison import FAR
from facetrove.service import answers, openapi, people_answers
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import (
    ARROW,
    JSON,
    MULTIPART,
    embeddings_of,
    kind_of,
    parse_json,
    parse_query,
    read_arrow_probes,
    read_form,
    read_json,
    wrong_kind,
)
from facetrove.service.common import json_response, service_of
from facetrove.service.joint import (
    box_json,
    comparison_json,
    detected_json,
    joint_of,
    numbered_faces,
    person_comparison_json,
)
from facetrove.service.people import people_json
from facetrove.service.people_answers import PersonNumber
from facetrove.service.probing import ProbePhoto
from facetrove.service.refusals import RefusedError, no_such_face, too_large
from facetrove.service.searching import Lookup, Rows
from facetrove.service.service import Service
from search.answering import Query as Conditions
from search.listing import faces_at
from search.one_per import OnePer
from search.searcher import FaceSearcher

K = Annotated[int | None, Query(ge=1, le=10**9, description="Matches for each face.")]
Fpir = Annotated[
    float | None,
    Query(gt=0, lt=1, description="Share of searches for strangers that may return a match."),
]
MinSimilarity = Annotated[float | None, Query(ge=-1, le=1, description="Least similarity.")]
OnePerQuery = Annotated[OnePer | None, Query(description="Only the best match of each.")]
FaceRank = Annotated[
    int | None,
    Query(ge=1, le=10_000, description="Rank by size of the one face to take in each photo."),
]

router = APIRouter(prefix="/v1", tags=["search"], responses=answers.ERRORS)


async def conditions(
    k: K = None,
    fpir: Fpir = None,
    min_similarity: MinSimilarity = None,
    one_per: OnePerQuery = None,
) -> Conditions:
    """Return the conditions in a request's query; its filter stands in the body."""
    return Conditions(k, None, min_similarity, one_per, fpir)


Asked = Annotated[Conditions, Depends(conditions)]

_ARROW_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": answers.SearchAnswer,
        "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}},
        "description": "The matches; as an Arrow stream where one was sent.",
    }
}


@router.post(
    "/search",
    operation_id="search",
    summary="Find the faces most similar to those of photos, to embeddings or to a face",
    responses=_ARROW_ANSWER,
    dependencies=[Depends(needs("search"))],
    openapi_extra=openapi.with_scope(
        "search",
        {
            **openapi.search_body(),
            "parameters": openapi.query_parameters(answers.SearchQuery),
        },
    ),
)
async def search(request: Request) -> Response:
    """Search by photos (multipart), by embeddings or a face id (JSON), or by an Arrow stream."""
    asked = parse_query(request, answers.SearchQuery)
    query = Conditions(asked.k, None, asked.min_similarity, asked.one_per, asked.fpir)
    kind = kind_of(request)
    if kind == MULTIPART:
        return await _search_photos(request, query, asked.face, together=asked.together)
    if asked.face is not None or asked.together:
        raise RefusedError(422, "only_photos", "face and together are for photos; leave them out")
    if kind == ARROW:
        return await _search_arrow(request, query)
    if kind == JSON:
        return await _search_json(request, query)
    raise wrong_kind(MULTIPART, JSON, ARROW)


async def _search_photos(
    request: Request, query: Conditions, face: int | None, *, together: bool
) -> Response:
    service = service_of(request)
    form = await read_form(request, max_photos=service.options.limits.max_photos, fields=("where",))
    query = _with_filter(query, form.fields.get("where"))
    searcher = service.gallery.current
    photos = await service.finder.find(form.photos)
    ranks = 1 if together and face is None else face
    found = [
        (number, rank, one, len(photo.faces))
        for number, photo in enumerate(photos, start=1)
        for rank, one in numbered_faces(photo, ranks, f"photo {number}")
    ]
    described = [
        {
            "photo": number,
            "box": box_json(one),
            "score": one.score,
            "number": rank,
            "num_faces": count,
        }
        for number, rank, one, count in found
    ]
    faces = [one for _, _, one, _ in found]
    extra: dict[str, Any] = {}
    if together:
        embeddings, lowest = joint_of(faces)
        extra = {"together": described, "min_similarity": lowest}
        described = [{}]
    else:
        embeddings = np.array([one.embedding for one in faces], np.float32)
        embeddings = embeddings.reshape(-1, searcher.contract.dimension)
    asked_of(request).counts["photos"] = len(photos)
    return await _answer(request, service, searcher, query, embeddings, described, extra)


async def _search_json(request: Request, query: Conditions) -> Response:
    service = service_of(request)
    asked = await read_json(request, answers.SearchRequest)
    if (asked.embeddings is None) == (asked.face_id is None):
        raise RefusedError(422, "no_probe", "send either `embeddings` or `face_id`")
    query = _with_filter(query, asked.where)
    searcher = service.gallery.current
    if asked.face_id is not None:
        return await similar_to(request, searcher, asked.face_id, query)
    most = service.options.limits.max_embeddings
    if len(asked.embeddings or ()) > most:
        raise too_large("max_embeddings", f"send at most {most:,} embeddings at a time")
    embeddings = embeddings_of(asked.embeddings, searcher.contract.dimension)
    return await _answer(request, service, searcher, query, embeddings, None, {})


async def similar_to(
    request: Request, searcher: FaceSearcher, face_id: str, query: Conditions
) -> Response:
    """Answer with the faces most similar to a face of the index."""
    service = service_of(request)
    if await asyncio.to_thread(lambda: searcher.snapshot.position_of(face_id)) is None:
        raise no_such_face()
    query = service.searches.within_limits(query, searcher, 1)
    rows = await service.searches.rows(Lookup(searcher, query, face_id=face_id))
    return _response(request, searcher, query, rows, None, {})


async def _answer(
    request: Request,
    service: Service,
    searcher: FaceSearcher,
    query: Conditions,
    embeddings: Any,
    described: list[dict[str, Any]] | None,
    extra: dict[str, Any],
) -> Response:
    """Look embeddings up, and answer with their matches beside what describes each probe."""
    query = service.searches.within_limits(query, searcher, len(embeddings))
    rows: Rows = []
    if len(embeddings):
        rows = await service.searches.rows(Lookup(searcher, query, embeddings))
    elif query.fpir is not None:
        searcher.threshold(query.fpir)  # tells that there is none, as with a face
    return _response(request, searcher, query, rows, described, extra)


def _response(
    request: Request,
    searcher: FaceSearcher,
    query: Conditions,
    rows: Rows,
    described: list[dict[str, Any]] | None,
    extra: dict[str, Any],
) -> Response:
    counts = asked_of(request).counts
    counts |= {"probes": len(rows), "matches": sum(map(len, rows))}
    rates = searcher.rates
    probes = [
        {**probe, "matches": matches}
        for probe, matches in zip(described or [{}] * len(rows), rows, strict=True)
    ]
    return json_response(
        {
            "version": searcher.manifest.version,
            "num_faces": len(searcher),
            "fpir_basis": rates.basis,
            "fpir_explanation": rates.explanation,
            "threshold": None if query.fpir is None else searcher.threshold(query.fpir),
            "max_matches": query.k,
            **extra,
            "probes": probes,
        }
    )


async def _search_arrow(request: Request, query: Conditions) -> Response:
    service = service_of(request)
    searcher = service.gallery.current
    content = await request.body()
    probes = await asyncio.to_thread(
        read_arrow_probes,
        content,
        searcher.contract.dimension,
        max_embeddings=service.options.limits.max_embeddings,
    )
    query = _with_filter(query, probes.where)
    query = service.searches.within_limits(query, searcher, len(probes.embeddings))
    table = await service.searches.table(Lookup(searcher, query, probes.embeddings))
    asked_of(request).counts |= {"probes": len(probes.embeddings), "matches": len(table)}
    stream = await asyncio.to_thread(_as_stream, table, searcher)
    return Response(stream, media_type=ARROW)


def _as_stream(table: pa.Table, searcher: FaceSearcher) -> bytes:
    metadata = {"version": str(searcher.manifest.version), "num_faces": str(len(searcher))}
    sink = io.BytesIO()
    table = table.replace_schema_metadata(metadata)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _with_filter(query: Conditions, where: str | None) -> Conditions:
    if where is None:
        return query
    checked = parse_json_filter(where)
    return Conditions(query.k, checked, query.min_similarity, query.one_per, query.fpir)


def parse_json_filter(where: str) -> str:
    """Return the text of a filter, unless it is too long or empty."""
    if not where.strip() or len(where) > openapi.MAX_FILTER:
        raise RefusedError(
            422, "bad_filter", "where is empty or over 10,000 characters; leave it out, or shorten"
        )
    return where


@router.post(
    "/detect",
    dependencies=[Depends(needs("search"))],
    operation_id="detect",
    summary="Find the faces of photos",
    response_model=answers.DetectAnswer,
    openapi_extra=openapi.with_scope("search", openapi.multipart_body()),
)
async def detect(request: Request) -> Response:
    """Return boxes, landmarks and quality of each face, the largest of each photo first."""
    return await _detected(request, with_embeddings=False)


@router.post(
    "/embed",
    dependencies=[Depends(needs("search"))],
    operation_id="embed",
    summary="Find and embed the faces of photos",
    response_model=answers.DetectAnswer,
    openapi_extra=openapi.with_scope("search", openapi.multipart_body()),
)
async def embed(request: Request) -> Response:
    """Return what `detect` does, and each face's embedding by the models of the index."""
    return await _detected(request, with_embeddings=True)


async def _detected(request: Request, *, with_embeddings: bool) -> Response:
    service = service_of(request)
    form = await read_form(request, max_photos=service.options.limits.max_photos, fields=())
    photos = await service.finder.find(form.photos)
    contract = service.gallery.current.contract
    asked_of(request).counts |= {
        "photos": len(photos),
        "faces": sum(len(photo.faces) for photo in photos),
    }
    return json_response(
        {
            "detector": contract.detector,
            "embedder": contract.embedder if with_embeddings else None,
            "photos": [detected_json(photo, with_embeddings=with_embeddings) for photo in photos],
        }
    )


_PERSON: dict[str, Any] = {
    "person_id": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_PERSON,
        "description": "Number of the person with whose faces the one photo is compared.",
    }
}


@router.post(
    "/compare",
    dependencies=[Depends(needs("search"))],
    operation_id="compare",
    summary="Say whether two photos show the same person, or a photo a person",
    response_model=people_answers.ComparisonAnswer,
    openapi_extra=openapi.with_scope("search", openapi.multipart_body(_PERSON)),
)
async def compare(
    request: Request,
    far: Annotated[
        float, Query(gt=0, lt=1, description="False accept rate of the decision.")
    ] = FAR,
    face: FaceRank = None,
) -> Response:
    """Compare the largest faces of two photos, or those of a rank; or that of one photo with all
    faces of a person, of which the most similar counts. Admit or refuse."""
    service = service_of(request)
    form = await read_form(request, max_photos=2, fields=("person_id",))
    person = form.fields.get("person_id")
    if len(form.photos) != (2 if person is None else 1):
        raise RefusedError(
            422,
            "not_two_photos",
            "send two photos as the files `photo`; or one, and the field `person_id`",
        )
    number = None if person is None else parse_json(person, PersonNumber).root
    photos = await service.finder.find(form.photos)
    chosen = [
        (photo, *numbered_faces(photo, face or 1, f"photo {number}")[0])
        for number, photo in enumerate(photos, start=1)
    ]
    asked_of(request).counts["photos"] = len(photos)
    if number is not None:
        return await _compare_with_person(request, chosen[0], number, far)
    manifest = service.gallery.current.manifest
    return json_response(comparison_json(chosen[0], chosen[1], manifest, far))


async def _compare_with_person(
    request: Request, probe: tuple[ProbePhoto, int, Face], number: int, far: float
) -> Response:
    """Compare a face with those of a person, and answer with the comparison."""
    served = service_of(request).require_people()
    asked_of(request).people = (number,)

    def compared() -> dict[str, Any]:
        people = served.now()
        slot = people.slot(number)
        rows = people.roster.rows_of(slot)
        if not len(rows):
            raise RefusedError(
                422, "no_enrolled_face", f"person {number} has no face; enrol a photo first"
            )
        manifest = people.searcher.manifest
        embeddings = people.snapshot.embeddings(rows)
        found, best = person_comparison_json(probe, embeddings, manifest, far)
        nearest = faces_at(people.snapshot, rows[best : best + 1])[0]
        (person,) = people_json(people, [slot])
        return {**found, "person": person, "nearest": nearest.to_json()}

    return json_response(await asyncio.to_thread(compared))
