"""Tallies leave as the site's policy says, and only with their own charge."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from wire_builders import (
    ADDED_NOISE,
    CONTRACT,
    EXACT,
    LABELS,
    NO_CEILING,
    NOISED,
    OTHER,
    RANKS,
    TRAINED,
    evaluation,
    header,
    labels,
    noised,
    packed_by_a_liar,
    release,
    silent,
    tallies,
)

from privacy.budget import Spend
from privacy.errors import ReleaseBlocked
from privacy.ledger import Ledger, Receipt
from privacy.release import Outlet, Release, Tally
from privacy.wire import pack_release, unpack_release


def leaves(sent: Release, ledger: Ledger, outlet: Outlet) -> Release:
    content = pack_release(sent, contract=CONTRACT, ledger=ledger, outlet=outlet)
    return unpack_release(content, contract=CONTRACT)


EXACT_OUT, NOISED_OUT, NOTHING_OUT = Outlet("exact"), Outlet("noised"), Outlet("withheld")


# The policy's word


@pytest.mark.parametrize("outlet", [NOISED_OUT, NOTHING_OUT])
def test_exact_tallies_leave_under_a_policy_of_exact_ones_only(ledger, outlet):
    assert len(leaves(evaluation(), ledger, EXACT_OUT).tallies) == 2
    with pytest.raises(ReleaseBlocked, match=f"policy.metrics is {outlet.metrics}"):
        leaves(evaluation(), ledger, outlet)


@pytest.mark.parametrize("outlet", [EXACT_OUT, NOTHING_OUT])
def test_noised_tallies_leave_under_a_policy_of_noised_ones_only(ledger, outlet):
    assert len(leaves(noised(), ledger, NOISED_OUT).tallies) == 1
    with pytest.raises(ReleaseBlocked, match=f"policy.metrics is {outlet.metrics}"):
        leaves(noised(), ledger, outlet)


@pytest.mark.parametrize("outlet", [EXACT_OUT, NOISED_OUT, NOTHING_OUT])
def test_an_update_without_tallies_leaves_whatever_the_policy_says_of_tallies(ledger, outlet):
    assert leaves(silent(), ledger, outlet).tallies == ()


@pytest.mark.parametrize("patients", [0, 1, 39])
def test_a_tally_of_few_patients_stays(ledger, patients):
    few = evaluation(patients={LABELS: 40, RANKS: patients})
    few = dataclasses.replace(few, tallies=(tallies()[0], Tally(RANKS, np.zeros(4), patients)))
    assert leaves(few, ledger, EXACT_OUT)
    with pytest.raises(ReleaseBlocked, match="fewer patients than policy"):
        leaves(few, ledger, Outlet("exact", smallest_count=40))


def test_a_tally_of_as_many_patients_as_the_policy_wants_leaves(ledger):
    assert leaves(evaluation(), ledger, Outlet("exact", smallest_count=40))
    with pytest.raises(ReleaseBlocked, match="smallest_count"):
        leaves(evaluation(), ledger, Outlet("exact", smallest_count=41))


def test_how_many_patients_a_noised_tally_needs_is_not_asked(ledger):
    """Their number is private: whether it is large enough would tell."""
    assert leaves(noised(), ledger, Outlet("noised", smallest_count=40))


# The charge


def with_charge(ledger: Ledger, spend: Spend, **changes) -> Release:
    """Exact tallies whose receipt is for `spend`, and a header that says so, but for changes."""
    receipt = ledger.reserve(spend, lifetime=NO_CEILING, cohort="heldout")
    said = {"tally_receipt": receipt.id, **changes}
    return dataclasses.replace(evaluation(**said), tally_receipt=receipt)


def test_tallies_without_a_receipt_stay(ledger):
    with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
        leaves(dataclasses.replace(evaluation(), tally_receipt=None), ledger, EXACT_OUT)


def test_tallies_beside_a_charged_update_need_a_charge_of_their_own(ledger):
    with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
        leaves(release(tally_receipt=None), ledger, EXACT_OUT)


def test_a_charge_for_training_backs_no_tallies(ledger):
    """Tune and held-out patients are not those who were trained on."""
    free = ledger.reserve(EXACT, lifetime=NO_CEILING, cohort="train")
    for receipt in (free, TRAINED):
        sent = dataclasses.replace(evaluation(tally_receipt=receipt.id), tally_receipt=receipt)
        with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
            leaves(sent, ledger, EXACT_OUT)


def test_a_receipt_that_calls_its_line_another_is_none(ledger):
    """The same charge, but of the patients who are trained on."""
    free = ledger.reserve(EXACT, lifetime=NO_CEILING, cohort="train")
    forged = dataclasses.replace(free, cohort="heldout")
    sent = dataclasses.replace(evaluation(tally_receipt=free.id), tally_receipt=forged)
    with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
        leaves(sent, ledger, EXACT_OUT)


def test_a_receipt_that_the_ledger_never_wrote_backs_no_tallies(ledger):
    forged = Receipt(99, EXACT, "heldout")
    sent = dataclasses.replace(evaluation(tally_receipt=99), tally_receipt=forged)
    with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
        leaves(sent, ledger, EXACT_OUT)


@pytest.mark.parametrize("change", [{"study": OTHER}, {"round": 3}], ids=str)
def test_a_charge_of_another_study_or_round_backs_no_tallies(ledger, change):
    assert leaves(with_charge(ledger, EXACT), ledger, EXACT_OUT)
    sent = with_charge(ledger, EXACT.model_copy(update=change))
    with pytest.raises(ReleaseBlocked, match="receipt is for another study, round or noise"):
        leaves(sent, ledger, EXACT_OUT)


@pytest.mark.parametrize("change", [{"tally_receipt": 1}, {"round": 3}, {"round": 0}], ids=str)
def test_a_header_that_says_another_charge_of_tallies_stays(ledger, change):
    with pytest.raises(ReleaseBlocked, match="another study, round or noise"):
        leaves(evaluation(**change), ledger, EXACT_OUT)


def test_the_untrained_head_is_tallied_in_the_first_rounds_name(ledger):
    """A round is asked for from 0, a charge stands from 1."""
    sent = with_charge(ledger, EXACT.model_copy(update={"round": 1}), round=0)
    assert leaves(sent, ledger, EXACT_OUT).header.round == 0


def test_noised_tallies_that_claim_more_noise_than_was_charged_stay(ledger):
    with pytest.raises(ReleaseBlocked, match="another study, round or noise"):
        leaves(noised(tally_noise=40.0), ledger, NOISED_OUT)


def test_noised_tallies_on_a_charge_without_noise_stay(ledger):
    exact = Receipt(2, EXACT, "heldout")
    sent = dataclasses.replace(noised(tally_receipt=2), tally_receipt=exact)
    with pytest.raises(ReleaseBlocked, match="another study, round or noise"):
        leaves(sent, ledger, NOISED_OUT)


def test_exact_tallies_on_a_charge_with_noise_stay(ledger):
    sent = dataclasses.replace(evaluation(tally_receipt=3), tally_receipt=ADDED_NOISE)
    for outlet in (EXACT_OUT, NOISED_OUT):
        with pytest.raises(ReleaseBlocked, match="another study, round or noise"):
            leaves(sent, ledger, outlet)


# The two sorts, on both sides


BOTH_SIDES = {
    "exact tallies that claim noise": lambda: dataclasses.replace(
        evaluation(tally_receipt=3, tally_noise=20.0), tally_receipt=ADDED_NOISE
    ),
    "noised tallies that claim none": lambda: dataclasses.replace(
        noised(tally_receipt=2, tally_noise=0.0), tally_receipt=Receipt(2, EXACT, "heldout")
    ),
    "noised tallies with a number of patients": lambda: noised(patients=40),
    "both sorts": lambda: dataclasses.replace(
        evaluation(patients={LABELS: 40, RANKS: 40, NOISED: 0}),
        tallies=(*tallies(), *noised().tallies),
    ),
    "noised tallies that are not finite": lambda: noised(np.array([1, 2, 3, np.nan])),
    "noised tallies beyond belief": lambda: noised(np.array([1, 2, 3, -2e12])),
    "noised tallies as whole numbers": lambda: noised(np.arange(4)),
    "noised tallies of another shape": lambda: noised(np.zeros(3)),
    "negative exact tallies": lambda: dataclasses.replace(
        evaluation(), tallies=(Tally(LABELS, labels() - 1, 40), tallies()[1])
    ),
    "noise of tallies that are not there": lambda: release(
        header=header(patients={}, tally_receipt=3, tally_noise=20.0),
        tallies=(),
        tally_receipt=ADDED_NOISE,
    ),
}


@pytest.mark.parametrize("make", BOTH_SIDES.values(), ids=BOTH_SIDES)
def test_the_wrong_sort_of_tally_neither_leaves_nor_enters(ledger, make):
    for outlet in (EXACT_OUT, NOISED_OUT, NOTHING_OUT):
        with pytest.raises(ReleaseBlocked):
            leaves(make(), ledger, outlet)
    with pytest.raises(ReleaseBlocked):
        unpack_release(packed_by_a_liar(make()), contract=CONTRACT)


def test_noise_may_make_a_count_negative(ledger):
    found = leaves(noised(np.array([-0.5, -1e6, -5e-324, -0.0])), ledger, NOISED_OUT)
    assert (found.tallies[0].sums <= 0).all()
