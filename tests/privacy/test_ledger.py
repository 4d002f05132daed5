"""The ledger charges before it is spent, over every study, once and for good."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import stat
from datetime import datetime
from pathlib import Path

import pytest
from ledgers import (
    AMPLE,
    DELTA,
    NO_CEILING,
    A,
    B,
    cost,
    height,
    open_ledger,
    room_for,
    spend,
    sql,
)
from opacus.accountants import PRVAccountant, RDPAccountant

from privacy.accounting import PRV_ERROR
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted, LedgerBroken, StudyRefused
from privacy.ledger import Ledger, Receipt


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def path(folder) -> Path:
    return folder / "ledger.sqlite"


@pytest.fixture
def ledger(folder) -> Ledger:
    return open_ledger(folder)


# Charging


def test_a_charge_stands_and_is_marked_before_reserve_returns(ledger, folder):
    receipt = ledger.reserve(spend(), lifetime=AMPLE)
    assert height(folder).length == receipt.id == 1
    assert open_ledger(folder).spends() == (spend(),)
    assert open_ledger(folder).holds(receipt)


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


def test_a_charge_knows_its_time(ledger):
    ledger.reserve(spend(), lifetime=AMPLE)
    (at,) = (entry.at for entry in ledger.entries())
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
    with pytest.raises(ValueError, match="no such cohort"):
        ledger.reserve(spend(), lifetime=AMPLE, cohort="tune")
    assert ledger.entries() == ()
    ledger.reserve(spend(), lifetime=room_for(spend()))  # the refusal left no lock behind


def test_datasets_in_one_file_stand_apart(ledger, folder):
    other = open_ledger(folder, dataset="ward")
    receipt = ledger.reserve(spend(), lifetime=room_for(spend()))
    other.reserve(spend(round=2), lifetime=room_for(spend()))
    assert ledger.spends() == (spend(),)
    assert other.spends() == (spend(round=2),)
    assert not other.holds(receipt)
    assert [entry.id for entry in (*ledger.entries(), *other.entries())] == [1, 2]  # in one chain


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
    assert not open_ledger(tmp_path / "other").holds(receipt)


def test_a_charge_of_another_cohort_is_not_held(ledger):
    receipt = ledger.reserve(spend(), lifetime=AMPLE, cohort="heldout")
    assert ledger.holds(receipt)
    assert not ledger.holds(Receipt(receipt.id, spend()))


def test_an_entry_that_is_no_charge_is_not_held(ledger):
    for body in ({"study": A}, {"study": A, "cohort": "train", **spend().model_dump()}):
        entry = ledger.record("approved", body)
        assert not ledger.holds(Receipt(entry.id, spend()))


def test_attempts_count_the_charges_of_a_round_of_a_study_on_a_line(ledger):
    def attempt(**changes):
        cohort = changes.pop("cohort", "train")
        return ledger.reserve(spend(50, **changes), lifetime=AMPLE, cohort=cohort).attempt

    assert [attempt(), attempt(), attempt()] == [1, 2, 3]
    assert [attempt(round=2), attempt(study=B), attempt(cohort="heldout")] == [1, 1, 1]
    assert [attempt(steps=5), attempt(cohort="heldout"), attempt(round=2)] == [4, 2, 2]


# What is settled and decided


def test_what_is_settled_first_stays(ledger, folder):
    assert ledger.settle("split", "first")
    assert ledger.settle("split", "first")
    assert not ledger.settle("split", "second")
    assert ledger.settle("other", "second")
    assert open_ledger(folder, dataset="ward").settle("split", "second")  # other patients
    assert not open_ledger(folder).settle("split", "second")
    assert [entry.body for entry in ledger.entries()] == [
        {"name": "split", "value": "first"},
        {"name": "other", "value": "second"},
    ]


def test_what_another_process_settles_meanwhile_counts(ledger, folder, monkeypatch):
    look = Ledger.entries

    def beaten(self):
        found = look(self)
        monkeypatch.setattr(Ledger, "entries", look)
        assert open_ledger(folder).settle("split", "theirs")
        return found

    monkeypatch.setattr(Ledger, "entries", beaten)
    assert not ledger.settle("split", "ours")
    assert len(ledger.entries()) == 1


def test_decisions_are_kept_in_order_beside_the_charges(ledger):
    ledger.record("approved", {"study": A, "name": "tiny"})
    ledger.reserve(spend(), lifetime=AMPLE)
    ledger.record("revoked", {"study": A, "name": "tiny"})
    assert [entry.kind for entry in ledger.entries()] == ["approved", "spend", "revoked"]
    assert ledger.entries()[2].body == {"study": A, "name": "tiny"}
    assert ledger.spends() == (spend(),)


# The file


def test_only_the_owner_reads_the_files(ledger, folder):
    before = os.umask(0)
    try:
        made = open_ledger(folder / "open-umask")
        made.reserve(spend(), lifetime=AMPLE)
    finally:
        os.umask(before)
    for one in (ledger, made):
        with one._open() as database:  # the log exists only while somebody writes
            database.execute("BEGIN IMMEDIATE")
            names = sorted(one.path.parent.glob(f"{one.path.name}*"))
            assert len(names) >= 2
            assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
            database.execute("ROLLBACK")
    (marked,) = (folder / "open-umask" / "mark").iterdir()
    assert stat.S_IMODE(marked.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entry",
        "DELETE FROM entry WHERE id = 1",
        "UPDATE entry SET body = '{}'",
        "UPDATE entry SET dataset = 'elsewhere' WHERE id = 1",
        "INSERT OR REPLACE INTO entry SELECT id, dataset, kind, '{}', at, hash FROM entry",
        "REPLACE INTO entry SELECT * FROM entry",
    ],
)
def test_the_table_only_grows(ledger, path, statement):
    ledger.reserve(spend(), lifetime=AMPLE)
    before = sql(path, "SELECT * FROM entry")
    with pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only"):
        sql(path, statement)
    assert sql(path, "SELECT * FROM entry") == before


def test_an_entry_stands_in_the_file_as_one_json_text(ledger, path):
    ledger.reserve(spend(), lifetime=AMPLE)
    ((kind, dataset, body),) = sql(path, "SELECT kind, dataset, body FROM entry")
    assert (kind, dataset) == ("spend", "icu")
    assert json.loads(body) == {"cohort": "train", **spend().model_dump()}


def test_opening_again_forgets_nothing_and_guards_again(ledger, folder):
    ledger.reserve(spend(), lifetime=AMPLE)
    again = open_ledger(folder)
    assert again.spends() == (spend(),)
    with pytest.raises(BudgetExhausted):
        again.reserve(spend(round=2), lifetime=room_for(spend()))


def test_a_file_that_is_no_ledger_is_not_overwritten(folder, path):
    path.parent.mkdir()
    path.write_bytes(b"the wrong file, but somebody's" * 50)
    with pytest.raises(LedgerBroken, match=r"ledger\.sqlite cannot be used: .* not a database"):
        open_ledger(folder)
    assert path.read_bytes() == b"the wrong file, but somebody's" * 50


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_ledger_of_another_format_is_left_to_the_version_that_made_it(folder, path, version):
    path.parent.mkdir()
    sql(path, "CREATE TABLE spend (id INTEGER)", f"PRAGMA user_version = {version}")
    with pytest.raises(LedgerBroken, match=f"format {version}, this version writes 2; use the"):
        open_ledger(folder)
    assert sql(path, "SELECT name FROM sqlite_master") == [("spend",)]


def test_a_ledger_that_another_process_makes_meanwhile_is_whole(folder, monkeypatch):
    """Between the two questions that tell a new file from an old one."""
    connect = sqlite3.connect
    asked, others = [], []

    class Slow(sqlite3.Connection):
        def execute(self, statement, *arguments):
            if "user_version" in statement or "sqlite_master" in statement:
                asked.append(statement)
            if len(asked) == 2 and not others:
                monkeypatch.setattr(sqlite3, "connect", connect)
                others.append(open_ledger(folder))
            return super().execute(statement, *arguments)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Slow))
    ledger = open_ledger(folder)
    ledger.reserve(spend(), lifetime=AMPLE)
    assert others[0].spends() == (spend(),)
