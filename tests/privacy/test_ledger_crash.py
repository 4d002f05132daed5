"""The ledger under kill -9 at every point of its writing, and under many processes at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from forks import Forks, Run
from ledgers import NO_CEILING, height, open_ledger, spend

from privacy.chain import Height
from privacy.entries import Entry

# No test here asks an accountant: its library takes seconds to start.
PREAMBLE = """
from privacy import accounting
from privacy.budget import Budget
from privacy.errors import BudgetExhausted
from ledgers import A, NO_CEILING, open_ledger, spend

ledger = open_ledger(folder)
"""

# Twice each, so that points lie after the first was said.
RESERVE = """
for round in (8, 9):
    receipt = ledger.reserve(spend(round=round), lifetime=NO_CEILING)
    say([receipt.id, round])
"""

CERTIFY = """
accounting.bound = lambda *_: 7.5
for steps in (8, 9):
    ledger.afford([spend(steps=steps)], lifetime=Budget(epsilon=8))
    say([len(ledger.entries()), steps])
"""

SETTLE = """
for name in ("eight", "nine"):
    assert ledger.settle(name, name)
    say([len(ledger.entries()), name])
"""

RECORD = """
for kind in ("approved", "revoked"):
    say([ledger.record(kind, {"study": A}).id, kind])
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks("import ledgers") as program:
        yield program


@pytest.fixture
def start(tmp_path) -> Path:
    """A folder with a ledger of two charges."""
    folder = tmp_path / "start"
    for number in (1, 2):
        open_ledger(folder).reserve(spend(round=number), lifetime=NO_CEILING)
    return folder


def said_by(entry: Entry) -> object:
    """What the code above says of an entry."""
    body = entry.body
    return {
        "spend": lambda: body["round"],
        "certified": lambda: body["events"][-1][2] - 4,  # beside the steps of `start`
        "settled": lambda: body["name"],
    }.get(entry.kind, lambda: entry.kind)()


def check(folder: Path, run: Run, *, before: tuple[Entry, ...]) -> int:
    """What must hold after a kill; gives how many entries there are now."""
    ledger = open_ledger(folder)
    entries = ledger.entries()  # a crash is not tampering
    assert entries[: len(before)] == before
    new = entries[len(before) :]
    assert len(run.said) <= len(new) <= len(run.said) + 1, "one write at a time, and none lost"
    for (number, what), entry in zip(run.said, new, strict=False):
        assert (entry.id, said_by(entry)) == (number, what)
    # What was said is covered by the mark; nothing is that does not stand.
    marked = height(folder) or Height()
    assert len(before) + len(run.said) <= marked.length <= len(entries)
    # And it goes on from there.
    receipt = ledger.reserve(spend(round=77), lifetime=NO_CEILING)
    assert receipt.id == len(entries) + 1
    assert height(folder) == Height(receipt.id, ledger.entries()[-1].hash)
    return len(entries)


@pytest.mark.parametrize("code", [RESERVE, CERTIFY, SETTLE, RECORD], ids="RCSD")
def test_a_kill_anywhere_leaves_all_before_and_at_most_one_more(forks, start, code):
    before = open_ledger(start).entries()
    found = [
        check(folder, run, before=before)
        for folder, run in forks.killed_everywhere(PREAMBLE + code, start)
    ]
    assert found == sorted(found)
    assert set(found) == {2, 3, 4}


def test_a_kill_anywhere_while_a_ledger_is_made_leaves_one_or_none(forks, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    found = [
        check(folder, run, before=())
        for folder, run in forks.killed_everywhere(PREAMBLE + RESERVE, start)
    ]
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}


def test_a_kill_after_the_charge_and_before_its_mark_is_seen_as_no_tampering(
    forks, start, tmp_path
):
    """The point that the mark is one behind must be among those that are killed at."""
    behind = 0
    for folder, _ in forks.killed_everywhere(PREAMBLE + RESERVE, start):
        entries, marked = open_ledger(folder).entries(), height(folder)
        behind += len(entries) - marked.length
        assert entries[marked.length - 1].hash == marked.head
    assert behind >= 2


def test_a_kill_while_a_lost_mark_is_begun_leaves_it_lost_or_begun(forks, start):
    (start / "mark" / "mark.sqlite").unlink()
    for folder, _ in forks.killed_everywhere(PREAMBLE + "ledger.new_mark()", start):
        ledger = open_ledger(folder)
        if height(folder) is None:
            ledger.new_mark()
        assert height(folder) == Height(2, ledger.entries()[-1].hash)


# Counting stands in for the accountant. Each check is held open, so that without the lock all
# would have looked before any wrote.
TAKE = """
import time
def slow(spends, budget):
    time.sleep(0.1)
    return float(len(spends))
accounting.bound = slow
accounting.epsilon = lambda spends, delta: float(len(spends))
try:
    receipt = ledger.reserve(spend(round=number + 3), lifetime=Budget(epsilon=LIMIT))
    say([receipt.id, receipt.spend.round])
except BudgetExhausted:
    say("refused")
"""


@pytest.mark.parametrize(("processes", "room"), [(2, 1), (8, 5)])
def test_processes_at_once_cannot_take_more_than_is_left(forks, start, processes, room):
    code = TAKE.replace("LIMIT", str(2 + room))
    runs = forks.run(PREAMBLE + code, start, times=processes)
    said = [run.said[0] for run in runs]
    charged = sorted(one for one in said if one != "refused")
    assert len(charged) == room, said
    ledger = open_ledger(start)
    entries = ledger.entries()
    assert charged == [[entry.id, entry.spend.round] for entry in entries[2:]]
    assert height(start) == Height(2 + room, entries[-1].hash)


MANY = """
for round in range(1, 6):
    ledger.reserve(spend(round=round, steps=number + 1), lifetime=NO_CEILING)
    assert ledger.settle("split", "one")
    say(len(ledger.entries()))
"""


def test_eight_processes_that_make_a_ledger_together_make_one_chain(forks, tmp_path):
    """All open, write and read it at the same time; none takes another's work for tampering."""
    folder = tmp_path / "new"
    folder.mkdir()
    runs = forks.run(PREAMBLE + MANY, folder, times=8)
    assert [len(run.said) for run in runs] == [5] * 8
    ledger = open_ledger(folder)
    entries = ledger.entries()
    assert [entry.id for entry in entries] == list(range(1, 42))
    assert [entry.kind for entry in entries].count("settled") == 1
    charged = [(spent.steps, spent.round) for spent in ledger.spends()]
    assert sorted(charged) == sorted(product(range(1, 9), range(1, 6)))
    assert height(folder) == Height(41, entries[-1].hash)
