"""Laws of the accountant: bounds, monotone, order-free, and true where the truth is known."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from privacy import accounting
from privacy.accounting import PRV_ERROR, epsilon, merged, noise_multiplier, within
from privacy.budget import Budget, Spend

A, B = "a" * 64, "b" * 64
DELTA = 1e-5

# What a study may plausibly ask; PRV takes milliseconds to half a second for each.
MECHANISMS = [(1.0, 1.0), (4.0, 1.0), (20.0, 1.0), (0.8, 0.05), (1.5, 0.2)]


def spend(
    noise: float = 1.0, *, rate: float = 1.0, steps: int = 1, round: int = 1, study: str = A
) -> Spend:
    return Spend(study=study, round=round, noise_multiplier=noise, sample_rate=rate, steps=steps)


def gaussian_delta(eps: float, mu: float) -> float:
    """Balle and Wang (2018), arXiv:1805.06530, theorem 8: the exact delta of a Gaussian.

    mu is sensitivity over standard deviation.
    """

    def phi(t: float) -> float:
        return math.erfc(-t / math.sqrt(2)) / 2

    return phi(mu / 2 - eps / mu) - math.exp(eps) * phi(-mu / 2 - eps / mu)


def gaussian_epsilon(mu: float, delta: float) -> float:
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_delta(middle, mu) <= delta else (middle, high)
    return high


# Edges


def test_nothing_spent_is_epsilon_zero():
    assert epsilon([], delta=DELTA) == 0


def test_no_noise_is_infinite_whatever_stands_beside_it():
    assert epsilon([spend(0)], delta=DELTA) == math.inf
    assert epsilon([spend(20), spend(0, rate=0.01), spend(20)], delta=DELTA) == math.inf


def test_hardly_any_noise_is_finite_and_large():
    found = epsilon([spend(0.05)], delta=DELTA)
    assert gaussian_epsilon(20, DELTA) <= found < 400


@pytest.mark.parametrize(
    "case", [(30.0, 0.1, 3), (20.0, 0.001, 1), (1000.0, 1.0, 1), (1.0, 0.1, 9)]
)
def test_asking_warns_of_nothing(case):
    noise, rate, steps = case
    accounting._epsilon.cache_clear()
    accounting._rdp.cache_clear()
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        assert 0 < epsilon([spend(noise, rate=rate, steps=steps)], delta=DELTA) < 10


# Merging


def test_merged_adds_equal_mechanisms_and_keeps_others_apart():
    given_spends = [
        spend(2, steps=3),
        spend(1, rate=0.5, steps=4),
        spend(2, steps=5, round=2, study=B),
        spend(1, rate=0.25, steps=7),
    ]
    assert merged(given_spends) == ((1.0, 0.25, 7), (1.0, 0.5, 4), (2.0, 1.0, 8))
    assert merged(iter(given_spends)) == merged(given_spends[::-1])


# Shrinking would ask Opacus hundreds of times.
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)
@given(
    st.lists(st.tuples(st.sampled_from(MECHANISMS), st.integers(1, 5)), min_size=1, max_size=4),
    st.tuples(st.sampled_from(MECHANISMS), st.integers(1, 5)),
    st.randoms(use_true_random=False),
)
def test_epsilon_never_falls_when_a_spend_is_added_and_order_does_not_matter(before, more, random):
    def spends(events):
        return [spend(noise, rate=rate, steps=steps) for (noise, rate), steps in events]

    old = epsilon(spends(before), delta=DELTA)
    new = epsilon(spends([*before, more]), delta=DELTA)
    shuffled = [*before, more]
    random.shuffle(shuffled)
    assert epsilon(spends(shuffled), delta=DELTA) == new
    # Each PRV answer lies at most PRV_ERROR above the truth, so only that much is slack.
    assert new >= old - PRV_ERROR
    assert new >= epsilon(spends([more]), delta=DELTA) - PRV_ERROR


def test_more_steps_cost_more_and_more_noise_costs_less():
    steps = [epsilon([spend(4, rate=0.2, steps=n)], delta=DELTA) for n in (1, 10, 40, 160)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] / 3
    noises = [epsilon([spend(n, steps=4)], delta=DELTA) for n in (1, 2, 4, 8)]
    assert noises == sorted(noises, reverse=True)
    assert noises[-1] < noises[0] / 5


def test_a_smaller_delta_costs_more():
    assert epsilon([spend(2)], delta=1e-8) > epsilon([spend(2)], delta=1e-5) + 0.3


def test_sampling_amplifies():
    assert epsilon([spend(1, rate=0.05)], delta=DELTA) < epsilon([spend(1)], delta=DELTA) / 2


# Truth


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_without_sampling_it_is_the_analytic_gaussian(noise, steps):
    exact = gaussian_epsilon(math.sqrt(steps) / noise, DELTA)
    found = epsilon([spend(noise, steps=steps)], delta=DELTA)
    assert exact <= found <= exact + 0.02


def test_different_noises_compose_as_one_gaussian():
    exact = gaussian_epsilon(math.sqrt(3 / 2**2 + 5 / 4**2), DELTA)
    found = epsilon([spend(2, steps=3), spend(4, steps=5, study=B)], delta=DELTA)
    assert exact <= found <= exact + 0.02


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_one_sampled_step_is_the_exact_mixture(rate):
    # Neighbours by adding: delta(eps) = rate * delta of the Gaussian at log(1 + (e^eps - 1)/rate).
    # Neighbours by removing: the same with P and Q exchanged, by numerical integration.
    sigma = 1.0
    x = np.linspace(-12, 13, 400_001)
    p = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    q = (1 - rate) * p + rate * np.exp(-((x - 1) ** 2) / 2) / math.sqrt(2 * math.pi)

    def delta(eps: float) -> float:
        ways = (np.clip(a - math.exp(eps) * b, 0, None).sum() for a, b in ((p, q), (q, p)))
        return max(ways) * (x[1] - x[0])

    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if delta(middle) <= DELTA else (middle, high)
    found = epsilon([spend(sigma, rate=rate)], delta=DELTA)
    assert high - 1e-6 <= found <= high + 0.02


def test_rounds_add_up_to_one_accountant_over_all_steps():
    rdp, prv = RDPAccountant(), PRVAccountant()
    for _ in range(3 * 10):
        for accountant in (rdp, prv):
            accountant.step(noise_multiplier=1.1, sample_rate=0.1)
    rounds = [spend(1.1, rate=0.1, steps=10, round=number) for number in (1, 2, 3)]
    tighter = min(rdp.get_epsilon(delta=DELTA), prv.get_epsilon(delta=DELTA, eps_error=PRV_ERROR))
    assert epsilon(rounds, delta=DELTA) == pytest.approx(tighter, abs=1e-9)


def test_rdp_answers_where_prv_fails(monkeypatch):
    only_rdp = RDPAccountant()
    only_rdp.step(noise_multiplier=3.0, sample_rate=0.5)
    accounting._epsilon.cache_clear()
    for failure in (ValueError, RuntimeError, MemoryError):

        def fail(*_, error=failure, **__):
            raise error

        monkeypatch.setattr(PRVAccountant, "get_epsilon", fail)
        assert epsilon([spend(3, rate=0.5)], delta=DELTA) == only_rdp.get_epsilon(delta=DELTA)
        accounting._epsilon.cache_clear()


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), 0.0, -1.0])
def test_an_answer_of_prv_that_cannot_be_is_not_believed(monkeypatch, answer):
    accounting._epsilon.cache_clear()
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda *_, **__: answer)
    found = epsilon([spend(3, rate=0.5)], delta=DELTA)
    accounting._epsilon.cache_clear()
    assert found > 0.5


# Calibration


@pytest.mark.parametrize(
    ("target", "rate", "steps"), [(1.0, 1.0, 5), (8.0, 1.0, 3), (3.0, 0.1, 30)]
)
def test_calibrated_noise_keeps_the_budget_and_hardly_more(target, rate, steps):
    budget = Budget(epsilon=target)
    noise = noise_multiplier(budget, sample_rate=rate, steps=steps)
    assert epsilon([spend(noise, rate=rate, steps=steps)], delta=DELTA) <= target
    assert epsilon([spend(noise * 0.99, rate=rate, steps=steps)], delta=DELTA) > target


def test_calibrated_noise_is_near_the_analytic_one():
    noise = noise_multiplier(Budget(epsilon=2), sample_rate=1, steps=7)
    exact = gaussian_epsilon(math.sqrt(7) / noise, DELTA)
    assert 1.96 <= exact <= 2


def test_an_infinite_epsilon_has_no_noise():
    with pytest.raises(ValueError, match="infinite epsilon"):
        noise_multiplier(Budget(epsilon=math.inf), sample_rate=0.5, steps=1)


def test_a_budget_that_no_noise_keeps_is_refused(monkeypatch):
    monkeypatch.setattr(accounting, "_epsilon", lambda *_: 1.0)
    with pytest.raises(ValueError, match=r"within epsilon 0\.0123; raise epsilon or lower steps"):
        noise_multiplier(Budget(epsilon=0.0123), sample_rate=1, steps=1000)


# within


@pytest.mark.parametrize(
    "events", [[(4.0, 1.0, 3)], [(1.0, 0.1, 10)], [(4.0, 1.0, 3), (9.0, 1.0, 2)]]
)
def test_within_agrees_with_epsilon(events):
    spends = [spend(noise, rate=rate, steps=steps) for noise, rate, steps in events]
    cost = epsilon(spends, delta=DELTA)
    rdp = accounting._rdp(merged(spends), DELTA)
    assert cost < rdp - 0.1
    assert within(spends, Budget(epsilon=rdp + 0.01))
    assert within(spends, Budget(epsilon=(cost + rdp) / 2))  # only PRV says yes
    assert within(spends, Budget(epsilon=cost))
    assert not within(spends, Budget(epsilon=cost * 0.999))


def test_within_at_the_edges():
    tiny, no_ceiling = Budget(epsilon=1e-9), Budget(epsilon=math.inf)
    assert within([], tiny)
    assert not within([spend(0)], Budget(epsilon=1e300))
    assert not within([spend(50), spend(0)], Budget(epsilon=1e300))
    assert within([spend(0)], no_ceiling)


def test_within_uses_the_delta_of_the_budget():
    cost = epsilon([spend(2)], delta=1e-5)
    assert within([spend(2)], Budget(epsilon=cost + 0.01, delta=1e-5))
    rdp = accounting._rdp(merged([spend(2)]), 1e-5)
    for least in (cost, rdp):  # both ways to a yes
        assert not within([spend(2)], Budget(epsilon=least + 0.01, delta=1e-8))


@pytest.mark.parametrize(
    ("noise", "steps"), [(2.0, 100_000), (0.04, 6), (0.5, 10_000), (1e-3, 1)], ids=str
)
def test_a_cost_beyond_all_measure_is_known_at_once(noise, steps):
    """PRV's grid would take all memory; whoever asks a site for this must only be told no."""
    began = time.process_time()
    found = epsilon([spend(noise, rate=0.2, steps=steps)], delta=DELTA)
    assert time.process_time() - began < 3
    assert math.isfinite(found)
    assert found > accounting.PRV_LARGEST


def test_prv_is_not_asked_on_a_grid_beyond_memory():
    events = ((5.0, 0.2, 100_000),)
    assert accounting._rdp(events, DELTA) < accounting.PRV_LARGEST
    assert accounting._prv(events, DELTA) == math.inf
    assert epsilon([spend(5.0, rate=0.2, steps=100_000)], delta=DELTA) == accounting._rdp(
        events, DELTA
    )
