"""From spends to epsilon, and from a budget to the noise that keeps it.

Guarantees:
    Epsilons are upper bounds for the composition of every spend given, whatever study it came
    from: Poisson-subsampled Gaussian steps under add-or-remove-one neighbours. Two accountants
    of Opacus are asked, both valid, and the smaller answer is taken:
    RDP (Mironov 2017, arXiv:1702.07476; Mironov et al. 2019, arXiv:1908.10530) and
    PRV (Gopi et al. 2021, arXiv:2106.02848).

| spends | epsilon |
| --- | --- |
| none | 0 |
| any with noise multiplier 0 | infinity |
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from privacy.budget import Budget, Spend

# Opacus's PRV answer is an upper bound that lies at most this far above the truth.
PRV_ERROR = 0.01

# Where PRV is not asked, because RDP's bound will do: on a grid of more points than this (seconds
# and half a gigabyte; it grows with epsilon and with the root of the steps), and above this
# epsilon. Otherwise a study that asks for far more than any policy allows would take all memory
# before anybody could say no.
PRV_POINTS = 2**23
PRV_LARGEST = 200.0


@cache
def version() -> str:
    """Which accountants answer: of what they certified, another version may think otherwise."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return f"{own[:16]} opacus {metadata.version('opacus')}"


Events = tuple[tuple[float, float, int], ...]


def merged(spends: Iterable[Spend]) -> Events:
    """(noise multiplier, sample rate, steps) with equal mechanisms added up, in sorted order.

    Composition does not depend on order, and both accountants are far faster on few events.
    """
    total: dict[tuple[float, float], int] = {}
    for spend in spends:
        key = (spend.noise_multiplier, spend.sample_rate)
        total[key] = total.get(key, 0) + spend.steps
    return tuple((noise, rate, steps) for (noise, rate), steps in sorted(total.items()))


def epsilon(spends: Iterable[Spend], *, delta: float) -> float:
    """The epsilon of all these spends together: the tighter of RDP and PRV."""
    return _epsilon(merged(spends), delta)


def within(spends: Iterable[Spend], budget: Budget) -> bool:
    """Whether all these spends together stay inside the budget."""
    return bound(spends, budget) <= budget.epsilon


def bound(spends: Iterable[Spend], budget: Budget) -> float:
    """An epsilon of all these spends together that is good enough to hold against the budget.

    RDP is asked first: it is quick, and where it already says yes PRV could only agree.
    """
    events = merged(spends)
    if not events:
        return 0.0
    if any(noise == 0 for noise, _, _ in events):
        return math.inf
    quick = _rdp(events, budget.delta)
    return quick if quick <= budget.epsilon else _epsilon(events, budget.delta)


def covers(larger: Events, smaller: Events) -> bool:
    """Whether `larger` holds at least as many steps of everything in `smaller`.

    Then it costs at least as much: dropping a step is post-processing.
    """
    steps = {(noise, rate): count for noise, rate, count in larger}
    return all(steps.get((noise, rate), 0) >= count for noise, rate, count in smaller)


@lru_cache(maxsize=1024)
def noise_multiplier(budget: Budget, *, sample_rate: float, steps: int) -> float:
    """The least noise (to about 0.3%) that keeps `steps` steps inside the budget.

    Args:
        budget: With a finite epsilon.
        sample_rate: Chance of each patient to be in a step.
        steps: All steps of the study, over all rounds.

    Raises:
        ValueError: The budget's epsilon is infinite or too small for any noise up to 10,000.
    """
    if math.isinf(budget.epsilon):
        raise ValueError("an infinite epsilon needs no noise; use mechanism 'off'")

    def by_rdp(noise: float) -> bool:
        return _rdp(((noise, sample_rate, steps),), budget.delta) <= budget.epsilon

    def by_either(noise: float) -> bool:
        return _epsilon(((noise, sample_rate, steps),), budget.delta) <= budget.epsilon

    # RDP first: it is quick at any noise, while PRV's grid grows without measure at little
    # noise. PRV then only looks a little below what RDP found to be enough.
    high = 0.5
    while not by_rdp(high):
        high *= 2
        if high > 1e4:
            raise ValueError(
                f"no noise keeps {steps} steps at rate {sample_rate} within epsilon "
                f"{budget.epsilon}; raise epsilon or lower steps"
            )
    high = _least(by_rdp, high / 2 if high > 0.5 else 0.05, high)
    return _least(by_either, 0.75 * high, high)


def _least(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The least noise in (low, high] that fits, to about 0.3%; `high` is known to."""
    while high / low > 1.003:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


@lru_cache(maxsize=4096)
def _epsilon(events: Events, delta: float) -> float:
    if not events:
        return 0.0
    if any(noise == 0 for noise, _, _ in events):
        return math.inf
    rdp = _rdp(events, delta)
    return rdp if rdp > PRV_LARGEST else min(rdp, _prv(events, delta))


@lru_cache(maxsize=4096)
def _rdp(events: Events, delta: float) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(events)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "optimal order is the largest alpha": still a bound
        return float(accountant.get_epsilon(delta=delta))


def _prv(events: Events, delta: float) -> float:
    """PRV where it converges on a grid of bearable size; otherwise infinity, which leaves RDP to
    answer.
    """
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = list(events)
    grid = accountant._get_domain  # noqa: SLF001 - the size is known nowhere else before it is used

    def bounded(**asked: Any) -> Any:
        found = grid(**asked)
        if found.size > PRV_POINTS:
            raise MemoryError
        return found

    accountant._get_domain = bounded  # noqa: SLF001 - as above
    try:
        # At rate 1 it takes the logarithm of 0, and handles the -inf that it gets.
        # It also asks RDP for a first guess, which warns of orders; PRV's own bound stands.
        with np.errstate(divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = float(accountant.get_epsilon(delta=delta, eps_error=PRV_ERROR))
    except (ValueError, RuntimeError, OverflowError, MemoryError):
        return math.inf
    return found if math.isfinite(found) and found > 0 else math.inf
