"""The operations that tell how far jobs are, cancel them and try them again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from facetrove.service import answers, change_answers, openapi
from facetrove.service.access import asked_of, may_see, seen_owner
from facetrove.service.common import json_response, service_of
from facetrove.service.job_runner import JobRunner, event_text, job_json, refused
from facetrove.service.jobs import Job
from facetrove.service.refusals import RefusedError

router = APIRouter(prefix="/v1", tags=["jobs"], responses=answers.ERRORS)

JobIdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Id of the job.")]

_OWN = "Every key sees its own jobs, and one with the scope admin all."


async def _job(request: Request, job_id: str) -> tuple[JobRunner, Job]:
    runner = service_of(request).require_runner()
    job = await asyncio.to_thread(runner.store.find, job_id)
    if job is None or not may_see(request, job.owner):
        raise refused(job_id)
    return runner, job


@router.get(
    "/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    response_model=change_answers.JobsAnswer,
    description=f"Return the newest jobs first. {_OWN}",
    openapi_extra=openapi.with_scope("any"),
)
async def list_jobs(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """Return the newest jobs first."""
    runner = service_of(request).require_runner()
    jobs = await asyncio.to_thread(runner.store.newest, limit, owner=seen_owner(request))
    return json_response({"jobs": [job_json(job, runner.progress_of(job.job_id)) for job in jobs]})


@router.get(
    "/jobs/{job_id}",
    operation_id="get_job",
    summary="Read a job",
    response_model=change_answers.JobAnswer,
    openapi_extra=openapi.with_scope("any"),
)
async def get_job(request: Request, job_id: JobIdPath) -> Response:
    """Return how far a job is, or what it did."""
    runner, job = await _job(request, job_id)
    return json_response(job_json(job, runner.progress_of(job_id)))


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Events `progress` and, last, `end`, whose data are the job.",
    }
}


@router.get(
    "/jobs/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    response_class=Response,
    responses=_EVENTS,
    openapi_extra=openapi.with_scope("any"),
)
async def follow_job(request: Request, job_id: JobIdPath) -> Response:
    """Return server-sent events whenever something about the job changes, until it has ended."""
    runner, _ = await _job(request, job_id)
    admission = service_of(request).admission
    admission.require_stream()
    asked_of(request).is_stream = True

    async def events() -> AsyncIterator[bytes]:
        admission.num_streams += 1  # here: a client that is gone by now never begins
        try:
            async for job in runner.events(job_id):
                yield event_text(job, runner.progress_of(job_id))
        finally:
            admission.num_streams -= 1

    return StreamingResponse(events(), media_type="text/event-stream")


@router.post(
    "/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=change_answers.JobAnswer,
    openapi_extra=openapi.with_scope("any"),
)
async def cancel_job(request: Request, job_id: JobIdPath) -> Response:
    """Cancel a job that waits or runs. What it has finished stays, and `retry` goes on with it."""
    await request.body()
    runner, _ = await _job(request, job_id)
    await runner.cancel(job_id)
    _, job = await _job(request, job_id)
    return json_response(job_json(job, runner.progress_of(job_id)))


@router.post(
    "/jobs/{job_id}/retry",
    operation_id="retry_job",
    summary="Try a job again",
    response_model=change_answers.JobAnswer,
    openapi_extra=openapi.with_scope("any"),
)
async def retry_job(request: Request, job_id: JobIdPath) -> Response:
    """Queue a job again that failed or was cancelled."""
    await request.body()
    runner, job = await _job(request, job_id)
    if job.is_finished and job.request is None:
        raise RefusedError(409, "purged", "a purge has removed what was asked; send it anew")
    if not await runner.retry(job_id):
        raise RefusedError(
            409, "not_failed", f"the job is {job.state}; only failed ones are tried again"
        )
    _, job = await _job(request, job_id)
    return json_response(job_json(job, None))
