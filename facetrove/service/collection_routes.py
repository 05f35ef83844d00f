"""The operations that describe the collection: its columns and rates, and what was not taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Depends, Request, Response

from faces.dataset.store import Dataset
from faces.photos.metadata import PERSON
from facetrove.photo_lists import LISTS, passed_over_counts
from facetrove.service import answers, openapi
from facetrove.service.access import asked_of, needs
from facetrove.service.bodies import read_json
from facetrove.service.common import json_response, service_of
from facetrove.service.refusals import RefusedError
from indexer.people_columns import PERSON_ID
from search.searcher import FaceSearcher

router = APIRouter(prefix="/v1", tags=["index"], responses=answers.ERRORS)

MAX_SAMPLED = 20_000
"""Number of faces among which frequent values of a column are looked for: in so many, a value that
one face in a thousand has is missing once in half a billion times."""

MAX_COMMON, MAX_VALUE = 50, 200
"""How many frequent values of a column are told, and how many characters the longest may have."""

SIMILARITIES = np.round(np.linspace(-0.1, 1.0, 111), 2)
"""Similarities whose rates are told: fine enough for a curve."""


@router.get(
    "/index/columns",
    operation_id="list_columns",
    summary="List the columns that filters may use",
    response_model=answers.ColumnsAnswer,
    dependencies=[Depends(needs("search"))],
    openapi_extra=openapi.with_scope("search"),
)
async def list_columns(request: Request) -> Response:
    """Return names and types of the photos' columns, and frequent values of texts."""
    searcher = service_of(request).gallery.current
    return json_response({"columns": await asyncio.to_thread(_columns, searcher)})


def _columns(searcher: FaceSearcher) -> list[dict[str, Any]]:
    snapshot = searcher.snapshot
    live = np.flatnonzero(snapshot.live())
    sample = live[:: max(1, len(live) // MAX_SAMPLED)]
    columns = []
    for column in snapshot.metadata:
        is_named = snapshot.people is not None and column.name in (PERSON, PERSON_ID)
        common: list[str] = []
        if pa.types.is_string(column.type) and not is_named:
            found = Counter(snapshot.values(column.name, sample))
            found.pop(None, None)
            texts = (str(value) for value, _ in found.most_common(MAX_COMMON))
            common = [text for text in texts if len(text) <= MAX_VALUE]
        columns.append({"name": column.name, "type": _kind(column.type), "common": common})
    return columns


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "time"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return "number" if is_number else "text"


@router.get(
    "/index/rates",
    operation_id="get_rates",
    summary="Read how often strangers match, by similarity",
    response_model=answers.RatesAnswer,
    dependencies=[Depends(needs("search"))],
    openapi_extra=openapi.with_scope("search"),
)
async def get_rates(request: Request) -> Response:
    """Return the false-positive identification rate as a curve, by the calibration of the index, or
    by the figure of its models."""
    searcher = service_of(request).gallery.current
    rates, manifest = searcher.rates, searcher.manifest
    fpirs = rates.fpir_of(SIMILARITIES)
    points = []
    if fpirs is not None:
        words = rates.in_words(fpirs)
        rows = zip(SIMILARITIES.tolist(), fpirs.tolist(), words, strict=True)
        points = [dict(zip(("similarity", "fpir", "strangers"), row, strict=True)) for row in rows]
    calibration = manifest.calibration if rates.basis == "index" else None
    return json_response(
        {
            "fpir_basis": rates.basis,
            "fpir_explanation": rates.explanation,
            "num_faces": manifest.num_faces,
            "measured": None if calibration is None else calibration.created,
            "points": points,
        }
    )


def _dataset(request: Request) -> Path:
    dataset = service_of(request).dataset
    if dataset is None:
        raise RefusedError(
            409,
            "no_dataset",
            "the dataset of the index is not here; have the server started with --dataset",
        )
    return dataset


@router.get(
    "/collection",
    operation_id="get_collection",
    summary="Count the photos of the dataset",
    response_model=answers.CollectionAnswer,
    dependencies=[Depends(needs("search"))],
    openapi_extra=openapi.with_scope("search"),
)
async def get_collection(request: Request) -> Response:
    """Return how many photos there are, and how many were rejected or passed over, and why."""
    return json_response(await asyncio.to_thread(_counts, _dataset(request)))


def _counts(path: Path) -> dict[str, Any]:
    dataset = Dataset.open(path)
    counts = asdict(dataset.counts())
    counts.pop("num_uncertain")
    return {**counts, "passed_over": passed_over_counts(dataset)}


@router.post(
    "/collection/photos",
    operation_id="list_photos",
    summary="List photos by what became of them",
    response_model=answers.PhotoListAnswer,
    dependencies=[Depends(needs("enrol"))],
    openapi_extra=openapi.with_scope("enrol", openapi.json_body(answers.PhotoListRequest)),
)
async def list_photos(request: Request) -> Response:
    """List what was rejected, passed over, has no face, is a copy, or was read in part."""
    asked = await read_json(request, answers.PhotoListRequest)
    found = await asyncio.to_thread(_listed, _dataset(request), asked)
    asked_of(request).counts["photos"] = len(found["photos"])
    return json_response(found)


def _listed(path: Path, asked: answers.PhotoListRequest) -> dict[str, Any]:
    table = LISTS[asked.list](Dataset.open(path))
    piece = table.slice(asked.after, asked.limit).to_pylist()
    photos = []
    for row in piece:
        uri = row.pop("uri")
        photos.append({"uri": uri, "why": " ".join(map(str, row.values())) or None})
    end = asked.after + len(piece)
    return {
        "photos": photos,
        "num_photos": len(table),
        "next": end if end < len(table) else None,
    }
