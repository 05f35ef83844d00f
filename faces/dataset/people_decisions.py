"""The decisions of the people book: what humans said of who is who, one small file for each.

    DATASET/people/decision-<time>-<id>.json   author and decision

A file never changes; its name has the time and the id, by which decisions are ordered. Only a
purge writes a decision anew, as `decision-<time>-<id>.<revision>.json`, and removes the earlier
revision: so whoever has read that one notices. How decisions work together says
`faces.dataset.people_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal
from unicodedata import category, normalize
from uuid import uuid4

import msgspec
from msgspec import Meta

from faces.core.documents import parse
from faces.core.errors import CorruptFileError, FaceTroveError, WrongUsageError, first_line
from faces.core.storage import Folder
from faces.dataset.layout import BookFile
from faces.photos.uris import is_unicode

FORMAT_VERSION = 1
"""Version of the format of decisions that this module reads and writes."""

MAX_NAME, MAX_AUTHOR, MAX_FACE_ID = 500, 200, 200
"""Maximum numbers of characters, which bound what a file from elsewhere can hold."""

MAX_FACES, MAX_PEOPLE = 1_000_000, 100_000
"""Maximum numbers of faces and of people that one decision is about. A million face ids are 35 MB
of JSON, below `faces.core.storage.MAX_DOCUMENT_BYTES`."""

MAX_PERSON = 10**12
"""Largest number of a person."""

Verb = Literal[
    "name",
    "merge",
    "split",
    "move",
    "confirm",
    "reject",
    "apart",
    "ignore",
    "hide",
    "assign",
    "undo",
]
"""What a decision says:

    name      a person is called so, or has no name
    merge     some people are one, who keeps the number of the first
    split     some faces of a person are another one, whose number is new
    move      some faces are a person
    confirm   some faces are the person whom they were taken for
    reject    some faces are not a person, whoever they are
    apart     two people are not one
    ignore    people are strangers, who are not listed or asked about; or no longer so
    hide      people are left out of lists and sheets; or no longer so
    assign    many faces are people, some of whom get names: an import
    undo      an earlier decision is taken back
"""

PLACING: frozenset[Verb] = frozenset({"split", "move", "confirm", "assign"})
"""Verbs that say whose faces are."""

PersonNumber = Annotated[int, Meta(ge=1, le=MAX_PERSON)]
FaceId = Annotated[str, Meta(min_length=1, max_length=MAX_FACE_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
DecisionId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{12}\Z")]

DECISION_ID = re.compile(r"[0-9a-f]{12}")
"""Ids of decisions; those of deletions are shorter."""

_TIME_FORMAT = "%Y%m%dT%H%M%S%f"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


@dataclass(frozen=True)
class Decision:
    """What somebody said of who is who.

    Attributes:
        decision_id: id by which the decision is taken back, 12 hexadecimal characters.
        decided_at: time in UTC, ISO 8601 to the microsecond.
        author: who said it; "" if a purge has removed the name.
        verb: what kind of decision it is, see `Verb`.
        people: numbers of the people that it is about; of `merge` the one who stays comes first, of
            `split` the old one before the new one.
        faces: face_ids of the faces that it is about.
        name: the name that `name` gives; None: the person has none.
        on: whether `ignore` or `hide` is said or no longer said.
        undoes: id of the decision that `undo` takes back.
        names: of `assign` the name that each of `people` gets; None: no new name.
        rows: of `assign` for each of `faces` the position of its person in `people`.
        format_version: version of the format of the decision's file.
    """

    decision_id: DecisionId
    decided_at: Annotated[str, Meta(max_length=40)]
    author: Annotated[str, Meta(max_length=MAX_AUTHOR)]
    verb: Verb
    people: Annotated[tuple[PersonNumber, ...], Meta(max_length=MAX_PEOPLE)] = ()
    faces: Annotated[tuple[FaceId, ...], Meta(max_length=MAX_FACES)] = ()
    name: Name | None = None
    on: bool = True
    undoes: Annotated[str, Meta(pattern=r"\A([0-9a-f]{12})?\Z")] = ""
    names: Annotated[tuple[Name | None, ...], Meta(max_length=MAX_PEOPLE)] = ()
    rows: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=MAX_FACES)] = ()
    format_version: Literal[1] = 1

    @cached_property
    def key(self) -> str:
        """Time and id as in the file's name: decisions are ordered by it."""
        return f"{_stamp(self.decided_at)}-{self.decision_id}"

    def placed(self) -> Iterator[tuple[str, int]]:
        """Yield each face whose person the decision says, with the person's number."""
        if self.verb == "assign":
            yield from ((f, self.people[row]) for f, row in zip(self.faces, self.rows, strict=True))
        elif self.verb in PLACING:
            yield from ((face, self.people[-1]) for face in self.faces)

    def rejected(self) -> Iterator[tuple[str, int]]:
        """Yield each face that is said not to be a person, with the person's number."""
        if self.verb == "reject":
            yield from ((face, self.people[0]) for face in self.faces)


_COUNTS: dict[Verb, tuple[int, int]] = {
    **dict.fromkeys(("name", "move", "confirm", "reject"), (1, 1)),
    **dict.fromkeys(("split", "apart"), (2, 2)),
    "merge": (2, MAX_PEOPLE),
    **dict.fromkeys(("ignore", "hide"), (1, MAX_PEOPLE)),
    "assign": (0, MAX_PEOPLE),
    "undo": (0, 0),
}
"""Smallest and largest number of people of each verb."""


def _require_sense(decision: Decision) -> None:
    """Raise ValueError where parts of a decision contradict each other."""
    fewest, most = _COUNTS[decision.verb]
    people = decision.people
    if not fewest <= len(people) <= most or len(set(people)) < len(people):
        raise ValueError(f"{decision.verb!r} has {len(people)} people")
    if decision.faces and decision.verb not in {*PLACING, "reject"}:
        raise ValueError(f"{decision.verb!r} has faces")
    is_import = decision.verb == "assign"
    if len(decision.names) != (len(people) if is_import else 0):
        raise ValueError("there are more or fewer names than people")
    if len(decision.rows) != (len(decision.faces) if is_import else 0):
        raise ValueError("there are more or fewer rows than faces")
    if max(decision.rows, default=-1) >= len(people):
        raise ValueError("a row is of none of the people")
    if bool(decision.undoes) != (decision.verb == "undo"):
        raise ValueError("it does not say what it takes back")
    if not _TIME.fullmatch(decision.decided_at):
        raise ValueError("its time is not in UTC to the microsecond")
    datetime.fromisoformat(decision.decided_at)


@dataclass(frozen=True)
class _Version:
    """The version of the format of a decision, whatever else is in it."""

    format_version: int


def read_decision(folder: Folder, file: BookFile) -> Decision:
    """Read a decision.

    Args:
        folder: the folder of the people book.
        file: the decision's file.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError: the file cannot be read.
        FaceTroveError: a newer facetrove wrote the file.
    """
    content = folder.read(file.name)
    with suppress(ValueError, RecursionError, UnicodeError):
        require_format(folder, file, msgspec.json.decode(content, type=_Version).format_version)
    try:
        decision = parse(content, Decision)
        _require_sense(decision)
        if decision.key != file.key:
            raise ValueError("its time or id is not that of its name")
    except ValueError as error:
        raise CorruptFileError(
            f"{folder.at(file.name)} is corrupt ({first_line(error)}); {folder.remedy}"
        ) from error
    return decision


def require_format(folder: Folder, file: BookFile, version: int) -> None:
    """Raise FaceTroveError for a file of the people book that a newer facetrove wrote."""
    if version > FORMAT_VERSION:
        raise FaceTroveError(
            f"{folder.at(file.name)} was written by a newer facetrove (format version {version}, "
            f"this one reads {FORMAT_VERSION}); update facetrove"
        )


def write_decision(folder: Folder, decision: Decision, *, revision: int = 0) -> None:
    """Write the file of a decision, whole or not at all.

    Args:
        folder: the folder of the people book.
        decision: the decision.
        revision: how often a purge has rewritten it.
    """
    unset = Decision(decision.decision_id, decision.decided_at, decision.author, decision.verb)
    document = {
        name: value
        for name, value in asdict(decision).items()
        if value != getattr(unset, name) or name in _ALWAYS
    }
    with folder.put(BookFile(decision.key, revision, "decision").name) as file:
        file.write(msgspec.json.encode(document) + b"\n")


_ALWAYS = ("format_version", "decision_id", "decided_at", "author", "verb")
"""Fields that every decision's file has."""


def new_id() -> str:
    """Return an id that nothing in a people book had before."""
    return uuid4().hex[:12]


def new_key(after: str = "", own_id: str = "") -> str:
    """Return the key of something new, which comes after all that is there.

    Args:
        after: the last key that is there; "": there is none.
        own_id: its id; "": a new one.

    Raises:
        CorruptFileError: the last key is of the end of the calendar.
    """
    now = datetime.now(UTC)
    if after:
        try:
            last = datetime.strptime(after.partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
            now = max(now, last + timedelta(microseconds=1))
        except (ValueError, OverflowError) as error:
            raise CorruptFileError(
                f"the people book has an entry of an impossible time ({first_line(error)}); "
                "remove its file"
            ) from error
    return f"{_stamp(now.isoformat(timespec='microseconds'))}-{own_id or new_id()}"


def time_of(key: str) -> str:
    """Return the time in a key, in UTC, ISO 8601 to the microsecond."""
    found = datetime.strptime(key.partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
    return found.isoformat(timespec="microseconds")


def id_of(key: str) -> str:
    """Return the id in a key."""
    return key.partition("-")[2]


def _stamp(time: str) -> str:
    """Return a time in UTC, ISO 8601 to the microsecond, as it stands in the names of files."""
    return re.sub(r"[-:.]", "", time.partition("+")[0])


def checked_name(text: str, what: str = "name") -> str:
    """Return a person's name as it is stored: in Unicode NFC, single spaces between words.

    Args:
        text: the name as somebody wrote it.
        what: what the name is, for the message.

    Raises:
        WrongUsageError: it is empty, too long, or has characters that no name has.
    """
    limit = MAX_NAME if what == "name" else MAX_AUTHOR
    name = normalize("NFC", " ".join(text.split())) if is_unicode(text) else "\0"
    if not name or len(name) > limit or any(category(c) in ("Cc", "Cs") for c in name):
        raise WrongUsageError(
            f"{text[:50]!r} is no {what}; give one of 1 to {limit} characters, without control "
            "characters"
        )
    return name


def book_files(names: Iterable[str]) -> tuple[dict[str, BookFile], BookFile | None]:
    """Return the files of a people book that count, of those in its folder.

    Args:
        names: the names of all files in the folder.

    Returns:
        The latest revision of each decision by its key, sorted, and the latest groups, or None.
    """
    found = sorted(file for name in names if (file := BookFile.of(name)) is not None)
    decisions = {file.key: file for file in found if file.kind == "decision"}
    groups = [file for file in found if file.kind == "groups"]
    return decisions, groups[-1] if groups else None
