"""Noisy sums: the law of their sensitivity, their noise and its calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy import accounting
from privacy.budget import Budget
from privacy.gaussian_sums import clipped, least_noise, noisy_sum, spend
from privacy.randomness import stream

STUDY = "a" * 64

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
tables = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=anything)


def total(rows: np.ndarray, clip: float) -> np.ndarray:
    return noisy_sum(rows, clip=clip, noise_multiplier=0, stream=stream("x"))


@settings(max_examples=300, deadline=None)
@given(rows=tables, gone=st.integers(0, 7), clip=st.floats(1e-6, 1e6))
def test_a_patient_added_or_removed_moves_the_sum_by_at_most_the_clip(rows, gone, clip):
    """Brute force on every sort of neighbour: rows that are huge, tiny, zero or not finite."""
    neighbour = np.delete(rows, gone % len(rows), axis=0)
    moved = np.linalg.norm(total(rows, clip) - total(neighbour, clip))
    assert moved <= clip * (1 + 1e-9 * len(rows))


def test_the_bound_is_reached():
    rows = np.array([[3.0, 4.0], [1e300, -1e300], [0.1, 0.0]])
    for gone, expected in ((0, 2.0), (1, 2.0), (2, 0.1)):
        moved = total(rows, 2.0) - total(np.delete(rows, gone, axis=0), 2.0)
        assert np.linalg.norm(moved) == pytest.approx(expected, rel=1e-9)


def test_rows_below_the_clip_are_whole_and_their_direction_is_kept():
    rows = np.array([[0.3, 0.4], [30.0, 40.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 0.0]])
    expected = [[0.3, 0.4], [0.6, 0.8], [0, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(clipped(rows, 1.0), expected, rtol=1e-9)


@pytest.mark.parametrize("people", [0, 3])
@pytest.mark.parametrize(("clip", "noise"), [(1.0, 1.0), (0.1, 5.0), (20.0, 0.5)])
def test_noise_has_the_deviation_that_was_charged(people, clip, noise):
    rows = np.zeros((people, 50_000))
    found = noisy_sum(rows, clip=clip, noise_multiplier=noise, stream=stream("n")) / (clip * noise)
    assert abs(found.mean()) < 4 / math.sqrt(50_000)
    assert abs(found.std() - 1) < 4 / math.sqrt(100_000)


def test_two_sums_of_one_stream_share_no_noise():
    numbers, rows = stream("n"), np.zeros((1, 1000))
    one, two = (noisy_sum(rows, clip=1, noise_multiplier=1, stream=numbers) for _ in range(2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.13


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_that_clips_nothing_is_refused(clip):
    with pytest.raises(ValueError, match="clip must be positive"):
        total(np.ones((1, 1)), clip)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0, 8.0, 30.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
def test_the_analytic_noise_is_least_and_enough(epsilon, delta):
    """Against Google's accountant, which knows the Gaussian mechanism exactly."""
    from dp_accounting.pld.common import DifferentialPrivacyParameters
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    noise = least_noise(Budget(epsilon=epsilon, delta=delta))
    theirs = GaussianPrivacyLoss.from_privacy_guarantee(
        DifferentialPrivacyParameters(epsilon, delta)
    ).standard_deviation
    assert noise == pytest.approx(theirs, rel=1e-3)
    assert GaussianPrivacyLoss(noise).get_delta_for_epsilon(epsilon) <= delta
    assert GaussianPrivacyLoss(noise * 0.999).get_delta_for_epsilon(epsilon) > delta


def test_no_noise_for_an_infinite_epsilon():
    with pytest.raises(ValueError, match="needs no noise"):
        least_noise(Budget(epsilon=math.inf))


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_the_ledger_counts_such_a_sum_for_what_it_costs(epsilon):
    budget = Budget(epsilon=epsilon, delta=1e-5)
    charge = spend(study=STUDY, round=1, noise_multiplier=least_noise(budget))
    assert (charge.sample_rate, charge.steps) == (1, 1)
    counted = accounting.epsilon([charge], delta=1e-5)
    assert epsilon * 0.999 <= counted <= epsilon * 1.1 + 0.02
