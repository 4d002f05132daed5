"""Files that are the site's alone, and SQLite databases in them."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from privacy.errors import StoreFull

WAIT_SECONDS = 60.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def disk_full() -> StoreFull:
    """What to say where a write found no room."""
    return StoreFull(
        "the disk of the site's store is full; make room and try again: what was written "
        "before is kept"
    )


def make_private(path: Path) -> None:
    """Makes an empty file with mode 0600, and its folder, where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Never opened where it exists: closing any descriptor of a file drops every POSIX lock
        # that this process has on it, SQLite's too, and another process would take its log for
        # abandoned (https://www.sqlite.org/howtocorrupt.html, section 2.2).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    # The name is on disk only when its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_new(path: Path, content: bytes) -> None:
    """Writes a file with mode 0600, on disk before this returns; its folder must be there.

    Raises:
        FileExistsError: There is one already; it stays as it is.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    sync_folder(path.parent)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with a write-ahead log.

    Raises:
        sqlite3.DatabaseError: The file cannot be used, or others held it longer than a minute.
    """
    database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.DatabaseError as error:
            # Changing the mode does not wait for the lock as other statements do.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                database.close()
                raise
            time.sleep(0.05)
        except UnicodeDecodeError:
            # What SQLite says of a damaged schema quotes its bytes.
            database.close()
            damaged = sqlite3.DatabaseError("its schema is damaged")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged from None
        else:
            return database


def sync_folder(folder: Path) -> None:
    """Puts on disk that files of a folder were made, renamed or removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(*paths: Path) -> int:
    """Removes files, durably; how many there were."""
    found = 0
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
            found += 1
    for folder in {path.parent for path in paths if path.parent.is_dir()}:
        sync_folder(folder)
    return found


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A private draft that takes a file's place when the block ends.

    Guarantees:
        - Whoever reads the path finds the old content or the new one, whole, also after a crash.
        - A block that fails leaves no draft. A killed process does; see `drafts`.

    Raises:
        StoreFull: The disk has no room.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.draft")
    try:
        make_private(draft)
        with draft.open("w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise disk_full() from None
        raise
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def drafts(folder: Path, name: str = "*") -> list[Path]:
    """The drafts of a file, or of all files, in a folder."""
    return sorted(folder.glob(f"{name}.*.draft"))


@contextmanager
def locked(path: Path, *, exclusive: bool, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Holds a lock that ends with the process: many may share it, or one has it alone.

    Args:
        path: A file that is nothing but the lock; made if missing, never removed, since two
            processes would then lock two files of one name.
        exclusive: Alone.
        wait: Seconds.

    Raises:
        TimeoutError: Others held it for longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(
                    descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
                )
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError(path.name) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
