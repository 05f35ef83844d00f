"""The people of a dataset, with all that can be decided about them: `facetrove.open_people`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, ignore_progress
from faces.dataset import people_verbs as verbs
from faces.dataset.people_book import PeopleBook, PeopleView
from faces.dataset.people_decisions import Decision
from faces.dataset.people_verbs import PersonName
from faces.dataset.store import Dataset
from facetrove.people.exchange import ImportedPeople, export_table, import_people
from facetrove.people.grouping import GroupingOptions, PeopleGrouping, group_people
from facetrove.people.history import conflicts_table, decisions_table
from facetrove.people.sheet import write_people_sheet
from facetrove.people.sidecars import write_sidecars
from facetrove.people.tables import PeoplesFaces, PeopleTable


class People:
    """The people of a dataset, as its people book has them. Use `open`.

    A person is named by number or by name. What is decided here counts before what the machine
    says, stands in the dataset, and is seen by the next search in an index of the dataset.

    Attributes:
        dataset: the dataset.
    """

    def __init__(self, dataset: Dataset, author: str | None) -> None:
        self.dataset = dataset
        self._book = PeopleBook(dataset.path, author)

    @classmethod
    def open(cls, dataset: str | Path, *, author: str | None = None) -> People:
        """Open the people book of a dataset.

        Args:
            dataset: path of the dataset's folder.
            author: who decides; None: the name of the user of this process.

        Raises:
            WrongUsageError: there is no dataset at that path, or it is of another format version.
            CorruptFileError: a file of the book is corrupt.
            FaceTroveError: a newer facetrove has written the book.
        """
        people = cls(Dataset.open(dataset), author)
        people._view()
        return people

    def __repr__(self) -> str:
        return f"<people of {self.dataset.path}>"

    def _view(self) -> PeopleView:
        return self._book.view()

    def _faces(self) -> PeoplesFaces:
        return PeoplesFaces.of(self.dataset, self._view())

    def group(
        self,
        index: str | Path,
        *,
        precision: float = 0.99,
        only_new: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> PeopleGrouping:
        """Group the faces of an index by person, in agreement with what humans decided.

        Args:
            index: path of the index's folder, built from the dataset.
            precision: share of the pairs of faces of one person that are rightly one, 0.9 to
                0.999, which is promised; see docs/people.md.
            only_new: whether people stay as they are, and only faces that have come since join
                them, or are new people. That takes seconds where a grouping of all takes minutes.
            on_progress: function called with the step that is being done.

        Returns:
            How many people there are.

        Raises:
            WrongUsageError: there is no index, no figure of its models to group by, or a precision
                that cannot be promised.
            ContractMismatchError: the index holds embeddings of another model.
            CorruptFileError: a file of the index or the book is corrupt.
            BusyError: another process groups the faces or writes the book.
        """
        options = GroupingOptions(precision, only_new)
        return group_people(self.dataset, index, self._book, options, on_progress)

    def list(self, *, hidden: bool = False, ignored: bool = False) -> PeopleTable:
        """List the people, those with most faces first.

        Args:
            hidden: list people too who are hidden.
            ignored: list people too who are ignored.

        Returns:
            Columns person_id, person (the name, or null), named_by (who gave the name: the author,
            or `list` for a photo list), num_faces, num_photos, first and last (when the photos were
            taken), hidden, ignored.
        """
        return PeopleTable(self._faces().people_table(hidden=hidden, ignored=ignored))

    def faces(self, person: PersonName | None = None) -> PeopleTable:
        """List faces with their people.

        Args:
            person: number or name of the person whose faces are listed; None: all faces.

        Returns:
            Columns face_id, person_id, person, said_by (the author, or `machine`), doubt (by the
            grouping, 0 to 1), uri, and box (x, y, width, height in pixels).

        Raises:
            WrongUsageError: there is no such person, or several have the name.
        """
        view = self._view()
        number = None if person is None else view.find(person)
        return PeopleTable(PeoplesFaces.of(self.dataset, view).faces_table(number))

    def photos(
        self,
        with_people: PersonName | Sequence[PersonName] = (),
        without: PersonName | Sequence[PersonName] = (),
    ) -> PeopleTable:
        """List the photos that show all of some people and none of others.

        Args:
            with_people: numbers or names of people whom a photo shows.
            without: numbers or names of people whom it does not show.

        Returns:
            Columns uri, photo_id, person_ids and people (all whom it shows; the number where there
            is no name), and num_unknown, the number of further faces.

        Raises:
            WrongUsageError: there is no such person, or several have the name.
        """
        view = self._view()
        wanted, unwanted = (_numbers(view, people) for people in (with_people, without))
        faces = PeoplesFaces.of(self.dataset, view)
        return PeopleTable(faces.photos_table(wanted, unwanted))

    def named(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the people who have a name, in any case.

        Args:
            name: the name.
        """
        return tuple(self._view().with_name(name))

    def companions(self, person: PersonName | Sequence[PersonName]) -> PeopleTable:
        """List who appears in photos with some people, most often first.

        Args:
            person: number or name of the person, or of several who are in the photo together.

        Returns:
            Columns person_id, person, num_photos.

        Raises:
            WrongUsageError: there is no such person, or several have the name.
        """
        view = self._view()
        faces = PeoplesFaces.of(self.dataset, view)
        return PeopleTable(faces.companions_table(_numbers(view, person)))

    def questions(self, *, k: int = 20) -> PeopleTable:
        """List pairs of people who may be one, first where an answer joins or separates most faces.

        Args:
            k: maximum number of pairs.

        Returns:
            Columns person_id, person, face_id, uri, other_id, other, other_face_id, other_uri, and
            similarity (of the two faces that show it best, [-1, 1]), num_faces (whom it is about).

        Raises:
            WrongUsageError: k is below 1.
            CorruptFileError: a file of the dataset is corrupt.
        """
        if k < 1:
            raise WrongUsageError(f"k is {k}; ask for 1 pair or more")
        return PeopleTable(self._faces().questions_table(self.dataset, k))

    def write_sheet(self, path: str | Path, *, k: int = 50) -> Sequence[Path]:
        """Draw a contact sheet of the people, a row for each, those with most faces first.

        A row begins with the person's least doubtful face; then come the most doubtful ones, which
        are marked, and further ones. Hidden and ignored people are left out.

        Args:
            path: path of the file, ending in .jpg, .jpeg, .png, .webp or .html.
            k: maximum number of people.

        Returns:
            The paths of the files: several where a picture would be too large.

        Raises:
            WrongUsageError: the file cannot be written at this path, or there are no people.
        """
        return write_people_sheet(self._faces(), Path(path), k=k)

    def export(self) -> PeopleTable:
        """List who is who for a file that `import_csv` reads.

        Returns:
            Columns face_id, person_id, person, said_by (the author, or `machine`), a row for each
            face whose person is known.
        """
        return PeopleTable(export_table(self._faces()))

    def import_csv(self, path: str | Path) -> ImportedPeople:
        """Take over who is who from a CSV file.

        Args:
            path: path of the file, with columns face_id and person_id or person (the name). Rows
                with `machine` in a column said_by count only for faces that no grouping has here;
                all others are one decision.

        Raises:
            WrongUsageError: the file cannot be read, lacks a column, or names a face that the
                dataset does not have.
            BusyError: another process is writing the book.
        """
        return import_people(self._book, Path(path))

    def write_sidecars(self, folder: str | Path) -> int:
        """Write an XMP sidecar for each photo that has a named face.

        Args:
            folder: path of the folder, new or empty; the folders of the photos are made in it.

        Returns:
            The number of sidecars.

        Raises:
            WrongUsageError: the folder is not empty.
        """
        return write_sidecars(self.dataset, self._faces(), Path(folder))

    def decisions(self) -> PeopleTable:
        """List the decisions that can be taken back, oldest first.

        Returns:
            Columns decision_id, decided_at (UTC, ISO 8601), author, verb, people (numbers), name,
            num_faces, on and undoes.
        """
        return PeopleTable(decisions_table(self._view()))

    def conflicts(self) -> PeopleTable:
        """List decisions that contradict each other.

        Returns:
            Columns kind (`name` or `face`: two authors say different things, and the later one
            counts; `merge` or `apart`: people are merged who are said to be different, and the
            earlier one counts), earlier_id, earlier_author, later_id, later_author, people
            (numbers), face_id.
        """
        return PeopleTable(conflicts_table(self._view()))

    def name(self, person: PersonName, name: str | None) -> Decision:
        """Give a person a name.

        Args:
            person: number or name of the person.
            name: the name; None: the person has none any more.

        Raises:
            WrongUsageError: there is no such person, or it is no name.
        """
        return verbs.name_person(self._book, person, name)

    def merge(self, people: Sequence[PersonName]) -> Decision:
        """Say that people are one, who keeps number and name of the first of them.

        Args:
            people: numbers or names of two people or more.

        Raises:
            WrongUsageError: there is no such person, or somebody said that two are different.
        """
        return verbs.merge_people(self._book, people)

    def separate(self, one: PersonName, other: PersonName) -> Decision:
        """Say that two people are not one, so that they are neither grouped nor merged.

        Args:
            one: number or name of a person.
            other: number or name of another person.

        Raises:
            WrongUsageError: there is no such person, or they were merged.
        """
        return verbs.separate_people(self._book, one, other)

    def split(self, person: PersonName, faces: str | Sequence[str]) -> Decision:
        """Say that some faces of a person are somebody else.

        Args:
            person: number or name of the person.
            faces: face_ids of faces of this person.

        Returns:
            The decision; the second of its `people` is the new person.

        Raises:
            WrongUsageError: there is no such person, or a face is not this person's.
        """
        return verbs.split_person(self._book, person, _ids(faces))

    def move(self, faces: str | Sequence[str], person: PersonName) -> Decision:
        """Say whose faces some faces are.

        Args:
            faces: face_ids.
            person: number or name of the person.

        Raises:
            WrongUsageError: there is no such person or face.
        """
        return verbs.move_faces(self._book, _ids(faces), person)

    def confirm(self, person: PersonName, faces: str | Sequence[str] = ()) -> Decision:
        """Say that faces are the person whom they are taken for, so that no grouping moves them.

        Args:
            person: number or name of the person.
            faces: face_ids; none: all faces of the person.

        Raises:
            WrongUsageError: there is no such person, or a face is not taken for this person.
        """
        return verbs.confirm_faces(self._book, person, _ids(faces))

    def reject(self, faces: str | Sequence[str], person: PersonName) -> Decision:
        """Say that faces are not a person's, whoever they are.

        Args:
            faces: face_ids.
            person: number or name of the person.

        Raises:
            WrongUsageError: there is no such person or face.
        """
        return verbs.reject_faces(self._book, _ids(faces), person)

    def ignore(self, people: PersonName | Sequence[PersonName], *, on: bool = True) -> Decision:
        """Say that people are strangers, who are no longer listed or asked about.

        Args:
            people: numbers or names of people.
            on: False: they are listed again.

        Raises:
            WrongUsageError: there is no such person.
        """
        return verbs.flag_people(self._book, "ignore", _people(people), on=on)

    def hide(self, people: PersonName | Sequence[PersonName], *, on: bool = True) -> Decision:
        """Leave people out of lists and sheets; searches still find them.

        Args:
            people: numbers or names of people.
            on: False: they are shown again.

        Raises:
            WrongUsageError: there is no such person.
        """
        return verbs.flag_people(self._book, "hide", _people(people), on=on)

    def undo(self, decision_id: str) -> Decision:
        """Take a decision back.

        Args:
            decision_id: id of the decision, from `decisions`.

        Raises:
            WrongUsageError: there is no such decision, others rest on it, or without it others
                contradict each other.
        """
        return verbs.undo_decision(self._book, decision_id)


def _ids(faces: str | Iterable[str]) -> list[str]:
    return [faces] if isinstance(faces, str) else list(map(str, faces))


def _people(people: PersonName | Sequence[PersonName]) -> list[PersonName]:
    return [people] if isinstance(people, int | str) else list(people)


def _numbers(view: PeopleView, people: PersonName | Sequence[PersonName]) -> set[int]:
    return {view.find(person) for person in _people(people)}
