"""The read model of a people book: a local SQLite database in the user's cache.

    CACHE/people/<dataset>/book.sqlite   0600

It says the same as the files of the book, in a form in which one face or one person is found at
once among millions, and is brought up to date by the files that it has not seen. It can be removed
at any time: it is built again where it is missing, corrupt or has seen files that are no longer
there, as after a purge. Where the cache cannot be written, it is kept in memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from faces.core.errors import BusyError, MissingFileError
from faces.core.machine import cache_dir
from faces.core.storage import Folder
from faces.dataset.layout import BookFile, book_folder
from faces.dataset.people_decisions import Decision, book_files
from faces.dataset.people_groups import Groups, read_groups
from faces.dataset.people_model_tables import TablesUpdate, connected, fits, transaction
from faces.dataset.people_rules import FaceWords, PeopleState, resolve_people

MODELS_DIR = "people"
"""Name of the folder of all read models in the cache."""

MODEL_FILE = "book.sqlite"

_MODEL_FILES = (MODEL_FILE, f"{MODEL_FILE}-wal", f"{MODEL_FILE}-shm", f"{MODEL_FILE}-journal")

MAX_VARIABLES = 900
"""Values that one query asks about: SQLite allows 999 variables in every version."""

READ_ATTEMPTS = 5
"""How often the book is listed again when a file is gone that was listed: a purge or a grouping has
just replaced it."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ModelState:
    """What a read model has seen.

    Attributes:
        people: what the decisions say of people.
        decisions: the decisions in their order, without their faces.
        num_faces: number of faces of each decision, by key.
        groups: file of the machine's grouping; None: there is none.
        next_person: smallest number that no person of the grouping has had.
        listed: names by photo lists, by the number of the person in the grouping.
        token: changes whenever the book does.
    """

    people: PeopleState
    decisions: tuple[Decision, ...]
    num_faces: dict[str, int]
    groups: BookFile | None
    next_person: int
    listed: dict[int, str]
    token: tuple[str, ...]


class PeopleModel:
    """The read model of the people book of one dataset, shared between threads.

    Args:
        dataset_dir: the dataset's folder.
    """

    def __init__(self, dataset_dir: Path) -> None:
        self.folder = book_folder(dataset_dir)
        self._cache = f"{MODELS_DIR}/{_digest(dataset_dir)}"
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, ...] = ()
        self._closed: weakref.finalize[..., PeopleModel] | None = None
        self._state: ModelState | None = None
        self._names: frozenset[str] = frozenset()
        self._in_memory = False
        self._groups: tuple[BookFile, Groups] | None = None

    def refresh(self) -> ModelState:
        """Bring the database up to date with the files of the book, and return what it has seen.

        Raises:
            CorruptFileError: a file of the book cannot be read.
            FaceTroveError: a newer facetrove wrote a file of the book.
        """
        for attempt in range(READ_ATTEMPTS):
            names = frozenset(self.folder.names())
            with self._lock:
                if self._state is not None and names == self._names and self._is_same_file():
                    return self._state
                try:
                    self._state, self._names = self._updated(names)
                    return self._state
                except MissingFileError:
                    if attempt + 1 == READ_ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query on the tables."""
        with self._lock:
            if self._state is None or not self._is_same_file():
                self.refresh()
            return self._attempt(lambda db: db.execute(sql, values).fetchall(), is_query=True)

    def query_many(self, sql: str, values: Iterable[Any]) -> list[Any]:
        """Return the rows of a query that has `IN (*)` for some values, whatever their number."""
        given, rows = list(values), []
        for start in range(0, len(given), MAX_VARIABLES):
            some = given[start : start + MAX_VARIABLES]
            rows += self.query(sql.replace("(*)", f"({','.join('?' * len(some))})"), some)
        return rows

    def words_about(self, face_ids: Sequence[str]) -> dict[str, FaceWords]:
        """Return what decisions in force say of some faces, of which they say anything."""
        sql = "SELECT face, person, key FROM placed WHERE face IN (*)"
        placed = {face: (person, key) for face, person, key in self.query_many(sql, face_ids)}
        rejected: dict[str, list[tuple[int, str]]] = {}
        sql = "SELECT face, person, key FROM rejected WHERE face IN (*)"
        for face, person, key in self.query_many(sql, face_ids):
            rejected.setdefault(face, []).append((person, key))
        return {
            face: FaceWords(placed.get(face), tuple(rejected.get(face, ())))
            for face in {**placed, **rejected}
        }

    def grouped(self, face_ids: Sequence[str]) -> dict[str, tuple[int, float]]:
        """Return the number of the person, and the doubt, of those of some faces that have them."""
        sql = "SELECT face, person, doubt FROM grouped WHERE face IN (*)"
        return {face: (person, doubt) for face, person, doubt in self.query_many(sql, face_ids)}

    def groups(self) -> Groups:
        """Return the machine's grouping, read from its file unless that was read before."""
        for _ in range(READ_ATTEMPTS):
            file, read = self.refresh().groups, self._groups
            if file is None:
                return Groups.empty()
            if read is not None and read[0] == file:
                return read[1]
            with suppress(MissingFileError):
                self._groups = file, read_groups(self.folder, file)
        raise MissingFileError(f"{self.folder.at()} is written again and again; try again")

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            if self._closed is not None:
                self._closed()
            self._connection, self._state, self._closed = None, None, None

    def _is_same_file(self) -> bool:
        """Whether the database that is open is the one in the cache, and this process's own."""
        if self._identity[:1] != (os.getpid(),):
            return False
        if len(self._identity) == 1:
            return True  # in memory
        try:
            found = Path(cache_dir(), self._cache, MODEL_FILE).stat()
        except OSError:
            return False
        return self._identity[1:] == (found.st_dev, found.st_ino)

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, is_query: bool = False) -> T:
        """Do work on the database: where it is corrupt on a new one, at last on one in memory.

        Args:
            work: function of the database.
            is_query: whether it needs a database that is up to date.

        Raises:
            BusyError: another process brings the database up to date, and does not finish.
        """
        with self._lock:
            if not self._is_same_file():
                self.close()
            for number in range(3):
                try:
                    return work(self._opened())
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode & 0xFF in (
                        sqlite3.SQLITE_BUSY,
                        sqlite3.SQLITE_LOCKED,
                    ):
                        raise BusyError(
                            f"another process is reading {self.folder.at()} for the first time; "
                            "try again"
                        ) from error
                    self._remove()
                    self._in_memory = number == 1
                    if is_query:
                        self.refresh()
            raise AssertionError("a database in memory is not corrupt")

    def _updated(self, names: frozenset[str]) -> tuple[ModelState, frozenset[str]]:
        """Return what the book says, and the names of the files by which it does.

        Args:
            names: the names of the files in the book's folder a moment ago.
        """
        if book_files(names) == ({}, None):
            self._remove()  # of most datasets there is none
            return ModelState(resolve_people([]), (), {}, None, 1, {}, ()), names

        def update(database: sqlite3.Connection) -> tuple[ModelState, frozenset[str]] | None:
            with transaction(database):
                # Listed here, so that no file is missing that another process has just added.
                found = frozenset(self.folder.names())
                files = book_files(found)
                if fits(database, *files):
                    return self._up_to_date(database, *files), found
            return None

        updated = self._attempt(update)
        if updated is None:
            self._remove()
            updated = self._attempt(update)
        if updated is None:
            raise MissingFileError(f"{self.folder.at()} is being purged; try again")
        return updated

    def _up_to_date(
        self,
        database: sqlite3.Connection,
        files: dict[str, BookFile],
        groups: BookFile | None,
    ) -> ModelState:
        """Bring the tables up to date, in a transaction, and return what they hold."""
        update = TablesUpdate(database, self.folder)
        before = self._state
        known = {} if before is None else {d.key: d for d in before.decisions}
        decisions, new = update.add_decisions(files, known)
        more = decisions[len(before.decisions) :] if before is not None else ()
        appended = before is not None and decisions[: len(before.decisions)] == before.decisions
        if before is not None and appended and all(d.verb != "undo" for d in more):
            people = before.people.extended(more)
        else:
            people = resolve_people(decisions)
        update.put_in_force(people.in_force, new)
        update.load_groups(groups)
        rows = database.execute("SELECT key, num_faces FROM decision").fetchall()
        next_person = database.execute("SELECT value FROM meta WHERE name = 'next'").fetchone()
        listed = dict(database.execute("SELECT person, name FROM listed").fetchall())
        token = (*(d.key for d in decisions), "" if groups is None else groups.name)
        return ModelState(people, decisions, dict(rows), groups, int(next_person[0]), listed, token)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection, self._identity = self._open()
            # A connection refers to itself, so that nothing else would close it in time.
            self._closed = weakref.finalize(self, _close, self._connection, os.getpid())
        return self._connection

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, ...]]:
        """Open the database in the cache, made if it is not there, or else one in memory."""
        above, process = Folder(cache_dir(), remedy="remove the file"), os.getpid()
        if self._in_memory:
            return connected(":memory:"), (process,)
        try:
            above.make()
            for name in (MODELS_DIR, self._cache):
                above.make_folder(name)
            name = f"{self._cache}/{MODEL_FILE}"
            if not above.exists(name):
                os.close(above.create(name))
            path = above.at(name)
            database = connected(str(path))
            found = path.stat()
            return database, (process, found.st_dev, found.st_ino)
        except OSError:
            self._in_memory = True
            return connected(":memory:"), (process,)

    def _remove(self) -> None:
        """Throw the database away, so that no byte of it stays in free pages."""
        self.close()
        above = Folder(cache_dir())
        with suppress(OSError):
            _remove_model(above, self._cache)


def remove_models() -> int:
    """Remove the read models of all datasets from this machine's cache; return their number."""
    above, count = Folder(cache_dir()), 0
    for name in above.names(MODELS_DIR):
        _remove_model(above, f"{MODELS_DIR}/{name}")
        count += 1
    return count


def _remove_model(above: Folder, name: str) -> None:
    for file in _MODEL_FILES:
        above.remove(f"{name}/{file}")


def _close(database: sqlite3.Connection, process_id: int) -> None:
    """Close a connection, unless a process that was forked since has inherited it."""
    if os.getpid() == process_id:
        database.close()


def _digest(dataset_dir: Path) -> str:
    path = str(Path(dataset_dir).resolve())
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
