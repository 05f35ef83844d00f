"""The documents about people that the service answers and takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from faces.dataset.people_decisions import MAX_NAME, MAX_PERSON, Verb
from facetrove.people.roster_names import MAX_PREFIX
from facetrove.service.answers import CompareAnswer, FaceId, StoredFace, StrictRequest
from facetrove.service.cursors import CURSOR, MAX_CURSOR

PersonId = Annotated[int, Field(ge=1, le=MAX_PERSON, examples=[17])]
Faces = Annotated[list[FaceId], Field(max_length=10_000)]
People = Annotated[list[PersonId], Field(min_length=1, max_length=10_000)]
Next = Annotated[str | None, Field(description="`after` of the next page; None: there is none.")]
After = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_CURSOR,
        pattern=CURSOR,
        description="`next` of the page before; None: the first page.",
    ),
]


class ConflictAnswer(BaseModel):
    """Two decisions about a person that contradict each other."""

    kind: Literal["name", "face", "merge", "apart"] = Field(
        description="Of `name` and `face` the later one counts, of the others the earlier one."
    )
    earlier_id: str
    earlier_author: str
    later_id: str
    later_author: str
    face_id: str | None


class PersonAnswer(BaseModel):
    """A person."""

    person_id: int
    person: str | None = Field(description="The name; None: there is none.")
    named_by: str | None = Field(description="Who gave the name: the author, or `list`.")
    num_faces: int
    num_photos: int
    num_doubtful: int = Field(
        description="Faces whose doubt is 0.1 or more, and of which no human has spoken."
    )
    first: str | None = Field(description="When the first photo was taken, ISO 8601.")
    last: str | None
    cover_face_id: str | None = Field(description="The least doubtful face.")
    is_hidden: bool
    is_ignored: bool
    conflict: ConflictAnswer | None


class PersonNumber(RootModel[PersonId]):
    """The number of a person, in a form."""


class ComparisonAnswer(CompareAnswer):
    """Whether two photos show one person, or whether a photo shows a person."""

    num_compared: int | None = Field(
        None, description="Number of the person's faces, of which the most similar counts."
    )
    person: PersonAnswer | None = Field(None, description="The person who was compared.")
    nearest: StoredFace | None = Field(None, description="The face that is most similar.")


class PeopleRequest(StrictRequest):
    """Which people are listed, and in which order."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_PREFIX)] | None = Field(
        None, description="Beginning of any word of the name, in any case."
    )
    named: bool | None = Field(None, description="Whether they have a name; None: either.")
    hidden: bool = Field(False, description="Whether hidden people are listed, too.")
    ignored: bool = Field(False, description="Whether ignored people are listed, too.")
    only: Literal["hidden", "ignored"] | None = Field(
        None, description="List hidden people alone, or ignored ones; None: whoever else fits."
    )
    order: Literal["faces", "name", "doubts"] = Field(
        "faces",
        description="Most faces first; by name, those without one last; most doubtful faces first.",
    )
    limit: int = Field(50, ge=1, le=10**9)
    after: After = None


class PeopleAnswer(BaseModel):
    """A page of people."""

    people: list[PersonAnswer]
    next: Next
    num_people: int = Field(description="Number of people on all pages.")
    state: str = Field(description="Changes whenever the people do.")


class PersonFace(StoredFace):
    """A face of a person."""

    doubt: float | None = Field(
        description="How doubtful the grouping is, 0 to 1; None: a human said whose face it is."
    )
    said_by: Literal["human", "machine", "list"]


class PersonFacesAnswer(BaseModel):
    """A page of a person's faces."""

    faces: list[PersonFace]
    next: Next
    num_faces: int = Field(description="Number of faces on all pages.")


class Companion(BaseModel):
    """Somebody who is in photos with a person."""

    person_id: int
    person: str | None
    num_photos: int = Field(description="Number of photos that show both.")


class CompanionsAnswer(BaseModel):
    """Who is in photos with a person, most often first."""

    companions: list[Companion]


class PhotosRequest(StrictRequest):
    """The photos that show all of some people and none of others."""

    with_: list[PersonId] = Field(default=[], max_length=100, alias="with")
    without: list[PersonId] = Field(default=[], max_length=100)
    limit: int = Field(50, ge=1, le=10**9)
    after: After = None


class PeoplesPhoto(BaseModel):
    """A photo, and whom it shows."""

    uri: str
    photo_id: str
    person_ids: list[int]
    people: list[str] = Field(description="Their names; the number where there is none.")
    num_unknown: int = Field(description="Number of further faces.")


class PhotosAnswer(BaseModel):
    """A page of photos, sorted by their uris."""

    photos: list[PeoplesPhoto]
    next: Next
    num_photos: int = Field(description="Number of photos on all pages.")


class Question(BaseModel):
    """Two people who may be one."""

    one: PersonAnswer
    other: PersonAnswer
    similarity: float = Field(description="Of the two faces that are most alike, -1 to 1.")
    one_faces: list[str] = Field(description="Their faces that are most alike, best first.")
    other_faces: list[str]


class QuestionsAnswer(BaseModel):
    """Pairs of people who may be one, first where an answer joins or separates most faces."""

    questions: list[Question]


class NameRequest(StrictRequest):
    """A person's name."""

    person_id: PersonId
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | None = Field(
        description="None: the person has no name any more."
    )


class MergeRequest(StrictRequest):
    """People who are one. The first of them keeps number and name."""

    people: Annotated[list[PersonId], Field(min_length=2, max_length=10_000)]


class SeparateRequest(StrictRequest):
    """Two people who are not one."""

    one: PersonId
    other: PersonId


class PersonFacesRequest(StrictRequest):
    """A person, and faces."""

    person_id: PersonId
    faces: Annotated[Faces, Field(min_length=1)]


class ConfirmRequest(StrictRequest):
    """Faces that are the person whom they are taken for."""

    person_id: PersonId
    faces: Faces = Field(default=[], description="None: all faces of the person.")


class FlagRequest(StrictRequest):
    """People who are ignored or hidden, or no longer."""

    people: People
    on: bool = True


class DecisionAnswer(BaseModel):
    """A decision that has been made."""

    decision_id: str = Field(description="Id by which it can be taken back.")
    verb: Verb
    author: str
    time: str
    people: list[PersonAnswer] = Field(description="Whom it was about, as they are now; 100 first.")


class DecisionEntry(BaseModel):
    """A decision of the history."""

    decision_id: str
    time: str
    author: str
    verb: Verb
    people: list[int]
    num_people: int
    num_faces: int
    name: str | None
    on: bool
    undoes: str | None = Field(description="Id of the decision that it takes back.")
    is_undone: bool
    can_be_undone: bool
    why_not: str | None = Field(description="Why it cannot be taken back.")


class DecisionsAnswer(BaseModel):
    """A page of decisions, newest first."""

    decisions: list[DecisionEntry]
    next: Next
    num_decisions: int


class GroupRequest(StrictRequest):
    """How to group faces by person."""

    precision: float = Field(
        0.99,
        ge=0.9,
        le=0.999,
        description="Share of the pairs of faces of one person that are rightly one.",
    )
    only_new: bool = Field(False, description="Whether people stay as they are.")
