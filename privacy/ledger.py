"""The site's own ledger: what was spent on its patients, charged before it is spent.

Guarantees:
    - `reserve` checks the ceiling and writes the charge in one transaction with an exclusive
      lock, before the caller takes a gradient. A crash afterwards leaves the charge standing.
    - The ceiling holds over every study that ever trained on the dataset: epsilon is computed
      from all its spends together.
    - Asking twice charges twice; a retry costs nothing only where the first answer was kept
      (`privacy.releases`).
    - One study is never charged more often than was agreed (`reserve`, `most`), whatever the
      coordinator asks: what was approved is what it can cost.
    - The unit is the patient, neighbours differ by one patient (`privacy.budget`). Training and
      held-out patients are different people, so their spends stand on lines (cohorts) of their
      own and never add up with each other.
    - A charge is on disk (write-ahead log, synchronous=FULL), and so is the high-water mark that
      covers it, before `reserve` returns.
    - Entries form a hash chain (`privacy.chain`). Every read checks all of it against the mark: a
      ledger that was edited, cut, rolled back or lost raises `LedgerBroken`, and so no training.
Not guaranteed:
    Whoever can write the ledger and its mark can forge both.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from privacy import accounting, chain
from privacy.budget import Budget, Spend
from privacy.chain import Height, Mark
from privacy.entries import SCHEMA, VERSION, Cohort, Entry, EntryKind, linked, not_too_many, text
from privacy.errors import BudgetExhausted, LedgerBroken
from privacy.files import connect, make_private


@dataclass(frozen=True, slots=True)
class Receipt:
    """Says that a spend was charged; `Ledger.reserve` makes it, `Ledger.holds` checks it.

    Attributes:
        id: The charge's number in the ledger.
        spend: What was charged.
        cohort: On whose line.
        attempt: How often this round of this study was charged on this line, this time included.
    """

    id: int
    spend: Spend
    cohort: Cohort = "train"
    attempt: int = 1


class Ledger:
    """An append-only, hash-chained SQLite file with every spend on one dataset.

    Args:
        path: The file; made with mode 0600 if missing.
        dataset: The patients that the spends are about, by the site's own name for them.
        mark: File of the high-water mark; best on another disk.

    Raises:
        LedgerBroken: The file is no ledger of this version.
    """

    def __init__(self, path: Path, *, dataset: str, mark: Path) -> None:
        self.path = path
        self.dataset = dataset
        self._mark = Mark(mark, chain="ledger")
        self._kept: sqlite3.Connection | None = None
        self._seen: list[Entry] = []
        make_private(path)
        with self._open() as database:
            # In this order: another process may be making both at this moment.
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0 and tables == 0:
                database.executescript(SCHEMA)
                version = VERSION
        if version != VERSION:
            raise LedgerBroken(
                f"{path.name} is of format {version}, this version writes {VERSION}; "
                "use the version that made it"
            )

    def reserve(
        self,
        spend: Spend,
        *,
        lifetime: Budget,
        cohort: Cohort = "train",
        per_day: int | None = None,
        most: int | None = None,
    ) -> Receipt:
        """Charges a spend, or refuses and charges nothing.

        Args:
            spend: What is about to be spent.
            lifetime: What all of the cohort's spends may cost together.
            cohort: Whose line.
            per_day: Charges on this line that 24 hours may see; None is no limit.
            most: Charges on this line that the spend's study may ever see; None is no limit.

        Raises:
            BudgetExhausted: With this spend, the cohort's spends exceed `lifetime`, or the study
                was charged `most` times.
            StudyRefused: There were as many charges in the last 24 hours as may be.
            LedgerBroken: The ledger is not what it was.
        """
        attempt = 1

        def check(entries: list[Entry]) -> None:
            nonlocal attempt
            line = [entry for entry in self._mine(entries) if entry.cohort == cohort]
            if per_day is not None:
                not_too_many(line, per_day)
            spent = [entry.spend for entry in line]
            if most is not None and sum(s.study == spend.study for s in spent) >= most:
                raise BudgetExhausted(
                    f"the study may be charged {most} times, and was; a new study needs a new "
                    "approval"
                )
            self._afford([*spent, spend], lifetime, entries)
            attempt += sum((s.study, s.round) == (spend.study, spend.round) for s in spent)

        written = self._append("spend", {"cohort": cohort, **spend.model_dump()}, check=check)
        return Receipt(id=written.id, spend=spend, cohort=cohort, attempt=attempt)

    def afford(self, planned: Sequence[Spend], *, lifetime: Budget, but_done: bool = False) -> None:
        """Checks that all of `planned` fits beside what is spent; charges nothing.

        Args:
            planned: What is to be spent.
            lifetime: What all spends on training patients may cost together.
            but_done: Leaves out rounds that were charged already: a study goes on.

        What the accountants found is written down (`certified`), so that no part of `planned` has
        to ask them again: they take tenths of a second, and every message meets a new process.

        Raises:
            BudgetExhausted: It does not fit.
        """
        entries = self.entries()
        line = [entry.spend for entry in entries if entry.cohort == "train"]
        done = {(spend.study, spend.round) for spend in line} if but_done else set()
        spends = [*line, *(s for s in planned if (s.study, s.round) not in done)]
        found = self._afford(spends, lifetime, entries)
        if found is not None:
            events = accounting.merged(spends)
            body = {
                "events": events,
                "delta": lifetime.delta,
                "epsilon": found,
                "accountants": accounting.version(),
            }
            self._append("certified", body)

    def holds(self, *receipts: Receipt) -> bool:
        """Whether each of these receipts is an entry in this ledger, field by field."""
        entries = {entry.id: (entry.kind, entry.body) for entry in self.entries()}
        return all(
            entries.get(receipt.id)
            == ("spend", {"cohort": receipt.cohort, **receipt.spend.model_dump()})
            for receipt in receipts
        )

    def settle(self, name: str, value: str) -> bool:
        """Keeps a value for good at its first use; whether it is still the same.

        Used for what the guarantees rest on and no study may change, such as the split: were it
        to change, patients who were trained on would be tallied as held out.
        """
        settled = self._settled(self.entries(), name)
        if settled is None:

            def check(entries: list[Entry]) -> None:
                nonlocal settled
                settled = self._settled(self._mine(entries), name)  # another may have been first
                if settled is not None:
                    raise _AlreadyThere

            try:
                self._append("settled", {"name": name, "value": value}, check=check)
            except _AlreadyThere:
                pass
            else:
                settled = value
        return settled == value

    def record(self, kind: Literal["approved", "revoked"], body: dict[str, Any]) -> Entry:
        """Writes down a decision about a study, for good."""
        return self._append(kind, body)

    def entries(self) -> tuple[Entry, ...]:
        """Every entry on the dataset, in order, after checking the whole chain.

        Raises:
            LedgerBroken: It was edited, cut, rolled back or lost.
        """
        with self._open() as database:
            return tuple(self._mine(self._verified(database)))

    def spends(self, *, cohort: Cohort = "train", study: str | None = None) -> tuple[Spend, ...]:
        """Every spend on the dataset in order of charging, or those of one study."""
        found = (entry.spend for entry in self.entries() if entry.cohort == cohort)
        return tuple(spend for spend in found if study in (None, spend.study))

    def epsilon(self, *, delta: float, cohort: Cohort = "train") -> float:
        """What all spends so far add up to."""
        return accounting.epsilon(self.spends(cohort=cohort), delta=delta)

    @property
    def mark_is_lost(self) -> bool:
        """Whether there is no mark, be it that there never was one."""
        return self._mark.lost

    def new_mark(self) -> Height:
        """Begins a mark where it was lost; the operator's own decision.

        Raises:
            LedgerBroken: The chain itself does not hold, or there is a mark.
        """
        with self._open() as database:
            return self._mark.renew([entry.hash for entry in linked(database, name=self.path.name)])

    def _append(
        self,
        kind: EntryKind,
        body: dict[str, Any],
        *,
        check: Callable[[list[Entry]], None] | None = None,
    ) -> Entry:
        """Writes an entry after `check` saw all others, and raises the mark over it."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                entries = self._verified(database)
                if check is not None:
                    check(entries)
                if not entries:
                    # The mark comes first: a ledger with entries and no mark has lost it.
                    self._mark.begin(Height())
                entry = Entry.after(entries, kind, body, dataset=self.dataset)
                database.execute(
                    "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)",
                    (entry.id, entry.dataset, kind, text(body), entry.at, entry.hash),
                )
            except BaseException:
                if database.in_transaction:  # SQLite takes some errors as the end of it
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
            self._mark.rise(Height(entry.id, entry.hash))
        return entry

    def _verified(self, database: sqlite3.Connection) -> list[Entry]:
        # The mark is read first: it never runs ahead of the ledger, and another process may be
        # raising both.
        mark = self._mark.read()
        entries = linked(database, name=self.path.name, after=self._seen)
        if self._kept is not None:
            self._seen = entries
        wrong = chain.fault([entry.hash for entry in entries], mark)
        if wrong is not None:
            raise LedgerBroken(
                f"{self.path.name}: {wrong}. Nothing is trained until it is restored from where "
                "it was moved or backed up; if only the mark is lost, `fedward site ledger "
                "--new-mark` begins another"
            )
        return entries

    def _mine(self, entries: Sequence[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry.dataset == self.dataset]

    @staticmethod
    def _settled(entries: Sequence[Entry], name: str) -> str | None:
        for entry in entries:
            if entry.kind == "settled" and entry.body["name"] == name:
                return str(entry.body["value"])
        return None

    def _afford(
        self, spends: Sequence[Spend], lifetime: Budget, entries: Sequence[Entry]
    ) -> float | None:
        """Refuses what does not fit; what the accountants said, where they had to be asked.

        More spends never cost less, so what is part of something that was certified before fits.
        """
        if math.isinf(lifetime.epsilon) or not spends:
            return None
        events = accounting.merged(spends)
        for entry in entries:
            if (
                entry.kind == "certified"
                and entry.body["accountants"] == accounting.version()
                and entry.body["delta"] == lifetime.delta
                and entry.body["epsilon"] <= lifetime.epsilon
                and accounting.covers(entry.events, events)
            ):
                return None
        found = accounting.bound(spends, lifetime)
        if found <= lifetime.epsilon:
            return found
        total = accounting.epsilon(spends, delta=lifetime.delta)
        before = accounting.epsilon(spends[:-1], delta=lifetime.delta)
        raise BudgetExhausted(
            f"lifetime epsilon is {lifetime.epsilon:g} at delta {lifetime.delta:g}; the ledger "
            f"would reach {total:.3g} (before the last charge {before:.3g}); "
            "ask for less or raise policy.lifetime in site.toml"
        )

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Keeps the files open while a message is answered, and checks each entry once.

        To open a file, and above all to close the last connection to it (which moves its log into
        it), takes longer than what is read and written in between. What is edited in the
        meantime is seen by the next message.
        """
        with self._explained():
            database = self._connected()
        with closing(database), self._mark.at_hand():
            self._kept = database
            try:
                yield
            finally:
                self._kept = None
                self._seen = []

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
        return database

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerBroken(
                f"{self.path.name} cannot be used: {error}. Nothing is trained until it can"
            ) from None


class _AlreadyThere(Exception):
    """Another process settled it first."""
