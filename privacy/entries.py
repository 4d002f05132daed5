"""The entries of a ledger, and how they are read back: all of them, or an error."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from privacy import chain
from privacy.accounting import Events
from privacy.budget import Spend
from privacy.errors import LedgerBroken, StudyRefused

Cohort = Literal["train", "heldout"]
EntryKind = Literal["spend", "certified", "settled", "approved", "revoked"]

VERSION = 2

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    dataset TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL CHECK (json_valid(body)),
    at TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS entry_is_kept BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entry_is_new BEFORE INSERT ON entry
    WHEN EXISTS (SELECT 1 FROM entry WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entry_is_final BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
PRAGMA user_version = 2;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    Attributes:
        id: From 1, without gaps.
        dataset: Whose patients it is about.
        kind: `spend`: a charge. `certified`: that some spends together stay below an epsilon.
            `settled`: a value that may not change. `approved`, `revoked`: a decision on a study.
        body: What the entry says, by kind.
        at: When, UTC, ISO 8601 to the second.
        hash: Of this entry and all before it.
    """

    id: int
    dataset: str
    kind: EntryKind
    body: dict[str, Any]
    at: str
    hash: str

    def check(self) -> None:
        """Checks that the entry is one of its kind: one that cannot be read must not count for
        nothing.

        Raises:
            ValueError: It is not.
        """
        if datetime.fromisoformat(self.at).tzinfo is None:
            raise ValueError("a time without a zone")
        if self.kind == "spend":
            if self.cohort not in get_args(Cohort):
                raise ValueError("no such cohort")
            self.spend  # noqa: B018 - reading it is the check
        elif self.kind == "certified":
            float(self.body["delta"]), float(self.body["epsilon"]), self.events
            self.body["accountants"]
        elif self.kind == "settled":
            self.body["name"], self.body["value"]
        elif self.kind in {"approved", "revoked"}:
            self.body["study"]
        else:
            raise ValueError("no such kind")

    @property
    def cohort(self) -> Cohort | None:
        """Whose line a spend stands on; None for other kinds."""
        return self.body["cohort"] if self.kind == "spend" else None

    @property
    def spend(self) -> Spend:
        """The spend; only where `kind` is `spend`."""
        return Spend(**{key: value for key, value in self.body.items() if key != "cohort"})

    @property
    def events(self) -> Events:
        """The events that were certified; only where `kind` is `certified`."""
        return tuple((float(n), float(r), int(s)) for n, r, s in self.body["events"])

    @classmethod
    def after(
        cls, entries: Sequence[Entry], kind: EntryKind, body: dict[str, Any], *, dataset: str
    ) -> Entry:
        """The entry that follows on these."""
        previous = entries[-1].hash if entries else chain.START
        at = datetime.now(UTC).isoformat(timespec="seconds")
        number = len(entries) + 1
        made = chain.link(previous, [number, dataset, kind, text(body), at])
        entry = cls(number, dataset, kind, body, at, made)
        entry.check()
        return entry


def text(body: dict[str, Any]) -> str:
    """A body as the one JSON text that is hashed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def linked(database: sqlite3.Connection, *, name: str, after: Sequence[Entry] = ()) -> list[Entry]:
    """Every entry of the file, of all datasets; each must follow from the one before.

    Args:
        database: The file.
        name: Of the file, for errors.
        after: The first entries, where they were read before.

    Raises:
        LedgerBroken: One does not, or cannot be read.
    """
    found = list(after)
    previous = found[-1].hash if found else chain.START
    try:
        rows = database.execute(
            "SELECT id, dataset, kind, body, at, hash FROM entry WHERE id NOT BETWEEN 1 AND ? "
            "ORDER BY id",
            (len(found),),
        ).fetchall()
        for number, (key, dataset, kind, body, at, made) in enumerate(rows, len(found) + 1):
            if key != number or made != chain.link(previous, [number, dataset, kind, body, at]):
                raise LedgerBroken(
                    f"{name}: entry {number} was edited, taken out or put in. Nothing is trained "
                    "until the ledger is restored"
                )
            entry = Entry(number, dataset, kind, json.loads(body), at, made)
            entry.check()
            found.append(entry)
            previous = made
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise LedgerBroken(
            f"{name} cannot be read: {type(error).__name__}. Nothing is trained until the ledger "
            "is restored"
        ) from None
    return found


def not_too_many(line: Sequence[Entry], per_day: int) -> None:
    """Counts charges of the last 24 hours, and any that a clock put in the future.

    Raises:
        StudyRefused: There are as many as may be.
    """
    day = timedelta(days=1)
    since = datetime.now(UTC) - day
    recent = sorted(at for entry in line if (at := datetime.fromisoformat(entry.at)) > since)
    if len(recent) >= per_day:
        again = recent[len(recent) - per_day] + day
        raise StudyRefused(
            f"policy.rounds_per_day allows {per_day}, and as many were trained in the last 24 "
            f"hours; ask again after {again.isoformat(timespec='seconds')}"
        )
