"""The documents of what changes the dataset or the index, and of jobs; see `answers`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from facetrove.service.answers import FaceId, StrictRequest, Where
from facetrove.service.jobs import JobKind, JobState


class EnrolRequest(StrictRequest):
    """A folder on the server whose photos become faces of the dataset and the index."""

    folder: str = Field(min_length=1, max_length=4096)


class DeleteRequest(StrictRequest):
    """The faces to delete: those that one of the three selects."""

    faces: list[FaceId] = Field(default=[], max_length=10_000)
    photos: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        default=[], max_length=10_000
    )
    where: Where | None = None


class DeletionPlanAnswer(BaseModel):
    """What a deletion would delete."""

    num_faces: int


class UndoRequest(StrictRequest):
    """The deletion, or the decision about people, to take back."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")] | None = None
    deletion_id: Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")] | None = Field(
        None, description="The same as `id`, by an earlier name."
    )


class PurgeRequest(StrictRequest):
    """What to make final."""

    deletions: list[Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]] | None = Field(
        None, min_length=1, max_length=10_000, description="None: all deletions."
    )
    names: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default=[], max_length=1_000, description="Names to remove from the photos' columns."
    )


class CalibrateRequest(StrictRequest):
    """How to measure the false-positive rate of the index."""

    people: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    by_likeness: bool = False
    face: Literal["largest", "central", "only"] = "largest"
    fpir: float | None = Field(None, gt=0, lt=1)


class DeletionAnswer(BaseModel):
    """A deletion that can be taken back."""

    deletion_id: str
    deleted_at: str
    num_faces: int


class DeletionsAnswer(BaseModel):
    """The deletions that can be taken back, oldest first."""

    deletions: list[DeletionAnswer]


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobAnswer(BaseModel):
    """A job."""

    job_id: str
    kind: JobKind
    state: JobState
    created: str
    started: str | None
    finished: str | None
    attempts: int
    request: dict[str, Any]
    progress: dict[str, Any] | None = Field(description="step, done, total, unit and counts.")
    result: dict[str, Any] | None
    error: JobError | None


class JobsAnswer(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobAnswer]
