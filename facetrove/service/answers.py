"""The documents that the service answers and takes, as the OpenAPI document describes them.

Answers are made from the results' own `to_json`; these models describe them, and tests hold the two
together. Requests are held to their models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from facetrove.service.jobs import JobKind, JobState
from facetrove.service.keys import Scope

FaceId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$", examples=["9b1f" + "0" * 28])]
PhotoId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Where = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        description="A condition on faces as in SQL's WHERE, such as `person = 'Ann'`.",
    ),
]


class StrictRequest(BaseModel):
    """A request, which has nothing but what its model names."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    code: str = Field(description="Short name of the error, for programs.")
    message: str = Field(description="One sentence that says what to do.")
    request_id: str = Field(description="Id of the request, as in the header X-Request-Id.")


class ErrorAnswer(BaseModel):
    """The answer to every request that is refused or failed."""

    error: ErrorDetail


class BoxAnswer(BaseModel):
    """A face's box in pixels of the upright photo, with the origin at the top left."""

    x: float
    y: float
    width: float
    height: float


class StoredFace(BaseModel):
    """A face of the index."""

    uri: str
    box: BoxAnswer
    face_id: str
    photo_id: str
    score: float
    also_at: list[str]
    person: str | None = Field(
        description="Whose face it is, by the people book; without one, who the photo shows."
    )
    person_id: int | None = Field(description="Number of that person by the people book.")
    metadata: dict[str, Any]


class MatchAnswer(StoredFace):
    """A face of the index that is similar to a probe."""

    rank: int
    similarity: float = Field(description="Inner product of unit vectors, -1 to 1.")
    fpir: float | None = Field(
        description="Share of searches for people who are not enrolled that find a match as "
        "similar."
    )
    fpir_basis: Literal["index", "model"] | None
    strangers: str | None = Field(description="`fpir` in words, such as `1 in 27`.")


class ProbeAnswer(BaseModel):
    """A face that was searched for, and its matches; without a box where no photo was sent."""

    photo: int | None = Field(None, description="Number of its photo in the request, from 1.")
    box: BoxAnswer | None = None
    score: float | None = None
    number: int | None = Field(None, description="Its rank by size in the photo, 1 the largest.")
    num_faces: int | None = None
    matches: list[MatchAnswer]


class JointFace(BaseModel):
    """One of the faces that make a joint probe."""

    photo: int
    box: BoxAnswer
    score: float
    number: int
    num_faces: int


class SearchAnswer(BaseModel):
    """The matches of each probe."""

    version: int = Field(description="Version of the index that was searched.")
    num_faces: int = Field(description="Number of faces in the index.")
    fpir_basis: Literal["index", "model"] | None
    fpir_explanation: str
    threshold: float | None = Field(description="Smallest similarity of a match at `fpir`.")
    max_matches: int = Field(description="A probe with so many matches may have more.")
    together: list[JointFace] | None = Field(
        None, description="The faces of the one probe, where photos were searched together."
    )
    min_similarity: float | None = Field(
        None, description="Lowest similarity between two of these faces."
    )
    probes: list[ProbeAnswer]


class SearchQuery(BaseModel):
    """The query of a search."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    k: int | None = Field(None, ge=1, le=10**9, description="Matches for each face.")
    fpir: float | None = Field(
        None, gt=0, lt=1, description="Share of searches for strangers that may return a match."
    )
    min_similarity: float | None = Field(None, ge=-1, le=1, description="Least similarity.")
    one_per: Literal["photo", "person"] | None = Field(
        None, description="Only the best match of each."
    )
    face: int | None = Field(
        None, ge=1, le=10_000, description="Rank by size of the one face to take in each photo."
    )
    together: bool = Field(
        False, description="The photos show one person: search by their mean embedding."
    )


class SearchRequest(StrictRequest):
    """A search by embeddings or by a face of the index: one of both."""

    embeddings: list[list[float]] | None = Field(
        None, description="Embeddings of unit length, made by the models of the index."
    )
    face_id: FaceId | None = None
    where: Where | None = None


class QualityAnswer(BaseModel):
    """Measures of a face's quality, as in the dataset's columns."""

    face_size: float
    sharpness: float
    brightness: float
    yaw: float
    pitch: float
    roll: float


class DetectedFace(BaseModel):
    """A face of a photo that was sent in."""

    box: BoxAnswer
    landmarks: list[list[float | None]] = Field(
        description="x, y of left and right eye as seen, nose, left and right mouth corner."
    )
    score: float
    number: int
    quality: QualityAnswer
    embedding_norm: float | None = None
    embedding: list[float] | None = None


class DetectedPhoto(BaseModel):
    """A photo that was sent in, and its faces, the largest first."""

    width: int
    height: int
    faces: list[DetectedFace]


class DetectAnswer(BaseModel):
    """The faces of each photo."""

    detector: str
    embedder: str | None = None
    photos: list[DetectedPhoto]


class ComparedFaceAnswer(BaseModel):
    """A face that was compared."""

    box: BoxAnswer
    number: int
    num_faces: int


class CompareAnswer(BaseModel):
    """Whether two photos show one person, at a stated false accept rate."""

    similarity: float
    decision: bool | None = Field(description="None where no threshold is known for the models.")
    admit: bool = Field(description="Whether to admit: true only if the decision is.")
    threshold: float | None
    far: float
    reason: str
    faces: list[ComparedFaceAnswer]


class ListRequest(StrictRequest):
    """A list of faces by a filter alone."""

    where: Where
    k: int | None = Field(None, ge=1)
    one_per: Literal["photo", "person"] | None = None


class ListAnswer(BaseModel):
    """Faces that match a filter, sorted by the photos' uris."""

    version: int
    faces: list[StoredFace]


class PhotoAnswer(BaseModel):
    """A photo of the index, and its faces."""

    photo_id: str
    uri: str
    also_at: list[str]
    faces: list[StoredFace]


class IndexAnswer(BaseModel):
    """The index in force."""

    version: int
    num_faces: int
    num_segments: int
    created: str
    detector: str
    embedder: str
    dimension: int
    calibrated: bool
    fpir_basis: Literal["index", "model"] | None
    fpir_explanation: str
    min_fpir: float | None
    columns: list[str]
    device: str


class ColumnAnswer(BaseModel):
    """A column that a filter may use, beside those that every face has."""

    name: str
    type: Literal["text", "number", "boolean", "date", "time"]
    common: list[str] = Field(description="Frequent values of a text, most frequent first.")


class ColumnsAnswer(BaseModel):
    """The columns of the index."""

    columns: list[ColumnAnswer]


class RatePoint(BaseModel):
    """The false-positive identification rate of one similarity."""

    similarity: float
    fpir: float
    strangers: str


class RatesAnswer(BaseModel):
    """How often searches for strangers find a match, by similarity."""

    fpir_basis: Literal["index", "model"] | None
    fpir_explanation: str
    num_faces: int
    measured: str | None = Field(description="Time of the calibration; null: there is none.")
    points: list[RatePoint]


class CollectionAnswer(BaseModel):
    """What the dataset has, and what did not get into it."""

    num_photos: int
    num_faces: int
    num_copies: int
    num_kept_away: int
    by_status: dict[str, int]
    by_reason: dict[str, int]
    by_partly_read: dict[str, int]
    passed_over: dict[str, dict[str, int]] = Field(
        description="What the last run passed over: by kind, and in it by ending or pattern."
    )


class PhotoListRequest(StrictRequest):
    """A list of photos by what became of them."""

    list: Literal["rejected", "no-face", "copies", "partly-read", "passed-over"]
    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, le=10**9, description="`next` of the answer before.")


class ListedPhoto(BaseModel):
    """A photo, file or folder, and what became of it."""

    uri: str
    why: str | None = Field(description="Reason, kind and ending, or content; null: none.")


class PhotoListAnswer(BaseModel):
    """A piece of a list."""

    photos: list[ListedPhoto]
    num_photos: int = Field(description="Length of the whole list.")
    next: int | None


class MeAnswer(BaseModel):
    """What a client may do."""

    name: str | None = Field(description="Name of the key; null: none was sent or is needed.")
    needs_key: bool
    scopes: list[Scope]
    jobs: bool = Field(description="Whether the server changes anything.")
    uploads: bool = Field(description="Whether photos may be sent in to be added.")
    folders: list[str] = Field(description="Folders whose photos may be added.")
    max_k: int
    max_photo_bytes: int
    max_request_bytes: int


class RefreshAnswer(BaseModel):
    """Whether a newer version was opened."""

    refreshed: bool
    version: int
    num_faces: int


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


class HealthAnswer(BaseModel):
    """Whether the server is alive or ready."""

    status: Literal["ok", "not ready"]


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The request cannot be read."},
    401: {"model": ErrorAnswer, "description": "A valid key is missing."},
    403: {"model": ErrorAnswer, "description": "The key's scope, or another site's page."},
    404: {"model": ErrorAnswer, "description": "There is no such thing."},
    408: {"model": ErrorAnswer, "description": "The request arrived too slowly."},
    409: {"model": ErrorAnswer, "description": "It conflicts with what is going on."},
    413: {"model": ErrorAnswer, "description": "It is over a limit, which the code names."},
    415: {"model": ErrorAnswer, "description": "The content type is not one of those taken."},
    421: {"model": ErrorAnswer, "description": "The server is not called by this name."},
    422: {"model": ErrorAnswer, "description": "A value cannot be used."},
    429: {"model": ErrorAnswer, "description": "Too many requests per second."},
    503: {"model": ErrorAnswer, "description": "There is no room now; try again."},
}
"""The errors that any operation may answer."""
