"""What keeps charging quick and slow: certificates of plans, and rounds per day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import AMPLE, DELTA, NO_CEILING, B, cost, open_ledger, spend

from privacy import accounting, entries
from privacy.accounting import covers, merged
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted, StudyRefused
from privacy.ledger import Ledger


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def ledger(folder) -> Ledger:
    return open_ledger(folder)


def plan(rounds: int = 4, *, study: str = "a" * 64, noise: float = 2.0) -> list[Spend]:
    return [spend(noise, study=study, round=n) for n in range(1, rounds + 1)]


def between(*spends: Spend) -> Budget:
    """A lifetime that these spends keep, which RDP alone cannot say."""
    exact, rdp = cost(*spends), accounting._rdp(merged(spends), DELTA)
    assert exact < rdp - 0.1
    return Budget(epsilon=exact + 0.01, delta=DELTA)


@pytest.fixture
def no_prv(monkeypatch):
    """Lets nothing ask the slow accountant from here on."""

    def stop() -> None:
        def asked(*_):
            raise AssertionError("PRV was asked")

        accounting._epsilon.cache_clear()
        monkeypatch.setattr(accounting, "_prv", asked)

    yield stop
    accounting._epsilon.cache_clear()


def kinds(ledger: Ledger) -> list[str]:
    return [entry.kind for entry in ledger.entries()]


# Certificates


def test_a_plan_that_rdp_lets_in_is_certified_without_prv(ledger, no_prv):
    tight = cost(*plan())
    no_prv()
    ledger.afford(plan(), lifetime=AMPLE)
    (entry,) = ledger.entries()
    assert tight <= entry.body["epsilon"] <= AMPLE.epsilon


def test_without_a_ceiling_there_is_nothing_to_certify(ledger):
    ledger.afford(plan(), lifetime=NO_CEILING)
    ledger.afford([], lifetime=AMPLE)
    assert ledger.entries() == ()


def test_a_plan_that_only_prv_lets_in_is_certified_once(ledger, folder):
    lifetime = between(*plan())
    for _ in range(3):
        open_ledger(folder).afford(plan(), lifetime=lifetime)
    (entry,) = ledger.entries()
    assert entry.kind == "certified"
    assert entry.events == merged(plan())
    assert entry.body["delta"] == DELTA
    assert entry.body["epsilon"] == cost(*plan()) <= lifetime.epsilon
    assert ledger.spends() == ()
    assert ledger.epsilon(delta=DELTA) == 0


def test_no_round_of_a_certified_plan_asks_an_accountant(ledger, folder, no_prv, monkeypatch):
    lifetime = between(*plan())
    ledger.afford(plan(), lifetime=lifetime)
    no_prv()
    monkeypatch.setattr(accounting, "_rdp", lambda *_: pytest.fail("RDP was asked"))
    for number, one in enumerate(plan(), 1):
        open_ledger(folder).afford(plan()[number - 1 :], lifetime=lifetime)
        open_ledger(folder).reserve(one, lifetime=lifetime)
    assert kinds(ledger) == ["certified", *["spend"] * 4]


def test_what_a_certificate_does_not_cover_is_refused(ledger):
    lifetime = between(*plan())
    ledger.afford(plan(), lifetime=lifetime)
    for one in plan():
        ledger.reserve(one, lifetime=lifetime)
    for more in (spend(), spend(10, study=B), spend(0), spend(1.999, steps=1)):
        with pytest.raises(BudgetExhausted, match="the ledger would reach"):
            ledger.reserve(more, lifetime=lifetime)
    assert kinds(ledger) == ["certified", *["spend"] * 4]


def test_what_other_accountants_certified_is_asked_again(ledger, folder, monkeypatch):
    lifetime = between(*plan())
    monkeypatch.setattr(accounting, "version", lambda: "of old")
    monkeypatch.setattr(accounting, "bound", lambda *_: 0.1)  # they erred
    ledger.afford([*plan(), spend(round=5)], lifetime=lifetime)
    assert kinds(ledger) == ["certified"]
    monkeypatch.undo()
    with pytest.raises(BudgetExhausted):
        open_ledger(folder).afford([*plan(), spend(round=5)], lifetime=lifetime)


def test_a_study_is_charged_no_more_often_than_was_agreed(ledger):
    for number in (1, 1):
        ledger.reserve(spend(round=number), lifetime=AMPLE, most=2)
    for number in (1, 2):
        with pytest.raises(BudgetExhausted, match="may be charged 2 times, and was"):
            ledger.reserve(spend(round=number), lifetime=AMPLE, most=2)
    # Another study, and the other line, have their own numbers.
    ledger.reserve(spend(study=B), lifetime=AMPLE, most=2)
    ledger.reserve(spend(), lifetime=AMPLE, cohort="heldout", most=1)
    assert len(ledger.entries()) == 4


def test_a_plan_that_does_not_fit_is_not_certified(ledger):
    lifetime = between(*plan())
    with pytest.raises(BudgetExhausted):
        ledger.afford([*plan(), spend(round=5)], lifetime=lifetime)
    assert ledger.entries() == ()


@pytest.mark.parametrize(
    "lifetime",
    [
        Budget(epsilon=cost(*plan()) - 0.01, delta=DELTA),
        Budget(epsilon=cost(*plan()) + 0.01, delta=DELTA / 10),
        Budget(epsilon=1e-3, delta=DELTA * 10),
    ],
    ids=["smaller", "smaller delta", "other delta"],
)
def test_a_certificate_for_another_budget_is_not_used(ledger, lifetime):
    ledger.afford(plan(), lifetime=between(*plan()))
    assert kinds(ledger) == ["certified"]
    with pytest.raises(BudgetExhausted):
        ledger.afford(plan(), lifetime=lifetime)
    with pytest.raises(BudgetExhausted):
        ledger.reserve(spend(steps=8), lifetime=lifetime)
    assert ledger.spends() == ()


def test_a_certificate_is_used_under_a_larger_budget(ledger, no_prv):
    lifetime = between(*plan())
    ledger.afford(plan(), lifetime=lifetime)
    no_prv()
    ledger.reserve(spend(), lifetime=Budget(epsilon=lifetime.epsilon + 0.1, delta=DELTA))


def test_a_certificate_counts_what_other_studies_spent_before(ledger, no_prv):
    before = plan(2, study=B, noise=3)
    for one in before:
        ledger.reserve(one, lifetime=AMPLE)
    lifetime = between(*before, *plan())
    ledger.afford(plan(), lifetime=lifetime)
    no_prv()
    for one in plan():
        ledger.reserve(one, lifetime=lifetime)
    assert ledger.entries()[2].events == merged([*before, *plan()])


# As many steps of few mechanisms, so that one often covers another.
_EVENTS = st.lists(
    st.tuples(st.sampled_from([0.8, 1.5, 4.0]), st.sampled_from([0.05, 1.0]), st.integers(1, 9)),
    max_size=4,
)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(_EVENTS, _EVENTS)
def test_what_covers_costs_at_least_as_much(first, second):
    def spends(events):
        return [spend(noise, rate=rate, steps=steps) for noise, rate, steps in events]

    larger, smaller = merged(spends(first)), merged(spends(second))
    both = merged(spends([*first, *second]))
    assert covers(both, larger)
    assert covers(both, smaller)
    assert covers(larger, ())
    for more, less in ((larger, smaller), (both, smaller)):
        counts = {(noise, rate): steps for noise, rate, steps in more}
        assert covers(more, less) == all(counts.get((n, r), 0) >= s for n, r, s in less)
        if less and covers(more, less):
            assert accounting._rdp(more, DELTA) >= accounting._rdp(less, DELTA)


# Rounds per day


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""

    class Clock(datetime):
        time = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)

        @classmethod
        def now(cls, tz=None):
            return cls.time

    monkeypatch.setattr(entries, "datetime", Clock)
    return Clock


def charge(ledger: Ledger, *, per_day: int | None = 2, cohort: str = "train") -> None:
    ledger.reserve(spend(), lifetime=NO_CEILING, per_day=per_day, cohort=cohort)


def test_a_day_sees_as_many_rounds_as_it_may(ledger, clock):
    for _ in range(2):
        charge(ledger)
        clock.time += timedelta(hours=1)
    with pytest.raises(StudyRefused) as caught:
        charge(ledger)
    assert str(caught.value) == (
        "policy.rounds_per_day allows 2, and as many were trained in the last 24 hours; "
        "ask again after 2026-03-02T12:00:30+00:00"
    )
    assert len(ledger.spends()) == 2


def test_the_time_to_ask_again_is_the_first_that_works(ledger, clock):
    start = clock.time
    for _ in range(2):
        charge(ledger)
        clock.time += timedelta(hours=1)
    clock.time = start + timedelta(days=1, seconds=-1)
    with pytest.raises(StudyRefused, match=r"ask again after 2026-03-02T12:00:30\+00:00"):
        charge(ledger)
    clock.time = start + timedelta(days=1)
    charge(ledger)
    with pytest.raises(StudyRefused, match=r"ask again after 2026-03-02T13:00:30\+00:00"):
        charge(ledger)


def test_where_more_were_charged_than_may_be_all_but_one_less_must_be_old(ledger, clock):
    for _ in range(4):
        charge(ledger, per_day=None)
        clock.time += timedelta(hours=1)
    for allowed, hour in ((1, 15), (2, 14), (3, 13), (4, 12)):
        with pytest.raises(StudyRefused, match=f"ask again after 2026-03-02T{hour}:00:30"):
            charge(ledger, per_day=allowed)
    charge(ledger, per_day=5)


def test_a_charge_in_the_future_counts(ledger, clock):
    """A clock that was set ahead and back buys no round."""
    clock.time += timedelta(days=400)
    charge(ledger, per_day=1)
    clock.time -= timedelta(days=400)
    with pytest.raises(StudyRefused, match="ask again after 2027-04-06T12:00:30"):
        charge(ledger, per_day=1)


def test_only_charges_of_this_line_and_dataset_count(ledger, folder, clock):
    for _ in range(3):
        charge(ledger, per_day=None, cohort="heldout")
    charge(open_ledger(folder, dataset="ward"))
    ledger.record("approved", {"study": B})
    charge(ledger, per_day=1)
    with pytest.raises(StudyRefused):
        charge(ledger, per_day=1)


def test_a_round_too_many_is_refused_however_much_is_left_and_no_lock_stays(ledger, clock):
    charge(ledger, per_day=1)
    with pytest.raises(StudyRefused) as caught:
        ledger.reserve(spend(), lifetime=AMPLE, per_day=1)
    assert not isinstance(caught.value, BudgetExhausted)
    charge(ledger, per_day=None)
