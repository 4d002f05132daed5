"""Hash chains, and the high-water mark that says how far one had come.

Guarantees:
    - Each link's hash covers its content and the hash before it (SHA-256), so that an entry that
      was edited, taken out, put in or moved breaks every hash after it.
    - A chain cannot show that its end was cut off, or that all of it was made anew: the mark
      can. It is a file of its own, to be kept on another disk or under another account, and it
      only ever rises.
Not guaranteed:
    Whoever can write both files can forge both. Entries that were written after the mark last
    rose (a crash can leave one) can be cut without a trace; nothing is trained or sent on the
    strength of an entry before the mark covers it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import LedgerBroken
from privacy.files import connect, make_private

START = "0" * 64
"""The hash before the first link."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mark (
    chain TEXT PRIMARY KEY,
    length INTEGER NOT NULL CHECK (length >= 0),
    head TEXT NOT NULL
) STRICT;
"""


def link(previous: str, content: object) -> str:
    """The hash of a link with this JSON content after the one whose hash is `previous`."""
    text = json.dumps([previous, content], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Height:
    """How far a chain has come.

    Attributes:
        length: Links.
        head: Hash of the last.
    """

    length: int = 0
    head: str = START


class Mark:
    """The high-water marks of a site's chains, in one small SQLite file.

    Args:
        path: Made with mode 0600 when the first mark is begun.
        chain: Which chain.
    """

    def __init__(self, path: Path, *, chain: str) -> None:
        self.path = path
        self.chain = chain
        self._kept: sqlite3.Connection | None = None

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Keeps the file open, where there is one. See `Ledger.at_hand`."""
        if not self.path.exists():
            yield
            return
        with self._explained():
            database = self._connected()
        with closing(database):
            self._kept = database
            try:
                yield
            finally:
                self._kept = None

    def read(self) -> Height | None:
        """The mark; None where it was never begun, or is lost.

        Raises:
            LedgerBroken: There is a file, but it cannot be read.
        """
        if not self.path.exists():
            return None
        with self._open() as database:
            row = database.execute(
                "SELECT length, head FROM mark WHERE chain = ?", (self.chain,)
            ).fetchone()
        return None if row is None else Height(*row)

    def begin(self, height: Height) -> None:
        """Sets the mark where there is none."""
        make_private(self.path)
        with self._open() as database:
            database.execute(
                "INSERT INTO mark VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (self.chain, height.length, height.head),
            )

    def rise(self, height: Height) -> None:
        """Raises the mark, on disk before it returns; never lowers it.

        Raises:
            LedgerBroken: There is none. It is not made anew: that it was lost must be seen.
        """
        lost = LedgerBroken(f"the high-water mark at {self.path.name} was lost meanwhile")
        if not self.path.exists():
            raise lost
        with self._open() as database:
            risen = database.execute(
                "UPDATE mark SET length = ?, head = ? WHERE chain = ? AND length < ?",
                (height.length, height.head, self.chain, height.length),
            ).rowcount
        if not risen and self.read() is None:
            raise lost

    @property
    def lost(self) -> bool:
        """Whether there is no mark."""
        return self.read() is None

    def renew(self, hashes: list[str]) -> Height:
        """Begins a mark over a whole chain where there is none; the operator's own decision.

        Raises:
            LedgerBroken: There is a mark.
        """
        if self.read() is not None:
            raise LedgerBroken(f"there is a high-water mark at {self.path.name}; nothing to begin")
        height = Height(len(hashes), hashes[-1] if hashes else START)
        self.begin(height)
        return height

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            if self._kept is not None:
                yield self._kept
                return
            with closing(self._connected()) as database:
                yield database

    def _connected(self) -> sqlite3.Connection:
        database = connect(self.path)
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        return database

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerBroken(
                f"the high-water mark at {self.path.name} cannot be used: {error}; restore it, or "
                "move it away and begin another"
            ) from None


def fault(hashes: list[str], mark: Height | None) -> str | None:
    """What a mark says is wrong with a chain whose own links hold; None where nothing is.

    Args:
        hashes: Of every link, in order.
        mark: As kept apart.
    """
    if mark is None:
        if not hashes:
            return None
        return "its high-water mark is missing"
    if mark.length > len(hashes):
        return f"it has {len(hashes)} entries, its high-water mark says {mark.length}"
    if mark.length and hashes[mark.length - 1] != mark.head:
        return f"entry {mark.length} is not the one that its high-water mark saw"
    return None
