"""The store's file: its tables, its key, and what to say where SQLite fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from privacy.errors import StoreBroken
from privacy.files import connect, disk_full, locked, make_private
from privacy.keys import derive, make_key, read_key

# No key is declared unique: a bit that flips in a table or in its index must leave a file whose
# index can be built again.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    chunks INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS record_by_key ON record (key);
CREATE TABLE IF NOT EXISTS owner (
    note BLOB NOT NULL,
    patient BLOB NOT NULL,
    study BLOB NOT NULL,
    tag BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS owner_by_note ON owner (note, patient, study);
CREATE TABLE IF NOT EXISTS proof_of_key (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    value BLOB NOT NULL
) STRICT;
"""

PURGE = "purge everything and prepare the studies again"


def parts(path: Path) -> list[Path]:
    """The files that a store may consist of: the database, its log and the log's index."""
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]


def size(path: Path) -> int:
    """Bytes that a store takes on the disk."""
    return sum(part.stat().st_size for part in parts(path) if part.exists())


def lock_file(path: Path) -> Path:
    """The lock of a store: shared by all who have it open, held alone by a purge."""
    return path.with_name(f"{path.name}.lock")


def purge_file(path: Path) -> Path:
    """The lock that a purge holds alone from before it waits for the store until it is done."""
    return path.with_name(f"{path.name}.purge")


def purge_waits(path: Path) -> bool:
    """Whether a purge waits for the store, or goes on: who works for long lets it go first."""
    try:
        with locked(purge_file(path), exclusive=False, wait=0):
            return False
    except TimeoutError:
        return True


@contextmanager
def in_use(path: Path, *, wait: float) -> Iterator[None]:
    """Keeps purges away while a store is open.

    Raises:
        StoreBroken: A purge is under way.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock_file(path), exclusive=False, wait=wait))
        except TimeoutError:
            raise StoreBroken(
                "the site's embedding store is being purged; try again when that is done"
            ) from None
        yield


@contextmanager
def explained() -> Iterator[None]:
    """Turns SQLite's errors into ours; a mistake in the code stays what it is.

    Raises:
        StoreFull: The disk has no room.
        StoreBroken: The file is damaged, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise disk_full() from None
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StoreBroken(
                f"the file of the site's embedding store is damaged: {PURGE}"
            ) from None
        if code == sqlite3.SQLITE_BUSY:
            raise StoreBroken(
                "another process has held the site's embedding store for long; try again"
            ) from None
        if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise StoreBroken(
                "the site's embedding store cannot be read or written; look at its disk, its "
                "folder and the rights on both"
            ) from None
        raise


def open_database(path: Path) -> sqlite3.Connection:
    """The store's database, made if missing.

    Raises:
        StoreBroken: It cannot be used.
    """
    with explained():
        make_private(path)
        database = connect(path)
        try:
            # What is deleted is overwritten at once: a record replaced, an owner gone.
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA synchronous = NORMAL")  # lost vectors are made again
            database.text_factory = bytes  # a damaged column must not fail by being no text
            database.executescript(_SCHEMA)
            _drop_plain(database)
        except BaseException:
            database.close()
            raise
        return database


def open_key(database: sqlite3.Connection, path: Path) -> bytes:
    """The key that a store is sealed with; made where the store has no record yet.

    Raises:
        KeyBroken: The file is open to others or damaged.
        StoreBroken: The key is lost, or is another than the one that sealed the store.
    """
    filled = database.execute("SELECT 1 FROM record LIMIT 1").fetchone() is not None
    if not path.exists():
        if filled:
            raise StoreBroken(
                f"{path.name} is missing and the site's embedding store cannot be opened without "
                f"it; restore it from a backup, or {PURGE}"
            )
        make_key(path)
    key = read_key(path)
    proof = derive(key, "proof")
    if _proves(database, proof):
        return key
    with database:
        database.execute("BEGIN IMMEDIATE")
        if not _proves(database, proof):  # another process may have been first
            if database.execute("SELECT 1 FROM record LIMIT 1").fetchone() is not None:
                raise StoreBroken(
                    f"{path.name} is not the key that the site's embedding store is sealed with; "
                    f"restore the right one, or {PURGE}"
                )
            database.execute("INSERT OR REPLACE INTO proof_of_key VALUES (1, ?)", (proof,))
    return key


def _proves(database: sqlite3.Connection, proof: bytes) -> bool:
    row = database.execute("SELECT value FROM proof_of_key").fetchone()
    return row is not None and row[0] == proof


def _drop_plain(database: sqlite3.Connection) -> None:
    """Removes the vectors that versions before encryption left in the file, to the last byte."""
    plain = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'note'"
    if database.execute(plain).fetchone() is not None:
        database.execute("DROP TABLE note")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
