"""Erasing from the store, and looking into the raw files for what should be gone.

Guarantees:
    - A note goes when its last owner goes, and not before.
    - What goes is overwritten (secure_delete), the log is emptied and the file written anew, so
      that no page keeps an old copy; then the raw bytes of the files are searched for it.
    - Killed at any moment, the store opens as it was before or after, and erasing again ends
      what was begun.
Not guaranteed:
    The blocks that the file system gave up, its snapshots and copies, backups, and what the
    disk keeps of its own. All that is there is sealed; only destroying the store's key reaches
    it (`privacy.keys.destroy_key`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.store import tag
from embeddings.store_file import explained, open_database, parts
from privacy.errors import StoreBroken, StoreFull
from privacy.files import remove

SAMPLE_BYTES = 32
BLOCK_BYTES = 1 << 24

# Of a study or of a patient; the one that is not meant is NULL, which no row holds.
_KEPT = """
SELECT count(*) FROM record WHERE
    EXISTS (SELECT 1 FROM owner WHERE note = key AND (study IS :study OR patient IS :patient))
    AND EXISTS (
        SELECT 1 FROM owner WHERE note = key AND NOT (study IS :study OR patient IS :patient)
    )
"""
_DOOMED = """
SELECT key, substr(sealed, 1, :sample), substr(sealed, length(sealed) / 2, :sample),
    substr(sealed, -:sample)
FROM record WHERE NOT EXISTS (
    SELECT 1 FROM owner WHERE note = key AND NOT (study IS :study OR patient IS :patient)
)
"""
_DISOWN = "DELETE FROM owner WHERE study IS :study OR patient IS :patient"
_ERASE = "DELETE FROM record WHERE NOT EXISTS (SELECT 1 FROM owner WHERE note = key)"


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose ownership ends: a study's or a patient's.

    Attributes:
        study: The digest's bytes.
        patient: The patient's keyed hash.
    """

    study: bytes | None = None
    patient: bytes | None = None

    def __post_init__(self) -> None:
        if bool(self.study) == bool(self.patient):
            raise ValueError("owners are those of a study or of a patient")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased.

    Attributes:
        records: How many notes' vectors.
        kept: How many more stay, for their other owners.
        needles: Byte strings that only they had: keys, samples of the sealed bytes, the owner.
        found_before: How many of the needles the files held before.
    """

    records: int = 0
    kept: int = 0
    needles: frozenset[bytes] = frozenset()
    found_before: int = 0


def erase(path: Path, owners: Owners, *, secret: bytes) -> Erased:
    """Ends an ownership and erases what nobody else owns; the caller holds the lock alone.

    Args:
        path: The store.
        owners: Whose.
        secret: The site's key for hashing: whoever owns under another is none.

    Raises:
        StoreBroken: The file is damaged, or was filled under another key of the site's.
        StoreFull: There is no room to write the file anew; it is erased, but not yet shrunk.
    """
    if not path.exists():
        return Erased()
    with closing(open_database(path)) as database, explained():
        database.execute("PRAGMA synchronous = FULL")
        database.execute("REINDEX")  # a flipped bit in an index would hide a row
        _empty_log(database)
        database.executemany("DELETE FROM owner WHERE rowid = ?", _forged(database, secret))
        named = {"study": owners.study, "patient": owners.patient}
        (kept,) = database.execute(_KEPT, named).fetchone()
        needles = _needles(database, named)
        found = len(search(parts(path), needles))
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_DISOWN, named)
            records = database.execute(_ERASE).rowcount
        _rewrite(database)
    return Erased(records, kept, frozenset(needles), found)


def erase_all(path: Path) -> int | None:
    """Removes the store's files; the caller holds the lock alone, and the key is destroyed.

    Returns:
        How many notes' vectors there were; None where the file could not be read any more.
    """
    records: int | None = 0
    if path.exists():
        try:
            with closing(open_database(path)) as database, explained():
                (records,) = database.execute("SELECT count(*) FROM record").fetchone()
        except StoreBroken:
            records = None
    # The database before its log: SQLite drops the log of a database that is not there, and
    # would take a database whose log is not there for a whole one.
    remove(*parts(path))
    return records


def search(files: Iterable[Path], needles: Collection[bytes]) -> set[bytes]:
    """Which of the needles stand somewhere in the raw bytes of the files.

    Args:
        files: Those that are missing hold nothing. Read in blocks.
        needles: At least 8 bytes each.
    """
    found: set[bytes] = set()
    if not needles:
        return found
    starts: dict[bytes, list[bytes]] = {}
    for needle in needles:
        starts.setdefault(needle[:8], []).append(needle)
    # One look in a table at the first three bytes leaves few places to look at closely.
    table = np.zeros(1 << 24, np.bool_)
    table[[int.from_bytes(start[:3], "little") for start in starts]] = True
    longest = max(map(len, needles))
    for path in files:
        with suppress(FileNotFoundError):
            for block in _blocks(path, overlap=longest - 1):
                content = np.frombuffer(block, np.uint8)
                first = content[:-2].astype(np.uint32)
                first |= content[1:-1].astype(np.uint32) << 8
                first |= content[2:].astype(np.uint32) << 16
                for place in np.flatnonzero(table[first]).tolist():
                    for needle in starts.get(block[place : place + 8], ()):
                        if block.startswith(needle, place):
                            found.add(needle)
    return found


def _blocks(path: Path, *, overlap: int) -> Iterator[bytes]:
    """A file's bytes in blocks, each with the end of the one before."""
    with path.open("rb") as file:
        block = b""
        while more := file.read(BLOCK_BYTES):
            block = block[max(0, len(block) - overlap) :] + more
            if len(block) >= 3:
                yield block


def _forged(database: sqlite3.Connection, secret: bytes) -> list[tuple[int]]:
    """The rows of owners that do not say what was written.

    Raises:
        StoreBroken: None does: the site's key is another.
    """
    rows = database.execute("SELECT rowid, note, patient, study, tag FROM owner")
    forged, count = [], 0
    for number, *said, mark in rows:
        count += 1
        if not all(isinstance(value, bytes) for value in said) or tag(secret, *said) != mark:
            forged.append((number,))
    if count and len(forged) == count:
        raise StoreBroken(
            "the site's embedding store was filled under another site.key: restore that file, or "
            "purge everything"
        )
    return forged


def _needles(database: sqlite3.Connection, named: dict[str, bytes | None]) -> set[bytes]:
    """What only the owner and the records that go have in the file."""
    needles = {owner for owner in named.values() if owner}
    for row in database.execute(_DOOMED, named | {"sample": SAMPLE_BYTES}):
        needles.update(value for value in row if isinstance(value, bytes) and len(value) >= 8)
    return needles


def _rewrite(database: sqlite3.Connection) -> None:
    """Writes the file anew without what was deleted, and empties the log.

    Raises:
        StoreFull: There is no room for it.
    """
    try:
        _empty_log(database)
        database.execute("VACUUM")
        _empty_log(database)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
        raise StoreFull(
            "what was purged is overwritten, but the disk has no room to write the store's file "
            "anew; make room and purge again"
        ) from None


def _empty_log(database: sqlite3.Connection) -> None:
    """Writes the log into the file and cuts it to nothing.

    Raises:
        StoreBroken: Somebody reads, though nobody should.
    """
    (busy, _, _) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreBroken(
            "another program has the site's embedding store open; close it and purge again"
        )
