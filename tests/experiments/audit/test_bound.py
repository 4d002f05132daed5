"""The statistic of the audit: how many right guesses refute which epsilon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from experiments.audit.bound import lower_bound, most_certifiable, p_value

USUAL = {"canaries": 1000, "guesses": 100, "delta": 1e-5, "confidence": 0.95}


def test_a_thousand_canaries_and_a_hundred_right_guesses_certify_3_47():
    assert most_certifiable(**USUAL) == pytest.approx(3.47, abs=0.005)


@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("guesses", [2, 37, 100])
def test_the_bound_never_falls_with_one_more_right_guess(guesses, delta):
    setting = USUAL | {"guesses": guesses, "delta": delta}
    bounds = [lower_bound(correct=correct, **setting) for correct in range(guesses + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == most_certifiable(**setting)
    if guesses > 2:
        assert bounds[-1] > 0


@pytest.mark.parametrize("confidence", [0.01, 0.4, 0.95, 0.999])
@pytest.mark.parametrize("guesses", [1, 2, 99, 100])
def test_chance_certifies_exactly_nothing(guesses, confidence):
    setting = USUAL | {"guesses": guesses, "confidence": confidence}
    for correct in (0, guesses // 2):
        assert lower_bound(correct=correct, **setting) == 0.0


@pytest.mark.parametrize(("correct", "epsilon"), [(0, 0.0), (60, 0.3), (90, 2.0), (100, 3.4)])
def test_without_delta_it_is_the_binomial_test(correct, epsilon):
    found = p_value(epsilon, canaries=1000, guesses=100, correct=correct, delta=0)
    expected = binom.sf(correct - 1, 100, 1 / (1 + math.exp(-epsilon)))
    assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("correct", [1, 50, 88, 100])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 4.0])
def test_the_correction_for_delta_is_the_theorems_read_term_by_term(correct, epsilon):
    right = 1 / (1 + math.exp(-epsilon))
    worst = max(
        float(binom.cdf(correct - 1, 100, right) - binom.cdf(correct - i - 1, 100, right)) / i
        for i in range(1, 1001)
    )
    expected = binom.sf(correct - 1, 100, right) + 2 * 1000 * 1e-5 * worst
    found = p_value(epsilon, canaries=1000, guesses=100, correct=correct, delta=1e-5)
    assert found == pytest.approx(min(1.0, float(expected)), rel=1e-7)


def test_more_canaries_and_more_delta_certify_less():
    assert most_certifiable(**USUAL) > most_certifiable(**USUAL | {"canaries": 10_000})
    assert most_certifiable(**USUAL) > most_certifiable(**USUAL | {"delta": 1e-4})
    assert most_certifiable(**USUAL) > most_certifiable(**USUAL | {"confidence": 0.99})


def test_randomized_response_is_not_called_broken_more_often_than_promised():
    """The tight case: each coin is told with exactly the chance that epsilon 1 allows."""
    right = 1 / (1 + math.exp(-1.0))
    counts = np.random.default_rng(3).binomial(100, right, size=4000)
    setting = USUAL | {"delta": 0.0}
    bound = {count: lower_bound(correct=int(count), **setting) for count in set(counts.tolist())}
    broken = np.mean([bound[count] > 1.0 for count in counts.tolist()])
    assert 0.01 < broken <= 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"guesses": 0, "correct": 0},
        {"guesses": 1001},
        {"correct": 101},
        {"correct": -1},
        {"delta": 1.0},
        {"confidence": 1.0},
        {"confidence": 0.0},
    ],
)
def test_numbers_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="need"):
        lower_bound(**USUAL | {"correct": 60} | change)
