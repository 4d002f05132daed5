"""The site's own ledger: what was spent on its patients, charged before it is spent.

Guarantees:
    - `reserve` checks the ceiling and writes the charge in one transaction with an exclusive
      lock, before the caller takes a gradient. A crash afterwards leaves the charge standing.
    - The ceiling holds over every study that ever trained on the dataset: epsilon is computed
      from all its spends together.
    - Asking twice charges twice: a retry is never free.
    - The unit is the patient, neighbours differ by one patient (`privacy.budget`). Training and
      held-out patients are different people, so their spends stand on lines (cohorts) of their
      own and never add up with each other.
    - A charge is on disk (write-ahead log, synchronous=FULL) before `reserve` returns.
Not guaranteed:
    The file is trusted: an operator who edits or replaces it is not detected.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from privacy import accounting
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted
from privacy.files import connect, make_private

Cohort = Literal["train", "heldout"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spend (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset TEXT NOT NULL,
    cohort TEXT NOT NULL CHECK (cohort IN ('train', 'heldout')),
    study TEXT NOT NULL,
    round INTEGER NOT NULL CHECK (round >= 1),
    noise_multiplier REAL NOT NULL CHECK (noise_multiplier >= 0),
    sample_rate REAL NOT NULL CHECK (sample_rate > 0 AND sample_rate <= 1),
    steps INTEGER NOT NULL CHECK (steps >= 1),
    at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS settled (
    dataset TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (dataset, name)
) STRICT;
CREATE TRIGGER IF NOT EXISTS spend_is_kept BEFORE DELETE ON spend
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS spend_is_new BEFORE INSERT ON spend
    WHEN EXISTS (SELECT 1 FROM spend WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS spend_is_final BEFORE UPDATE ON spend
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Says that a spend was charged; `Ledger.reserve` makes it, `Ledger.holds` checks it.

    Attributes:
        id: The charge's number in the ledger.
        spend: What was charged.
    """

    id: int
    spend: Spend


class Ledger:
    """An append-only SQLite file with every spend on one dataset.

    Args:
        path: The file; made with mode 0600 if missing.
        dataset: The patients that the spends are about, by the site's own name for them.
    """

    def __init__(self, path: Path, *, dataset: str) -> None:
        self.path = path
        self.dataset = dataset
        make_private(path)
        with self._open() as database:
            database.executescript(_SCHEMA)

    def reserve(self, spend: Spend, *, lifetime: Budget, cohort: Cohort = "train") -> Receipt:
        """Charges a spend, or refuses and charges nothing.

        Raises:
            BudgetExhausted: With this spend, the cohort's spends exceed `lifetime`.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                if not math.isinf(lifetime.epsilon):  # nothing to read where all is allowed
                    self._afford([*self._read(database, cohort), spend], lifetime)
                cursor = database.execute(
                    "INSERT INTO spend (dataset, cohort, study, round, noise_multiplier,"
                    " sample_rate, steps, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        self.dataset,
                        cohort,
                        spend.study,
                        spend.round,
                        spend.noise_multiplier,
                        spend.sample_rate,
                        spend.steps,
                        datetime.now(UTC).isoformat(timespec="seconds"),
                    ),
                )
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        assert cursor.lastrowid is not None  # noqa: S101 - an INSERT always has one
        return Receipt(id=cursor.lastrowid, spend=spend)

    def afford(self, planned: Sequence[Spend], *, lifetime: Budget) -> None:
        """Checks that all of `planned` fits beside what is spent; charges nothing.

        Raises:
            BudgetExhausted: It does not fit.
        """
        self._afford([*self.spends(), *planned], lifetime)

    def holds(self, receipt: Receipt, *, cohort: Cohort = "train") -> bool:
        """Whether this receipt is a cohort's entry in this ledger, field by field."""
        spend = receipt.spend
        with self._open() as database:
            row = database.execute(
                "SELECT study, round, noise_multiplier, sample_rate, steps FROM spend"
                " WHERE id = ? AND dataset = ? AND cohort = ?",
                (receipt.id, self.dataset, cohort),
            ).fetchone()
        return bool(
            row
            == (
                spend.study,
                spend.round,
                spend.noise_multiplier,
                spend.sample_rate,
                spend.steps,
            )
        )

    def settle(self, name: str, value: str) -> bool:
        """Keeps a value for good at its first use; whether it is still the same.

        Used for what the guarantees rest on and no study may change, such as the split: were it
        to change, patients who were trained on would be tallied as held out.
        """
        with self._open() as database:
            database.execute(
                "INSERT INTO settled (dataset, name, value) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (self.dataset, name, value),
            )
            row = database.execute(
                "SELECT value FROM settled WHERE dataset = ? AND name = ?", (self.dataset, name)
            ).fetchone()
        return bool(row[0] == value)

    def spends(self, *, cohort: Cohort = "train", study: str | None = None) -> tuple[Spend, ...]:
        """Every spend on the dataset in order of charging, or those of one study."""
        with self._open() as database:
            found = self._read(database, cohort)
        return tuple(spend for spend in found if study in (None, spend.study))

    def epsilon(self, *, delta: float, cohort: Cohort = "train") -> float:
        """What all spends so far add up to."""
        return accounting.epsilon(self.spends(cohort=cohort), delta=delta)

    def _afford(self, spends: list[Spend], lifetime: Budget) -> None:
        if accounting.within(spends, lifetime):
            return
        total = accounting.epsilon(spends, delta=lifetime.delta)
        before = accounting.epsilon(spends[:-1], delta=lifetime.delta)
        raise BudgetExhausted(
            f"lifetime epsilon is {lifetime.epsilon:g} at delta {lifetime.delta:g}; the ledger "
            f"would reach {total:.3g} (before the last charge {before:.3g}); "
            "ask for less or raise policy.lifetime in site.toml"
        )

    def _read(self, database: sqlite3.Connection, cohort: Cohort) -> list[Spend]:
        rows = database.execute(
            "SELECT study, round, noise_multiplier, sample_rate, steps FROM spend"
            " WHERE dataset = ? AND cohort = ? ORDER BY id",
            (self.dataset, cohort),
        )
        names = ("study", "round", "noise_multiplier", "sample_rate", "steps")
        return [Spend(**dict(zip(names, row, strict=True))) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = connect(self.path)
        try:
            database.execute("PRAGMA synchronous = FULL")
            yield database
        finally:
            database.close()
