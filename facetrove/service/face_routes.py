"""The operations that read faces, photos and the index."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from facetrove.service import answers, openapi
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import read_json
from facetrove.service.common import json_response, service_of
from facetrove.service.refusals import RefusedError, no_such_face, too_large
from facetrove.service.search_routes import Asked, similar_to
from facetrove.service.thumbnails import IndexedPhoto
from search.listing import ListedFace, find_face
from search.searcher import FaceSearcher

router = APIRouter(
    prefix="/v1", tags=["faces"], dependencies=[Depends(needs("search"))], responses=answers.ERRORS
)

FaceIdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$", description="Id of the face.")]
PhotoIdPath = Annotated[
    str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the photo's content.")
]
Side = Annotated[int, Query(ge=16, le=1024, description="Width and height in pixels.")]
LongerSide = Annotated[int, Query(ge=16, le=4096, description="Longer side in pixels.")]

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        "description": "A JPEG.",
    }
}

PHOTO_SIZE = "X-Photo-Size"
"""Header of a reduced photo: width x height in pixels of the whole one, which boxes refer to."""

_REDUCED: dict[int | str, dict[str, Any]] = {
    200: {
        **_JPEG[200],
        "headers": {
            PHOTO_SIZE: {
                "schema": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
                "description": "Width and height of the whole photo, which boxes refer to.",
            }
        },
    }
}


async def _face(request: Request, face_id: str) -> tuple[FaceSearcher, ListedFace]:
    searcher = service_of(request).gallery.current
    # In the thread, as the people book is read with the version.
    face = await asyncio.to_thread(lambda: find_face(searcher.snapshot, face_id))
    if face is None:
        raise no_such_face()
    return searcher, face


@router.get(
    "/faces/{face_id}",
    operation_id="get_face",
    summary="Read a face",
    response_model=answers.StoredFace,
    openapi_extra=openapi.with_scope("search"),
)
async def get_face(request: Request, face_id: FaceIdPath) -> Response:
    """Return a face of the index with its photo's columns."""
    _, face = await _face(request, face_id)
    return json_response(face.to_json())


@router.get(
    "/faces/{face_id}/thumbnail",
    operation_id="get_thumbnail",
    summary="See a face",
    response_class=Response,
    responses=_JPEG,
    openapi_extra=openapi.with_scope("search"),
)
async def get_thumbnail(request: Request, face_id: FaceIdPath, side: Side = 160) -> Response:
    """Cut a face out of its photo, as long as that has not changed since it was indexed."""
    searcher, face = await _face(request, face_id)
    thumbnails, photo = service_of(request).thumbnails, IndexedPhoto.of(face)
    found = await thumbnails.of_face(searcher.line, face_id, photo, box=face.box, side=side)
    return Response(found.content, media_type="image/jpeg")


@router.get(
    "/faces/{face_id}/similar",
    operation_id="similar_faces",
    summary="Find the faces most similar to a face",
    response_model=answers.SearchAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def similar_faces(request: Request, face_id: FaceIdPath, query: Asked) -> Response:
    """Search by a face of the index; it itself is left out. A filter goes with POST /v1/search."""
    return await similar_to(request, service_of(request).gallery.current, face_id, query)


@router.post(
    "/faces/list",
    operation_id="list_faces",
    summary="List the faces that match a filter",
    response_model=answers.ListAnswer,
    openapi_extra=openapi.with_scope("search", openapi.json_body(answers.ListRequest)),
)
async def list_faces(request: Request) -> Response:
    """List faces without a probe, sorted by the photos' uris. The filter stands in the body, since
    addresses are written to the logs of proxies."""
    asked = await read_json(request, answers.ListRequest)
    most = service_of(request).options.limits.max_k
    if asked.k is not None and asked.k > most:
        raise too_large("max_k", f"k is {asked.k}; ask for {most} faces or fewer")
    searcher = service_of(request).gallery.current
    faces = await asyncio.to_thread(
        searcher.list_faces, asked.where, k=asked.k or most, one_per=asked.one_per
    )
    asked_of(request).counts["faces"] = len(faces)
    return json_response(
        {"version": searcher.manifest.version, "faces": [face.to_json() for face in faces]}
    )


async def _faces_of_photo(request: Request, photo_id: str) -> tuple[FaceSearcher, list[ListedFace]]:
    searcher = service_of(request).gallery.current
    faces = await asyncio.to_thread(
        searcher.list_faces,
        f"photo_id = '{photo_id}'",  # which is hexadecimal
        k=service_of(request).options.limits.max_k,
    )
    if not faces:
        raise RefusedError(404, "no_such_photo", "the index holds no face of this photo")
    return searcher, faces


@router.get(
    "/photos/{photo_id}",
    operation_id="get_photo",
    summary="Read a photo and its faces",
    response_model=answers.PhotoAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def get_photo(request: Request, photo_id: PhotoIdPath) -> Response:
    """Return where a photo lies, and its faces."""
    _, faces = await _faces_of_photo(request, photo_id)
    return json_response(
        {
            "photo_id": photo_id,
            "uri": faces[0].uri,
            "also_at": faces[0].also_at,
            "faces": [face.to_json() for face in faces],
        }
    )


@router.get(
    "/photos/{photo_id}/image",
    operation_id="get_image",
    summary="See a photo",
    response_class=Response,
    responses=_REDUCED,
    openapi_extra=openapi.with_scope("search"),
)
async def get_image(request: Request, photo_id: PhotoIdPath, side: LongerSide = 1024) -> Response:
    """Return a photo, reduced, as long as it has not changed since it was indexed."""
    searcher, faces = await _faces_of_photo(request, photo_id)
    thumbnails, photo = service_of(request).thumbnails, IndexedPhoto.of(faces[0])
    found = await thumbnails.of_photo(searcher.line, photo, side=side)
    headers = {PHOTO_SIZE: f"{found.width}x{found.height}"}
    return Response(found.content, media_type="image/jpeg", headers=headers)


@router.get(
    "/index",
    operation_id="get_index",
    tags=["index"],
    summary="Describe the index",
    response_model=answers.IndexAnswer,
    openapi_extra=openapi.with_scope("search"),
)
async def get_index(request: Request) -> Response:
    """Return version, size, models and rates of the index in force."""
    searcher = service_of(request).gallery.current
    manifest, rates = searcher.manifest, searcher.rates
    return json_response(
        {
            "version": manifest.version,
            "num_faces": manifest.num_faces,
            "num_segments": len(manifest.segments),
            "created": manifest.created,
            "detector": manifest.contract.detector,
            "embedder": manifest.contract.embedder,
            "dimension": manifest.contract.dimension,
            "calibrated": manifest.calibration is not None,
            "fpir_basis": rates.basis,
            "fpir_explanation": rates.explanation,
            "min_fpir": rates.min_fpir,
            "columns": searcher.columns,
            "device": searcher.device,
        }
    )
