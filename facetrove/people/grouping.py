"""Group the faces of a dataset by person, in agreement with its people book and its photo lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.contract import require_same_contract
from faces.core.errors import BusyError
from faces.core.progress import OnProgress, Progress
from faces.dataset.people_book import PeopleBook, PeopleView
from faces.dataset.people_groups import GROUPS_SCHEMA, Groups
from faces.dataset.store import Dataset
from facetrove.people.labels import ListedPhotos
from indexer.face_groups import GROUPS_SCHEMA as FOUND_SCHEMA
from indexer.face_groups import NEXT_NUMBER, group_index, group_new_faces
from indexer.group_decisions import Decisions
from indexer.manifest import read_current


@dataclass(frozen=True)
class GroupingOptions:
    """The options of a grouping.

    Attributes:
        precision: share of the pairs of faces of one person that are rightly one, 0.9 to
            0.999, which is promised; see docs/people.md.
        only_new: whether people stay as they are, and only faces that have come since join them, or
            are new people.
    """

    precision: float = 0.99
    only_new: bool = False


@dataclass(frozen=True)
class PeopleGrouping:
    """The result of grouping the faces of a dataset by person.

    Attributes:
        num_faces: number of faces that were grouped.
        num_people: number of people, of whom some may be one face alone.
        num_alone: number of people with one face.
        num_new: number of people whom no earlier grouping had.
        num_named: number of people who have a name, by a human or a photo list.
        mean_doubt: mean doubt of the faces of people with several, [0, 1]; 0 is sure.
    """

    num_faces: int
    num_people: int
    num_alone: int
    num_new: int
    num_named: int
    mean_doubt: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary for `json.dump`."""
        return asdict(self)


def group_people(
    dataset: Dataset,
    index: str | Path,
    book: PeopleBook,
    options: GroupingOptions,
    on_progress: OnProgress,
) -> PeopleGrouping:
    """Group the faces of an index by person, and replace the grouping of its dataset's book.

    Args:
        dataset: the dataset.
        index: path of the index's folder, built from the dataset.
        book: the dataset's people book.
        options: the options.
        on_progress: function called with the step that is being done.

    Raises:
        WrongUsageError: there is no index, no figure of its models to group by, or a precision that
            cannot be promised.
        ContractMismatchError: the index holds embeddings of another model.
        BusyError: another process has grouped the faces meanwhile.
    """
    require_same_contract(
        dataset.contract,
        read_current(index).contract,
        ours_name=f"dataset {dataset.path}",
        theirs_name=f"index {index}",
        remedy="name an index that was built from the dataset",
    )
    view = book.view()
    on_progress(Progress("reading what is known"))
    known = _Known.of(dataset, book, view)
    groups = _grouped(index, view, known, options, on_progress)
    people = dict(zip(*_columns(groups), strict=True))
    given = known.photos.given_to(people)
    listed = [given.get(face) for face in groups["face_id"].to_pylist()]
    groups = groups.append_column("listed", pa.array(listed, pa.string()))
    on_progress(Progress("writing the people book"))
    with book.writing() as now:
        if now.seen.groups != view.seen.groups:
            raise BusyError(
                f"another process has grouped the faces of {dataset.path} meanwhile; run it again"
            )
        made = book.next_person(now) - book.next_person(view)
        if made:  # a human made people meanwhile: new groups get the numbers after these
            groups = _renumbered(groups, book.next_person(view), made)
        book.replace_groups(Groups.of(groups), now)
    return _summary(groups, book.view(), before=view)


def _grouped(
    index: str | Path,
    view: PeopleView,
    known: _Known,
    options: GroupingOptions,
    on_progress: OnProgress,
) -> pa.Table:
    """Return face_id, person and doubt of the faces of an index."""
    earlier = view.groups.table.select(["face_id", "person", "doubt"])
    metadata = {NEXT_NUMBER: str(known.next_person).encode()}
    previous = earlier.rename_columns(FOUND_SCHEMA.names).cast(FOUND_SCHEMA)
    group = group_new_faces if options.only_new else group_index
    found = group(
        index,
        previous=previous.replace_schema_metadata(metadata),
        precision=options.precision,
        decisions=Decisions(apart=known.apart, fixed=known.fixed),
        on_progress=on_progress,
    )
    return found.rename_columns(earlier.column_names).replace_schema_metadata(None)


def _columns(table: pa.Table) -> tuple[list[str], list[int]]:
    return table["face_id"].to_pylist(), table["person"].to_pylist()


def _renumbered(groups: pa.Table, first_new: int, made: int) -> pa.Table:
    """Return groups with `made` added to the numbers from `first_new` on."""
    people = groups["person"].to_numpy()
    people = np.where(people >= first_new, people + made, people)
    return groups.set_column(1, GROUPS_SCHEMA.field("person"), pa.array(people))


def _summary(groups: pa.Table, view: PeopleView, before: PeopleView) -> PeopleGrouping:
    numbers = view.numbers_of(groups["face_id"])
    people, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    earlier = before.groups.table["person"]
    several = counts[place] > 1
    doubts = groups["doubt"].to_numpy()[several]
    is_new = pc.invert(pc.is_in(pa.array(people), value_set=earlier.combine_chunks()))
    return PeopleGrouping(
        num_faces=len(groups),
        num_people=int((people > 0).sum()),
        num_alone=int((counts[people > 0] == 1).sum()),
        num_new=int(pc.sum(is_new).as_py() or 0) if before.seen.groups is not None else len(people),
        num_named=sum(person in view.names for person in people.tolist()),
        mean_doubt=float(doubts.mean()) if len(doubts) else 0.0,
    )


@dataclass(frozen=True)
class _Known:
    """What humans and photo lists say, as a grouping needs it.

    Attributes:
        fixed: number of the person by face_id.
        apart: pairs of face_ids of two people.
        next_person: the smallest number that neither the book nor `fixed` has.
        photos: the photos that lists name.
    """

    fixed: Mapping[str, int]
    apart: tuple[tuple[str, str], ...]
    next_person: int
    photos: ListedPhotos

    @classmethod
    def of(cls, dataset: Dataset, book: PeopleBook, view: PeopleView) -> _Known:
        """Gather what is known.

        A face that a human placed is fixed. So are faces that a list names, and of each person whom
        a human spoke of the face that is least doubtful: the person keeps number and name, and is
        not taken for another such person.
        """
        words = view.model.query("SELECT face, person FROM placed")
        rejected = view.model.query("SELECT face, person FROM rejected")
        photos = ListedPhotos.of(dataset)
        people = _existing(dataset)
        placed = {face: person for face, person in words if face in people}
        anchors = _anchors(view, placed, people)
        refused = {(face, view.state.root(person)) for face, person in rejected}
        by_list, next_person = _numbers_of_names(book, view, photos, placed, refused)
        fixed = {**by_list, **anchors, **placed}
        of_person = {person: face for face, person in fixed.items()}
        apart = {
            (face, of_person[number])
            for face, person in rejected
            for number in view.state.numbers(person)
            if face in people and fixed.get(face) != number and number in of_person
        }
        return cls(fixed, tuple(sorted(apart)), next_person, photos)


def _existing(dataset: Dataset) -> set[str]:
    """Return the face_ids of all faces of a dataset that are not deleted."""
    ids: set[str] = set()
    for table in dataset.faces(["face_id"]):
        ids.update(table["face_id"].to_pylist())
    return ids


def _anchors(view: PeopleView, placed: Mapping[str, int], existing: set[str]) -> dict[str, int]:
    """Return the least doubtful face of each person whom a human spoke of, with the number."""
    have = set(placed.values())
    numbers = [number for number in sorted(view.state.mentioned) if number not in have]
    sql = "SELECT face, person FROM grouped WHERE person IN (*) ORDER BY doubt, face"
    words = {face for (face,) in view.model.query("SELECT face FROM rejected")} | placed.keys()
    anchors: dict[int, str] = {}
    for face, person in view.model.query_many(sql, numbers):
        if face in existing and face not in words:
            anchors.setdefault(person, face)
    return {face: person for person, face in anchors.items()}


def _numbers_of_names(
    book: PeopleBook,
    view: PeopleView,
    photos: ListedPhotos,
    placed: Mapping[str, int],
    refused: set[tuple[str, int]],
) -> tuple[dict[str, int], int]:
    """Return the number of each face that is named by a list, and the smallest number left.

    A list means the person who has that name already; a name that nobody or several have is that of
    a person by the faces that had it before, or of a new one.
    """
    named: defaultdict[str, set[int]] = defaultdict(set)
    for number, name in view.names.items():
        named[name.casefold()].add(number)
    listed: defaultdict[str, set[int]] = defaultdict(set)
    for number, name in view.seen.listed.items():  # whom a human may call otherwise now
        listed[name.casefold()].add(view.state.root(number))
    next_person = book.next_person(view)
    faces: defaultdict[str, list[str]] = defaultdict(list)
    for face, name in photos.alone.items():
        if face not in placed:
            faces[name.casefold()].append(face)
    fixed: dict[str, int] = {}
    for key, ids in sorted(faces.items()):
        known = next((p for p in (listed[key], named[key]) if len(p) == 1), {next_person})
        (number,) = known
        next_person = max(next_person, number + 1)
        fixed |= {face: number for face in ids if (face, number) not in refused}
    return fixed, next_person
