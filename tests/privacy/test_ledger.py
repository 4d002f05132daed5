"""The ledger charges before it is spent, over every study, once and for good."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from opacus.accountants import PRVAccountant, RDPAccountant

from privacy import accounting
from privacy.accounting import PRV_ERROR
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted, StudyRefused
from privacy.ledger import Ledger, Receipt

# Opacus's hint about its orders; test_accounting says that it should reach nobody.
pytestmark = pytest.mark.filterwarnings("ignore:Optimal order is the:UserWarning")

ROOT = Path(accounting.__file__).resolve().parent.parent
A, B = "a" * 64, "b" * 64
DELTA = 1e-5
AMPLE = Budget(epsilon=100, delta=DELTA)
NO_CEILING = Budget(epsilon=math.inf, delta=DELTA)


def spend(noise: float = 2.0, *, study: str = A, round: int = 1, steps: int = 2) -> Spend:
    return Spend(study=study, round=round, noise_multiplier=noise, sample_rate=1, steps=steps)


def cost(*spends: Spend) -> float:
    return accounting.epsilon(spends, delta=DELTA)


def room_for(*spends: Spend) -> Budget:
    """A lifetime that these spends just fill."""
    return Budget(epsilon=cost(*spends) + 1e-6, delta=DELTA)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "site" / "ledger.sqlite"


@pytest.fixture
def ledger(path) -> Ledger:
    return Ledger(path, dataset="icu")


# Charging


def test_a_charge_stands_before_reserve_returns(ledger, path):
    receipt = ledger.reserve(spend(), lifetime=AMPLE)
    assert Ledger(path, dataset="icu").spends() == (spend(),)
    assert Ledger(path, dataset="icu").holds(receipt)


def test_a_charge_is_written_for_good_on_disk(ledger):
    with ledger._open() as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_spends_come_back_field_by_field_in_order(ledger):
    spends = (
        Spend(study=A, round=7, noise_multiplier=1.0625, sample_rate=0.1, steps=40),
        Spend(study=B, round=1, noise_multiplier=1 / 3, sample_rate=1e-4, steps=1),
        Spend(study=A, round=2, noise_multiplier=0, sample_rate=1, steps=10**6),
    )
    receipts = [ledger.reserve(one, lifetime=NO_CEILING) for one in spends]
    assert ledger.spends() == spends
    assert [receipt.spend for receipt in receipts] == list(spends)
    assert ledger.spends(study=A) == (spends[0], spends[2])
    assert ledger.spends(study="c" * 64) == ()


def test_receipts_are_numbered_upwards(ledger):
    numbers = [ledger.reserve(spend(), lifetime=AMPLE).id for _ in range(3)]
    assert numbers == sorted(set(numbers))


def test_a_charge_knows_its_time(ledger, path):
    ledger.reserve(spend(), lifetime=AMPLE)
    with closing(sqlite3.connect(path)) as database:
        (at,) = database.execute("SELECT at FROM spend").fetchone()
    assert datetime.fromisoformat(at).utcoffset().total_seconds() == 0


def test_the_same_round_twice_is_charged_twice(ledger):
    first = ledger.reserve(spend(), lifetime=AMPLE)
    second = ledger.reserve(spend(), lifetime=AMPLE)
    assert first.id != second.id
    assert ledger.epsilon(delta=DELTA) == cost(spend(), spend()) > cost(spend()) + 0.5


def test_three_rounds_cost_what_one_accountant_says_of_all_steps(ledger):
    rdp, prv = RDPAccountant(), PRVAccountant()
    for number in (1, 2, 3):
        one = Spend(study=A, round=number, noise_multiplier=1.2, sample_rate=0.1, steps=8)
        ledger.reserve(one, lifetime=AMPLE)
    for _ in range(24):
        rdp.step(noise_multiplier=1.2, sample_rate=0.1)
        prv.step(noise_multiplier=1.2, sample_rate=0.1)
    answers = rdp.get_epsilon(delta=DELTA), prv.get_epsilon(delta=DELTA, eps_error=PRV_ERROR)
    assert ledger.epsilon(delta=DELTA) == pytest.approx(min(answers), abs=1e-9)


# The ceiling


def test_what_does_not_fit_is_refused_and_charges_nothing(ledger):
    with pytest.raises(BudgetExhausted):
        ledger.reserve(spend(), lifetime=Budget(epsilon=cost(spend()) - 0.01, delta=DELTA))
    assert ledger.spends() == ()
    assert ledger.epsilon(delta=DELTA) == 0
    ledger.reserve(spend(), lifetime=room_for(spend()))  # the refusal left no lock behind


def test_a_ceiling_may_be_filled_but_not_passed(ledger):
    lifetime = room_for(spend(), spend(round=2))
    ledger.reserve(spend(), lifetime=lifetime)
    ledger.reserve(spend(round=2), lifetime=lifetime)
    with pytest.raises(BudgetExhausted):
        ledger.reserve(spend(50, round=3, steps=1), lifetime=lifetime)
    assert [one.round for one in ledger.spends()] == [1, 2]


def test_a_second_study_goes_on_from_the_first(ledger):
    first, second = spend(study=A, steps=4), spend(3, study=B, steps=4)
    together = cost(first, second)
    assert max(cost(first), cost(second)) + 0.5 < together < cost(first) + cost(second) - 0.5
    lifetime = Budget(epsilon=together - 0.01, delta=DELTA)
    ledger.reserve(first, lifetime=lifetime)
    with pytest.raises(BudgetExhausted):  # it would fit alone
        ledger.reserve(second, lifetime=lifetime)
    ledger.reserve(second, lifetime=room_for(first, second))  # and naive adding would refuse
    assert ledger.epsilon(delta=DELTA) == together


def test_a_refusal_says_what_the_ceiling_is_and_what_would_be_reached(ledger):
    ledger.reserve(spend(), lifetime=AMPLE)
    with pytest.raises(BudgetExhausted) as caught:
        ledger.reserve(spend(round=2), lifetime=Budget(epsilon=1.25, delta=DELTA))
    text = str(caught.value)
    assert isinstance(caught.value, StudyRefused)
    assert "lifetime epsilon is 1.25 at delta 1e-05" in text
    assert f"would reach {cost(spend(), spend()):.3g}" in text
    assert f"before the last charge {cost(spend()):.3g}" in text
    assert "policy.lifetime in site.toml" in text


def test_no_noise_fits_under_no_ceiling_but_an_infinite_one(ledger):
    with pytest.raises(BudgetExhausted):
        ledger.reserve(spend(0), lifetime=Budget(epsilon=1e300, delta=DELTA))
    ledger.reserve(spend(0), lifetime=NO_CEILING)
    assert ledger.epsilon(delta=DELTA) == math.inf
    with pytest.raises(BudgetExhausted):  # and afterwards nothing else fits either
        ledger.reserve(spend(1000), lifetime=AMPLE)


def test_an_infinite_lifetime_admits_and_still_counts(ledger):
    for number in range(1, 6):
        ledger.reserve(spend(0.3, round=number), lifetime=NO_CEILING)
    assert len(ledger.spends()) == 5
    with pytest.raises(BudgetExhausted):
        ledger.reserve(spend(100, steps=1), lifetime=Budget(epsilon=20, delta=DELTA))


def test_afford_looks_at_the_whole_plan_and_charges_nothing(ledger):
    plan = [spend(round=number) for number in (2, 3)]
    ledger.reserve(spend(), lifetime=AMPLE)
    ledger.afford(plan, lifetime=room_for(spend(), *plan))
    with pytest.raises(BudgetExhausted):
        ledger.afford([*plan, spend(round=4)], lifetime=room_for(spend(), *plan))
    assert ledger.spends() == (spend(),)


# Lines that do not add up


def test_training_and_heldout_patients_are_different_people(ledger):
    lifetime = room_for(spend())
    ledger.reserve(spend(), lifetime=lifetime, cohort="train")
    ledger.reserve(spend(), lifetime=lifetime, cohort="heldout")
    assert ledger.epsilon(delta=DELTA, cohort="train") == cost(spend())
    assert ledger.epsilon(delta=DELTA, cohort="heldout") == cost(spend())
    for cohort in ("train", "heldout"):
        with pytest.raises(BudgetExhausted):
            ledger.reserve(spend(), lifetime=lifetime, cohort=cohort)


def test_exact_counts_of_the_heldout_leave_training_its_budget(ledger):
    ledger.reserve(spend(0), lifetime=NO_CEILING, cohort="heldout")
    ledger.reserve(spend(), lifetime=room_for(spend()))
    assert ledger.epsilon(delta=DELTA, cohort="heldout") == math.inf
    assert ledger.epsilon(delta=DELTA) == cost(spend())


def test_a_third_cohort_is_refused(ledger):
    with pytest.raises(sqlite3.IntegrityError):
        ledger.reserve(spend(), lifetime=AMPLE, cohort="tune")
    assert ledger.spends() == ()


def test_datasets_in_one_file_stand_apart(ledger, path):
    other = Ledger(path, dataset="ward")
    receipt = ledger.reserve(spend(), lifetime=room_for(spend()))
    other.reserve(spend(round=2), lifetime=room_for(spend()))
    assert ledger.spends() == (spend(),)
    assert other.spends() == (spend(round=2),)
    assert not other.holds(receipt)


# Receipts


@pytest.mark.parametrize(
    "change",
    [
        {"study": B},
        {"round": 2},
        {"noise_multiplier": 1.99999},
        {"noise_multiplier": 0},
        {"sample_rate": 0.999},
        {"steps": 3},
    ],
    ids=str,
)
def test_a_made_up_receipt_is_not_held(ledger, change):
    receipt = ledger.reserve(spend(), lifetime=AMPLE)
    assert ledger.holds(receipt)
    assert not ledger.holds(Receipt(receipt.id, spend().model_copy(update=change)))


def test_another_number_is_not_held(ledger, tmp_path):
    receipt = ledger.reserve(spend(), lifetime=AMPLE)
    ledger.reserve(spend(round=2), lifetime=AMPLE)
    assert not ledger.holds(Receipt(receipt.id + 1, spend()))
    assert not ledger.holds(Receipt(99, spend()))
    assert not ledger.holds(Receipt(0, spend()))
    assert not Ledger(tmp_path / "other.sqlite", dataset="icu").holds(receipt)


# The file


def test_only_the_owner_reads_the_file(ledger, path):
    before = os.umask(0)
    try:
        made = Ledger(path.with_name("open-umask.sqlite"), dataset="icu")
    finally:
        os.umask(before)
    for one in (ledger, made):
        with one._open() as database:  # the log exists only while somebody writes
            database.execute("BEGIN IMMEDIATE")
            names = sorted(path.parent.glob(f"{one.path.name}*"))
            assert len(names) >= 2
            assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
            database.execute("ROLLBACK")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM spend",
        "DELETE FROM spend WHERE id = 1",
        "UPDATE spend SET steps = 1",
        "UPDATE spend SET noise_multiplier = 100 WHERE id = 1",
        "UPDATE spend SET dataset = 'elsewhere'",
    ],
)
def test_the_table_only_grows(ledger, path, statement):
    ledger.reserve(spend(), lifetime=AMPLE)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as database,
        pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only"),
    ):
        database.execute(statement)
    assert ledger.spends() == (spend(),)


def test_a_row_cannot_be_replaced(ledger, path):
    receipt = ledger.reserve(spend(), lifetime=AMPLE)
    row = (receipt.id, "icu", "train", A, 1, 1000.0, 1.0, 1, "2026-01-01T00:00:00+00:00")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as database,
        pytest.raises(sqlite3.IntegrityError),
    ):
        database.execute("INSERT OR REPLACE INTO spend VALUES (?,?,?,?,?,?,?,?,?)", row)
    assert ledger.spends() == (spend(),)


def test_opening_again_forgets_nothing_and_guards_again(ledger, path):
    ledger.reserve(spend(), lifetime=AMPLE)
    again = Ledger(path, dataset="icu")
    assert again.spends() == (spend(),)
    with pytest.raises(BudgetExhausted):
        again.reserve(spend(round=2), lifetime=room_for(spend()))


def test_a_file_that_is_no_ledger_is_not_overwritten(path):
    path.parent.mkdir()
    path.write_bytes(b"the wrong file, but somebody's" * 50)
    with pytest.raises(sqlite3.DatabaseError):
        Ledger(path, dataset="icu")
    assert path.read_bytes() == b"the wrong file, but somebody's" * 50


# Processes

PREAMBLE = """
import os, sys, time
from pathlib import Path
from privacy import accounting
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted
from privacy.ledger import Ledger

path, epsilon, round = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
spend = Spend(study="a" * 64, round=round, noise_multiplier=2.0, sample_rate=1, steps=2)
lifetime = Budget(epsilon=epsilon, delta=1e-5)
"""

# Counting stands in for the accountant, whose library takes seconds to start. The check is held
# open, so that without the lock both would have looked before either wrote.
TAKE = """
ledger = Ledger(path, dataset="icu")
def slow(spends, budget):
    time.sleep(0.5)
    return len(spends) <= budget.epsilon
accounting.within = slow
accounting.epsilon = lambda spends, delta: float(len(spends))
print("ready", flush=True)
sys.stdin.readline()
try:
    ledger.reserve(spend, lifetime=lifetime)
    print("charged", flush=True)
except BudgetExhausted:
    print("refused", flush=True)
"""

DIE = """
import signal
ledger = Ledger(path, dataset="icu")
ledger.reserve(spend, lifetime=lifetime)
os.kill(os.getpid(), signal.SIGKILL)
"""

DIE_BEFORE = """
import signal
ledger = Ledger(path, dataset="icu")
accounting.within = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ledger.reserve(spend, lifetime=lifetime)
"""


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            textwrap.dedent(PREAMBLE + code),
            *map(str, arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_two_processes_cannot_both_take_the_last_of_the_budget(ledger, path):
    ledger.reserve(spend(), lifetime=AMPLE)
    both = [process(TAKE, path, 2, 2) for _ in range(2)]
    try:
        assert [one.stdout.readline() for one in both] == ["ready\n"] * 2
        for one in both:
            one.stdin.write("go\n")
            one.stdin.flush()
        said = [one.communicate(timeout=60) for one in both]
    finally:
        for one in both:
            one.kill()
    assert sorted(out for out, _ in said) == ["charged\n", "refused\n"], said
    assert [one.round for one in ledger.spends()] == [1, 2]


def test_a_charge_outlives_kill_9(path):
    with process(DIE, path, math.inf, 1) as killed:
        _, errors = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, errors
    ledger = Ledger(path, dataset="icu")
    assert ledger.spends() == (spend(),)
    assert ledger.epsilon(delta=DELTA) == cost(spend())


def test_a_kill_before_the_charge_leaves_no_lock(path):
    with process(DIE_BEFORE, path, 100, 1) as killed:
        _, errors = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, errors
    ledger = Ledger(path, dataset="icu")
    assert ledger.spends() == ()
    ledger.reserve(spend(), lifetime=room_for(spend()))
    assert ledger.spends() == (spend(),)
