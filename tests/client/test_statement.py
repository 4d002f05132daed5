"""The statement and the account: nothing is claimed that the ledger does not show."""

from __future__ import annotations

import math

import pytest
from builders import policy_table

from client import statement as module
from client.promises import shown
from client.statement import account, said, statement
from privacy.budget import Budget, Spend
from privacy.errors import LedgerBroken

NO_CEILING = Budget(epsilon=math.inf)


def charge(site, study, *rounds: int, cohort="train", noise: float | None = None) -> None:
    for number in rounds:
        spend = study.spend(number)
        if noise is not None:
            spend = Spend(**spend.model_dump() | {"noise_multiplier": noise})
        site.open_ledger().reserve(spend, lifetime=NO_CEILING, cohort=cohort)


def test_the_account_has_every_spend_and_what_all_cost_by_then(make_site, study):
    site = make_site("ash")
    charge(site, study, 1, 2)
    charge(site, study, 1, cohort="heldout", noise=9.0)
    found = account(site)
    ledger = site.open_ledger()
    assert [(line.cohort, line.round) for line in found.lines] == [
        ("train", 1),
        ("train", 2),
        ("heldout", 1),
    ]
    assert found.spent == ledger.epsilon(delta=1e-5) == found.lines[1].epsilon
    assert found.lines[0].epsilon < found.lines[1].epsilon
    assert found.heldout_spent == ledger.epsilon(delta=1e-5, cohort="heldout")
    assert found.left == pytest.approx(8.0 - found.spent)
    assert found.head == ledger.entries()[-1].hash


def test_the_last_lines_count_those_before_them(make_site, study):
    site = make_site("ash")
    charge(site, study, 1, 2)
    assert account(site, last=1).lines == account(site).lines[1:]


def test_an_infinite_epsilon_is_none_and_leaves_nothing(make_site, study):
    site = make_site("ash")
    charge(site, study, 1, noise=0.0)
    found = account(site)
    assert (found.spent, found.left) == (None, 0.0)


def test_the_statement_claims_the_ledgers_epsilon_and_names_what_it_rests_on(make_site, study):
    site = make_site("ash", test_seed=None)
    charge(site, study, 1, 2)
    made = statement(site)
    assert made.holds
    assert made.epsilon == site.open_ledger().epsilon(delta=1e-5)
    assert (made.unit, made.neighbours, made.delta) == ("patient", "add-or-remove-one", 1e-5)
    assert made.studies == (study.digest,)
    text = said(made)
    assert f"({shown(made.epsilon)}, 1e-05)-differentially private" in text
    assert "2 rounds of 1 studies" in text
    assert "what people at the site can read themselves" in text


@pytest.mark.parametrize(
    ("noise", "seed", "words"),
    [(0.0, None, "Updates left without noise"), (None, 5, "noise came from a test seed")],
)
def test_there_is_no_claim_without_noise_or_with_noise_that_can_be_taken_off(
    make_site, study, noise, seed, words
):
    site = make_site("ash", test_seed=seed)
    charge(site, study, 1, noise=noise)
    made = statement(site)
    assert not made.holds
    assert "NO CLAIM" in said(made)
    assert words in said(made)
    assert "differentially private" not in said(made)


def test_exact_counts_are_named_among_what_is_not_covered(make_site, study):
    site = make_site("ash", policy=policy_table(smallest_count=6))
    assert "exactly" not in statement(site).exclusions[0]
    charge(site, study, 1, cohort="heldout", noise=0.0)
    assert "their counts left exactly" in statement(site).exclusions[0]
    assert "fewer than 6" in statement(site).exclusions[0]
    assert "note vectors and codes can be computed" in statement(site).exclusions[0]


@pytest.fixture
def site_under(make_site):
    """A site with some `metrics` and a delta of its own for held-out patients."""

    def make(metrics: str, **changes):
        heldout = {"epsilon": 4.0, "delta": 1e-7}
        policy = policy_table(metrics=metrics, heldout=heldout)
        return make_site("ash", policy=policy, test_seed=changes.get("test_seed"))

    return make


def test_each_line_has_its_own_delta(site_under, study):
    site = site_under("noised")
    charge(site, study, 1)
    charge(site, study, 1, 2, cohort="heldout", noise=9.0)
    ledger = site.open_ledger()
    expected = ledger.epsilon(delta=1e-7, cohort="heldout")
    assert expected > ledger.epsilon(delta=1e-5, cohort="heldout")
    found, made = account(site), statement(site)
    assert (found.heldout_spent, found.heldout_delta) == (expected, 1e-7)
    assert (made.heldout_epsilon, made.heldout_delta) == (expected, 1e-7)
    assert found.lines[-1].epsilon == expected
    assert (found.spent, found.delta) == (ledger.epsilon(delta=1e-5), 1e-5)
    assert f"({shown(expected)}, 1e-07)-differentially private" in said(made)


@pytest.mark.parametrize(
    ("metrics", "noise", "words"),
    [
        ("exact", None, "NO CLAIM: exact counts of them leave"),
        ("exact", 9.0, "NO CLAIM: exact counts of them leave"),
        ("noised", 0.0, "NO CLAIM: exact counts of them have left"),
        ("withheld", 0.0, "NO CLAIM: exact counts of them have left"),
        ("noised", None, "nothing of them has left"),
        ("noised", 9.0, "counted apart from training"),
        ("withheld", None, "nothing of them has left"),
        ("withheld", 9.0, "nothing more of them leaves"),
    ],
)
def test_of_held_out_patients_is_said_what_holds_for_them(site_under, study, metrics, noise, words):
    site = site_under(metrics)
    charge(site, study, 1)
    if noise is not None:
        charge(site, study, 1, cohort="heldout", noise=noise)
    made = statement(site)
    claim, heldout = said(made).splitlines()[:2]
    assert "from the training patients of ash" in claim
    assert "one training patient with" in claim
    assert words in heldout
    assert ("differentially private" in heldout) is ("NO CLAIM" not in heldout and bool(noise))


def test_a_test_seed_leaves_no_claim_of_held_out_patients_either(site_under, study):
    site = site_under("noised", test_seed=5)
    charge(site, study, 1, cohort="heldout", noise=9.0)
    assert statement(site).heldout_in_words == "NO CLAIM: noise came from a test seed"


def test_an_epsilon_is_never_said_smaller_than_it_is(make_site, study):
    site = make_site("ash", test_seed=None)
    charge(site, study, 1)
    made = statement(site).model_copy(update={"epsilon": 2.991})
    assert "(3.00, 1e-05)" in said(made)


def test_other_datasets_of_the_ledger_are_named_with_what_they_cost(make_site, study):
    site = make_site("ash", test_seed=None)
    charge(site, study, 1)
    assert (account(site).others, statement(site).others) == ((), ())
    before = make_site("ash", test_seed=None, dataset="old")
    charge(before, study, 1, 2)
    charge(before, study, 1, cohort="heldout", noise=0.0)
    (found,) = account(site).others
    assert (found.dataset, found.entries, found.heldout_spent) == ("old", 3, None)
    assert found.spent == before.open_ledger().epsilon(delta=1e-5)
    made = statement(site)
    assert made.others == (found,)
    assert f"old: epsilon {shown(found.spent)} training, infinite tune" in said(made)
    for warnings in (account(site).warnings, made.warnings):
        assert any("the ledger counts old apart from patients" in one for one in warnings)


def test_a_mark_on_the_ledgers_own_device_is_warned_of(make_site, study, monkeypatch):
    site = make_site("ash", test_seed=None)
    for _ in range(2):  # before either file is there, and after
        for warnings in (account(site).warnings, statement(site).warnings):
            assert "put `mark` on another disk" in warnings[0]
        charge(site, study, 1)
    assert "WARNING: the ledger and its mark lie on the same device" in said(statement(site))
    monkeypatch.setattr(module, "_device", lambda path: path.name)
    assert (account(site).warnings, statement(site).warnings) == ((), ())


def test_nothing_is_claimed_from_a_ledger_that_was_edited(make_site, study):
    site = make_site("ash")
    charge(site, study, 1)
    site.at(site.ledger).unlink()
    for suffix in ("-wal", "-shm"):
        site.at(site.ledger).with_name(site.ledger.name + suffix).unlink(missing_ok=True)
    with pytest.raises(LedgerBroken):
        statement(site)
