"""The documents of the operations about watches, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from facetrove.service.answers import FaceId, StoredFace, Where
from facetrove.service.change_answers import JobError
from facetrove.service.watch_records import Problem, Source


class WatchRequest(BaseModel):
    """What a watch is made from, one of the three, and which faces it is for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    embeddings: list[list[float]] | None = Field(
        None,
        description="Embeddings of one person, of unit length, made by the models of the index.",
    )
    face_id: FaceId | None = None
    person_id: int | None = Field(
        None, ge=1, le=2**62, description="Number of a person of the people book."
    )
    where: Where | None = None


class WatchAnswer(BaseModel):
    """A watch: a saved probe with which new faces of the index are compared."""

    watch_id: str
    created: str
    made_from: Source
    fpir: float = Field(
        description="Share of searches for strangers that may return a match in the whole index."
    )
    where: str | None
    face_id: str | None = Field(description="The face that it was made from.")
    person_id: int | None = Field(description="The person that it was made from.")
    num_probe_faces: int | None = Field(
        description="Number of faces of the index that it was made from."
    )
    num_matches: int = Field(description="Number of matches that are kept.")
    num_dropped: int = Field(description="Number of its oldest matches that were dropped.")
    last_match_id: int = Field(description="Number of its newest match; 0: it has had none.")
    problem: JobError | None = Field(
        description="Why new faces are not compared with it at present; null: they are."
    )


class WatchesAnswer(BaseModel):
    """Watches, newest first."""

    watches: list[WatchAnswer]


class WatchMatchAnswer(StoredFace):
    """A face that came into the index after a watch was made, and is similar to its probe."""

    match_id: int = Field(description="Number of the match among those of the watch, from 1.")
    found: str = Field(description="Time in UTC, ISO 8601.")
    found_in: int = Field(description="Version of the index in which it was found.")
    similarity: float = Field(description="Inner product of unit vectors, -1 to 1.")
    fpir: float | None = Field(
        description="Share of searches for people who are not enrolled that find a match as "
        "similar."
    )
    fpir_basis: Literal["index", "model"] | None
    strangers: str | None = Field(description="`fpir` in words, such as `1 in 27`.")


class WatchMatchesAnswer(BaseModel):
    """Matches of a watch, oldest first."""

    matches: list[WatchMatchAnswer]
    next: int = Field(description="What to give as `after` for the matches that follow.")


PROBLEMS: dict[Problem, str] = {
    "must_be_made_anew": "the index has other models than the watch was made with, and embeddings "
    "of different models are never compared; delete the watch, and make it anew",
    "no_threshold": "the index has outgrown its calibration, or has none any more; have it "
    "calibrated again: the faces that came meanwhile are compared then",
    "no_face": "the index holds none of the faces that the watch was made from; faces are compared "
    "again once a deletion is taken back",
    "bad_filter": "the filter cannot be applied to a new face; delete the watch, and make it anew "
    "with another filter",
}
"""What is told of each problem of a watch."""
