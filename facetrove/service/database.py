"""The SQLite databases of the state's folder, which forget what is taken out of them.

They are for their owner alone, and commit to the disk. With `secure_delete`, and with a log that is
emptied once something was removed, what is removed is in no byte of their files.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from faces.core.descriptors import PRIVATE_FILE_MODE
from faces.core.errors import CorruptFileError


def open_database(path: Path, schema: str, *, what: str) -> sqlite3.Connection:
    """Open a database, or make it; the caller holds the lease of its folder.

    Args:
        path: path of the database.
        schema: statements that make the tables which there are not yet.
        what: what the database is of, for messages, such as "jobs".

    Returns:
        A connection for any thread, which begins transactions only when it is told to.

    Raises:
        CorruptFileError: it is no such database.
    """
    path.touch(PRIVATE_FILE_MODE)
    try:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(schema)
        empty_log(connection)
    except sqlite3.DatabaseError as error:
        raise CorruptFileError(
            f"{path} is no database of {what} ({error}); move it away to begin a new one"
        ) from error
    return connection


def empty_log(connection: sqlite3.Connection) -> None:
    """Move what is in the log into the database, and empty the log: it has earlier pages."""
    with closing(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")) as cursor:
        cursor.fetchall()
