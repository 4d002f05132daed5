"""Spends and budgets that the ledger's tests are built from."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from privacy import accounting
from privacy.budget import Budget, Spend
from privacy.chain import START, Height, Mark, link
from privacy.errors import LedgerBroken
from privacy.ledger import Ledger, Receipt
from privacy.release import Release

A, B = "a" * 64, "b" * 64
DELTA = 1e-5
AMPLE = Budget(epsilon=100, delta=DELTA)
NO_CEILING = Budget(epsilon=math.inf, delta=DELTA)


def spend(
    noise: float = 2.0, *, study: str = A, round: int = 1, steps: int = 2, rate: float = 1
) -> Spend:
    return Spend(study=study, round=round, noise_multiplier=noise, sample_rate=rate, steps=steps)


def cost(*spends: Spend) -> float:
    return accounting.epsilon(spends, delta=DELTA)


def room_for(*spends: Spend) -> Budget:
    """A lifetime that these spends just fill."""
    return Budget(epsilon=cost(*spends) + 1e-6, delta=DELTA)


def open_ledger(folder: Path, *, dataset: str = "icu") -> Ledger:
    """The ledger of a folder; its mark lies in a folder of its own."""
    return Ledger(folder / "ledger.sqlite", dataset=dataset, mark=folder / "mark" / "mark.sqlite")


def height(folder: Path, *, chain: str = "ledger") -> Height | None:
    """How far the mark of a folder has come."""
    return Mark(folder / "mark" / "mark.sqlite", chain=chain).read()


def sql(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> list[Any]:
    """Does to an SQLite file what its owner's program would not; gives the last result."""
    found: list[Any] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            text, values = (statement, ()) if isinstance(statement, str) else statement
            found = database.execute(text, values).fetchall()
    return found


def unguarded(path: Path) -> None:
    """Takes the triggers away that keep a ledger's entries."""
    for name in ("entry_is_kept", "entry_is_new", "entry_is_final"):
        sql(path, f"DROP TRIGGER IF EXISTS {name}")


def relink(path: Path) -> Height:
    """Makes every hash of a ledger anew, as one can who knows how."""
    unguarded(path)
    rows = sql(path, "SELECT id, dataset, kind, body, at FROM entry ORDER BY id")
    previous = START
    for row in rows:
        previous = link(previous, list(row))
        sql(path, ("UPDATE entry SET hash = ? WHERE id = ?", (previous, row[0])))
    return Height(len(rows), previous)


def fingerprint(release: Release) -> str:
    """A hash of all of a release, to the last bit and in its order."""
    arrays = [*release.update.items(), *((tally.name, tally.sums) for tally in release.tallies)]
    parts = (
        release.header.canonical(),
        release.receipt,
        release.tally_receipt,
        len(release.update),
        [tally.patients for tally in release.tallies],
        [(name, value.shape, value.dtype.str, value.tobytes()) for name, value in arrays],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def equal(one: Release, other: Release) -> bool:
    """Whether two releases are the same, to the last bit and in the same order."""
    return fingerprint(one) == fingerprint(other)


def one_of_each(folder: Path) -> None:
    """Makes a ledger that has every kind of entry, six in all."""
    ledger = open_ledger(folder)
    ledger.settle("split", "thirds")
    ledger.record("approved", {"study": A, "name": "tiny"})
    ledger.reserve(spend(0.7, rate=0.1, steps=30), lifetime=NO_CEILING)
    ledger.reserve(spend(0), lifetime=NO_CEILING, cohort="heldout")
    certified = {"events": [[2.0, 1.0, 9]], "delta": DELTA, "epsilon": 3.5}
    ledger._append("certified", certified | {"accountants": accounting.version()})
    ledger.reserve(spend(round=2, study=B), lifetime=NO_CEILING)


def refused(folder: Path, text: str) -> None:
    """Checks that whatever reads the ledger says so, and that nothing is written."""

    def state() -> tuple[object, object]:
        return _entries(folder / "ledger.sqlite"), _entries(folder / "mark" / "mark.sqlite")

    before = state()
    for act in (
        lambda ledger: ledger.reserve(spend(round=9), lifetime=NO_CEILING),
        lambda ledger: ledger.reserve(spend(round=9), lifetime=Budget(epsilon=0.1)),
        lambda ledger: ledger.afford([spend(round=9)], lifetime=NO_CEILING),
        lambda ledger: ledger.holds(Receipt(1, spend())),
        lambda ledger: ledger.settle("split", "thirds"),
        lambda ledger: ledger.record("approved", {"study": A}),
        lambda ledger: ledger.spends(),
        lambda ledger: ledger.epsilon(delta=DELTA),
    ):
        with pytest.raises(LedgerBroken, match=text):
            act(open_ledger(folder))
    assert state() == before


def _entries(path: Path) -> object:
    """The rows of a file; whatever it is, without making or changing it."""
    if not path.exists():
        return []
    if path.read_bytes()[:6] != b"SQLite":
        return path.read_bytes() or []
    table = "mark" if path.parent.name == "mark" else "entry"
    try:
        return sql(path, f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - one of these two
    except sqlite3.DatabaseError as error:
        return str(error)
