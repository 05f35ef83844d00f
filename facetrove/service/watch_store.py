"""Watches, their matches and the faces that are known: an SQLite database in the state's folder.

A face is *known* from the first version of the index on that had it. Each look at a version has a
*sequence* number, which its new faces get, and each watch has the number up to which all faces have
been compared with it. One look is one transaction: it is on the disk whole, with its matches and
what the hook is to be told, or not at all. So a match is stored once, however the server ends.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facetrove.service.database import empty_log, open_database
from facetrove.service.jobs import now
from facetrove.service.refusals import key_reused, too_large
from facetrove.service.watch_records import Look, NewWatch, StoredMatch, Watch

DATABASE = "watches.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS watches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    watch_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    created TEXT NOT NULL,
    source TEXT NOT NULL,
    fpir REAL NOT NULL,
    filter TEXT,
    person_id INTEGER,
    faces TEXT NOT NULL,
    probe BLOB,
    contract TEXT NOT NULL,
    compared INTEGER NOT NULL,
    last_match INTEGER NOT NULL DEFAULT 0,
    num_matches INTEGER NOT NULL DEFAULT 0,
    num_dropped INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    idempotency_key TEXT,
    digest TEXT NOT NULL,
    UNIQUE (owner, idempotency_key)
);
CREATE TABLE IF NOT EXISTS matches (
    watch INTEGER NOT NULL REFERENCES watches (number) ON DELETE CASCADE,
    match_id INTEGER NOT NULL,
    face_id TEXT NOT NULL,
    similarity REAL NOT NULL,
    version INTEGER NOT NULL,
    found TEXT NOT NULL,
    PRIMARY KEY (watch, match_id),
    UNIQUE (watch, face_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS matches_by_face ON matches (face_id);
CREATE TABLE IF NOT EXISTS deliveries (
    watch INTEGER PRIMARY KEY REFERENCES watches (number) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS known (face INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS segments (segment_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looks (
    one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL, purged TEXT
);
INSERT OR IGNORE INTO looks VALUES (1, 0, NULL);
"""

_WATCH = ", ".join(Watch.__dataclass_fields__)


def face_numbers(face_ids: Iterable[str]) -> NDArray[np.int64]:
    """Return (n,) int64, the numbers by which n faces are known: 64 bits of a digest of each id.

    That a new face has the number of one of ten million known ones has a chance of 5 in 10^13.
    """
    digests = (hashlib.sha256(f"facetrove watched {face}".encode()).digest() for face in face_ids)
    return np.frombuffer(b"".join(digest[:8] for digest in digests), "<i8").astype(np.int64)


class WatchStore:
    """The database of watches. Its methods may be called from any thread. Use `open`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, state_dir: Path) -> WatchStore:
        """Open the database of a folder, whose lease the caller holds, or make it.

        Raises:
            CorruptFileError: it is no such database.
        """
        return cls(open_database(state_dir / DATABASE, _SCHEMA, what="watches"))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for one transaction."""
        with self._lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for reading."""
        with self._lock:
            yield self.connection

    def same_request(self, owner: str, key: str | None, digest: str) -> Watch | None:
        """Return the watch that a request with an idempotency key has made before.

        Raises:
            RefusedError: the key was that of another request.
        """
        if key is None:
            return None
        with self.reading() as connection:
            row = connection.execute(
                f"SELECT {_WATCH}, digest FROM watches WHERE owner = ? AND idempotency_key = ?",  # noqa: S608
                (owner, key),
            ).fetchone()
        if row is not None and row["digest"] != digest:
            raise key_reused()
        return None if row is None else _watch_of(row)

    def require_room(self, max_watches: int) -> None:
        """Raise RefusedError if there are as many watches as there may be."""
        with self.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM watches").fetchone()
        if count >= max_watches:
            raise too_large(
                "max_watches",
                f"there are {count} watches, which is the limit; delete one, or have the "
                "server's operator raise --max-watches",
            )

    def add(self, new: NewWatch) -> Watch:
        """Store a watch, with which all faces that are known count as compared."""
        watch_id = uuid4().hex
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO watches (watch_id, owner, created, source, fpir, filter, person_id, "
                "faces, probe, contract, compared, idempotency_key, digest) VALUES (?, ?, ?, ?, ?, "
                "?, ?, ?, ?, ?, (SELECT sequence FROM looks), ?, ?)",
                (
                    *(watch_id, new.owner, now(), new.source, new.fpir, new.filter),
                    *(new.person_id, json.dumps(list(new.faces))),
                    None if new.probe is None else new.probe.astype("<f4").tobytes(),
                    *(new.contract, new.idempotency_key, new.digest),
                ),
            )
        found = self.find(watch_id)
        assert found is not None, "whoever deletes waits for whoever adds"
        return found

    def find(self, watch_id: str) -> Watch | None:
        """Return a watch; None: there is none of that id."""
        with self.reading() as connection:
            row = connection.execute(
                f"SELECT {_WATCH} FROM watches WHERE watch_id = ?",  # noqa: S608
                (watch_id,),
            ).fetchone()
        return None if row is None else _watch_of(row)

    def newest(self, limit: int | None = None, *, owner: str | None = None) -> list[Watch]:
        """Return the newest watches, newest first.

        Args:
            limit: maximum number of watches; None: all.
            owner: name of the key whose watches they are; None: all.
        """
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT {_WATCH} FROM watches WHERE ?1 IS NULL OR owner = ?1 "  # noqa: S608
                "ORDER BY number DESC LIMIT ?2",
                (owner, -1 if limit is None else limit),
            ).fetchall()
        return list(map(_watch_of, rows))

    def delete(self, watches: Collection[Watch]) -> None:
        """Remove watches with all that is stored of them; without any left, no face is known."""
        with self.writing() as connection:
            connection.executemany(
                "DELETE FROM watches WHERE number = ?", [(watch.number,) for watch in watches]
            )
            if not connection.execute("SELECT 1 FROM watches LIMIT 1").fetchone():
                connection.execute("DELETE FROM known")
                connection.execute("DELETE FROM segments")
        self.empty_log()

    def matches(self, watch: Watch, *, after: int, limit: int) -> list[StoredMatch]:
        """Return the first matches of a watch after one, oldest first.

        Args:
            watch: the watch.
            after: number of the match after which they begin; 0: from the first.
            limit: maximum number of matches.
        """
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT match_id, face_id, similarity, version, found FROM matches "
                "WHERE watch = ? AND match_id > ? ORDER BY match_id LIMIT ?",
                (watch.number, min(after, 2**62), limit),
            ).fetchall()
        return [StoredMatch(**dict(row)) for row in rows]

    def last_look(self) -> tuple[int, str | None, frozenset[str]]:
        """Return sequence number, purges and segments of the last look."""
        with self.reading() as connection:
            sequence, purged = connection.execute("SELECT sequence, purged FROM looks").fetchone()
            segments = connection.execute("SELECT segment_id FROM segments").fetchall()
        return sequence, purged, frozenset(name for (name,) in segments)

    def sequences(self, faces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) int64, at which look each of n faces was first seen; -1: it is not known."""
        with self.reading() as connection:
            if not connection.execute("SELECT 1 FROM known LIMIT 1").fetchone():
                return np.full(len(faces), -1, np.int64)
            find = "SELECT sequence FROM known WHERE face = ?"
            rows = [connection.execute(find, (face,)).fetchone() for face in faces.tolist()]
        return np.array([-1 if row is None else row[0] for row in rows], np.int64)

    def record(self, look: Look, *, max_matches: int, tells: bool) -> list[str]:
        """Store a look, and return the ids of the watches that have new matches.

        Args:
            look: the look.
            max_matches: number of matches of each watch that are kept; the oldest are dropped.
            tells: whether there is a hook, which is to be told.
        """
        with self.writing() as connection:
            connection.execute(
                "UPDATE looks SET sequence = ?, purged = ?", (look.sequence, look.purged)
            )
            connection.executemany(
                "INSERT OR IGNORE INTO known VALUES (?, ?)",
                ((face, look.sequence) for face in np.sort(look.new).tolist()),
            )
            connection.execute("DELETE FROM segments")
            connection.executemany(
                "INSERT INTO segments VALUES (?)", [(name,) for name in look.segments]
            )
            connection.executemany(
                "UPDATE watches SET problem = ?2, compared = CASE WHEN ?2 IS NULL THEN ?3 ELSE "
                "compared END WHERE number = ?1",
                [(number, problem, look.sequence) for number, problem in look.compared.items()],
            )
            found = (
                _add_matches(connection, number, look, max_matches=max_matches, tells=tells)
                for number in look.matches
            )
            return [watch_id for watch_id in found if watch_id is not None]

    def forget_faces(
        self, are_gone: Callable[[pa.Array], pa.Array], kept: NDArray[np.int64]
    ) -> int:
        """Remove the matches of faces that are gone, and forget these faces.

        Args:
            are_gone: function that says of (n,) string face ids which are gone, (n,) bool.
            kept: (k,) int64, numbers of the faces that are not gone.

        Returns:
            The number of matches that were removed.
        """
        with self.writing() as connection:
            ids = connection.execute("SELECT DISTINCT face_id FROM matches").fetchall()
            faces = pa.array([face for (face,) in ids], pa.string())
            gone = faces.filter(are_gone(faces)).to_pylist()
            before = connection.total_changes
            connection.executemany(
                "DELETE FROM matches WHERE face_id = ?", [(face,) for face in gone]
            )
            count = connection.total_changes - before
            connection.execute(
                "UPDATE watches SET num_matches = (SELECT count(*) FROM matches "
                "WHERE watch = watches.number)"
            )
            known = np.array([face for (face,) in connection.execute("SELECT face FROM known")])
            forgotten = np.setdiff1d(known.astype(np.int64), kept)
            connection.executemany(
                "DELETE FROM known WHERE face = ?", [(face,) for face in forgotten.tolist()]
            )
            return count

    def replace_faces(self, faces: Collection[tuple[Watch, Sequence[str]]]) -> None:
        """Replace the ids of the faces that watches were made from."""
        with self.writing() as connection:
            connection.executemany(
                "UPDATE watches SET faces = ? WHERE number = ?",
                [(json.dumps(list(ids)), watch.number) for watch, ids in faces],
            )

    def vacuum(self) -> None:
        """Rewrite the file, so that nothing is left in it of what was removed."""
        with self._lock:
            self.connection.execute("VACUUM")
        self.empty_log()

    def empty_log(self) -> None:
        """Empty the database's log, which has earlier pages."""
        with self._lock:
            empty_log(self.connection)


def _add_matches(
    connection: sqlite3.Connection, number: int, look: Look, *, max_matches: int, tells: bool
) -> str | None:
    """Add a watch's matches of a look; return its id, or None if there are none after all."""
    row = connection.execute(
        "SELECT watch_id, last_match FROM watches WHERE number = ?", (number,)
    ).fetchone()
    if row is None:
        return None
    watch_id, last = row
    first, time = last + 1, now()
    for face_id, similarity in look.matches[number]:
        done = connection.execute(
            "INSERT OR IGNORE INTO matches VALUES (?, ?, ?, ?, ?, ?)",
            (number, last + 1, face_id, similarity, look.version, time),
        )
        last += done.rowcount
    if last < first:
        return None
    dropped = connection.execute(
        "DELETE FROM matches WHERE watch = ? AND match_id <= ?", (number, last - max_matches)
    ).rowcount
    connection.execute(
        "UPDATE watches SET last_match = ?1, num_matches = num_matches + ?1 - ?2 - ?3, "
        "num_dropped = num_dropped + ?3 WHERE number = ?4",
        (last, first - 1, dropped, number),
    )
    if tells:
        connection.execute(
            "INSERT INTO deliveries (watch, first, last, due) VALUES (?, ?, ?, 0) "
            "ON CONFLICT (watch) DO UPDATE SET last = excluded.last",
            (number, first, last),
        )
    return str(watch_id)


def _watch_of(row: sqlite3.Row) -> Watch:
    fields = {name: row[name] for name in Watch.__dataclass_fields__}
    fields["faces"] = tuple(json.loads(fields["faces"]))
    if fields["probe"] is not None:
        fields["probe"] = np.frombuffer(fields["probe"], "<f4").astype(np.float32)
    return Watch(**fields)
