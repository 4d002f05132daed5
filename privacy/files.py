"""Files that are the site's alone, and SQLite databases in them."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

WAIT_SECONDS = 60.0


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


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with a write-ahead log.

    Raises:
        sqlite3.OperationalError: Others held the file for longer than a minute.
    """
    database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # Changing the mode does not wait for the lock as other statements do.
            if time.monotonic() > end:
                database.close()
                raise
            time.sleep(0.05)
        else:
            return database
