"""The tables of a people book's read model, and how they are brought up to date.

    meta      version of the tables, file of the grouping, smallest number not used yet
    decision  the decisions, without their faces; whether they are in force
    word      what each decision says of a face: that it is a person's (theirs = 1), or is not
    placed    whose a face is, by the last such word in force
    rejected  whose it is not, by words in force
    grouped   whose it is by the machine's grouping
    listed    the name of a person of the grouping by photo lists

`faces.dataset.people_model` opens the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from faces.core.storage import Folder
from faces.dataset.layout import BookFile
from faces.dataset.people_decisions import Decision, read_decision
from faces.dataset.people_groups import Groups, read_groups

MODEL_VERSION = "1"
"""Version of the tables. A database of another version is thrown away."""

WAIT_SECONDS = 30.0
"""Seconds to wait for another process that brings the database up to date."""

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE decision (key TEXT PRIMARY KEY, file TEXT, body BLOB, num_faces INT, in_force INT)
    WITHOUT ROWID;
CREATE TABLE word (face TEXT, key TEXT, person INT, theirs INT, PRIMARY KEY (face, key))
    WITHOUT ROWID;
CREATE INDEX word_key ON word (key);
CREATE TABLE placed (face TEXT PRIMARY KEY, person INT, key TEXT) WITHOUT ROWID;
CREATE INDEX placed_person ON placed (person);
CREATE TABLE rejected (face TEXT, person INT, key TEXT, PRIMARY KEY (face, person)) WITHOUT ROWID;
CREATE TABLE grouped (face TEXT PRIMARY KEY, person INT, doubt REAL) WITHOUT ROWID;
CREATE INDEX grouped_person ON grouped (person);
CREATE TABLE listed (person INT PRIMARY KEY, name TEXT) WITHOUT ROWID;
"""


class TablesUpdate:
    """An update of the tables, inside a transaction."""

    def __init__(self, database: sqlite3.Connection, folder: Folder) -> None:
        self._database = database
        self._folder = folder

    def add_decisions(
        self, files: dict[str, BookFile], known: dict[str, Decision]
    ) -> tuple[tuple[Decision, ...], list[str]]:
        """Add the decisions that are not there; return all, without faces, and the new keys."""
        stored = {key for (key,) in self._database.execute("SELECT key FROM decision")}
        new = [key for key in files if key not in stored]
        for key in new:
            decision = read_decision(self._folder, files[key])
            known[key] = replace(decision, faces=(), rows=())
            body = msgspec.json.encode(known[key])
            row = (key, files[key].name, body, len(decision.faces), 0)
            self._database.execute("INSERT INTO decision VALUES (?, ?, ?, ?, ?)", row)
            words = [(face, key, person, 1) for face, person in decision.placed()]
            words += [(face, key, person, 0) for face, person in decision.rejected()]
            self._database.executemany("INSERT OR REPLACE INTO word VALUES (?, ?, ?, ?)", words)
        if stored - known.keys():
            for key, body in self._database.execute("SELECT key, body FROM decision"):
                if key not in known:
                    known[key] = msgspec.json.decode(body, type=Decision)
        return tuple(known[key] for key in sorted(files)), new

    def put_in_force(self, in_force: frozenset[str], new: Sequence[str]) -> None:
        """Note which decisions are in force, and what those then say of faces."""
        before = "SELECT key FROM decision WHERE in_force"
        were = {key for (key,) in self._database.execute(before)}
        changed = [(key in in_force, key) for key in (were ^ in_force)]
        if not changed and not new:
            return
        self._database.executemany("UPDATE decision SET in_force = ? WHERE key = ?", changed)
        keys = [(key,) for key in {*new, *(key for _, key in changed)}]
        run = self._database.execute
        run("CREATE TEMP TABLE touched (key TEXT)")
        self._database.executemany("INSERT INTO touched VALUES (?)", keys)
        run(
            "CREATE TEMP TABLE face_touched AS SELECT DISTINCT face FROM word "
            "WHERE key IN (SELECT key FROM touched)"
        )
        for table in ("placed", "rejected"):
            run(f"DELETE FROM {table} WHERE face IN (SELECT face FROM face_touched)")  # noqa: S608
        said = (
            "SELECT face, person, max(key) FROM word JOIN decision USING (key) WHERE in_force "
            "AND theirs = ? AND face IN (SELECT face FROM face_touched) GROUP BY "
        )
        run(f"INSERT INTO placed {said} face", (1,))  # SQLite takes the row of the maximum
        run(f"INSERT INTO rejected {said} face, person", (0,))
        run("DROP TABLE touched")
        run("DROP TABLE face_touched")

    def load_groups(self, file: BookFile | None) -> None:
        """Add what the machine's grouping says, if it is not there yet."""
        name = "" if file is None else file.name
        found = self._database.execute("SELECT value FROM meta WHERE name = 'groups'").fetchone()
        if found == (name,):
            return
        groups = Groups.empty() if file is None else read_groups(self._folder, file)
        table = groups.table
        run, many = self._database.execute, self._database.executemany
        run("DROP INDEX grouped_person")
        for batch in table.to_batches(max_chunksize=1 << 16):
            columns = [batch[name].to_pylist() for name in ("face_id", "person", "doubt")]
            many("INSERT INTO grouped VALUES (?, ?, ?)", zip(*columns, strict=True))
        run("CREATE INDEX grouped_person ON grouped (person)")
        many("INSERT INTO listed VALUES (?, ?)", listed_names(table).items())
        values = {"groups": name, "next": str(groups.next_person)}
        many("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def listed_names(table: pa.Table) -> dict[int, str]:
    """Return the name that photo lists give to each person of a grouping: the most frequent one.

    Args:
        table: rows of `faces.dataset.people_groups.GROUPS_SCHEMA`.
    """
    named = table.filter(pc.is_valid(table["listed"])).select(["person", "listed"])
    counts = named.group_by(["person", "listed"]).aggregate([("listed", "count")])
    order = [("listed_count", "ascending"), ("listed", "descending")]
    return {row["person"]: row["listed"] for row in counts.sort_by(order).to_pylist()}


def connected(path: str) -> sqlite3.Connection:
    """Open a database, and make its tables if it has none.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    database = sqlite3.connect(path, WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("PRAGMA trusted_schema = OFF")
        with transaction(database):
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                values = {"version": MODEL_VERSION, "groups": "", "next": "1"}
                sql = "INSERT INTO meta VALUES (?, ?)"
                database.executemany(sql, values.items())
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all of what is written inside, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def fits(database: sqlite3.Connection, files: dict[str, BookFile], groups: BookFile | None) -> bool:
    """Whether a database can be brought up to date: if it holds nothing that is no longer there.

    What is replaced is not removed row by row, which would leave its bytes in free pages.
    """
    meta = dict(database.execute("SELECT name, value FROM meta"))
    seen = {name for (name,) in database.execute("SELECT file FROM decision")}
    same_groups = meta.get("groups") in ("", None if groups is None else groups.name)
    is_known = meta.get("version") == MODEL_VERSION and same_groups
    return is_known and seen <= {file.name for file in files.values()}
