"""From right guesses to a lower bound on epsilon: the statistic of the one-run audit.

Steinke, Nasr and Jagielski (2023), arXiv:2305.08846, Theorem 5.2 (approximate differential
privacy; with delta 0 it is their Theorem 5.1).

What is assumed:
    - Each of m canaries is in the training data or not by a fair coin of its own.
    - Neighbours differ by one canary added or removed, and nothing else depends on the coins.
    - The number of guesses r is fixed before the run. Which canaries are guessed about, and how,
      may depend on everything that the mechanism gave away.

Then whoever guesses about an (epsilon, delta)-private mechanism does no better than somebody who
is told each coin with chance e^epsilon / (1 + e^epsilon) of being told right, up to a correction
for delta. More right guesses than that would give refute the epsilon.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LARGEST = 50.0
"""No bound is looked for above: e^-50 is less than a float can tell from 0 beside 1."""

PRECISION = 1e-6


def lower_bound(
    *, canaries: int, guesses: int, correct: int, delta: float, confidence: float
) -> float:
    """The largest epsilon that these guesses refute, to one millionth below.

    | guesses | bound |
    | --- | --- |
    | half of them right, or fewer | 0 |
    | all right | `most_certifiable` |

    Args:
        canaries: m.
        guesses: r, fixed before the run.
        correct: Right guesses.
        delta: Of the claim.
        confidence: Chance that the bound is not above the truth, at least.

    Raises:
        ValueError: Not 1 <= r <= m, 0 <= correct <= r, 0 <= delta < 1, 0 < confidence < 1.
    """
    if not (1 <= guesses <= canaries and 0 <= correct <= guesses):
        raise ValueError("need 1 <= guesses <= canaries and 0 <= correct <= guesses")
    if not (0 <= delta < 1 and 0 < confidence < 1):
        raise ValueError("need 0 <= delta < 1 and 0 < confidence < 1")
    level = 1 - confidence

    def refuted(epsilon: float) -> bool:
        chance = p_value(epsilon, canaries=canaries, guesses=guesses, correct=correct, delta=delta)
        return chance <= level

    # Half right is what no knowledge gives; without this, a confidence under one half would
    # make a bound of it.
    if 2 * correct <= guesses or not refuted(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def most_certifiable(*, canaries: int, guesses: int, delta: float, confidence: float) -> float:
    """The bound if every guess were right: nothing above it can be refuted with these numbers.

    >>> round(most_certifiable(canaries=1000, guesses=100, delta=1e-5, confidence=0.95), 2)
    3.47
    """
    return lower_bound(
        canaries=canaries, guesses=guesses, correct=guesses, delta=delta, confidence=confidence
    )


def p_value(epsilon: float, *, canaries: int, guesses: int, correct: int, delta: float) -> float:
    """How likely at least `correct` right guesses are, at most, if (epsilon, delta) holds.

    With B binomial over the guesses, each right with chance e^epsilon / (1 + e^epsilon):
    P[B >= correct] + 2 m delta max_i P[correct > B >= correct - i] / i, over i = 1 .. m.
    """
    chances = _binomial(guesses, 1 / (1 + math.exp(-epsilon)))
    tail = float(chances[correct:].sum())
    if delta == 0 or correct == 0:
        return min(tail, 1.0)
    # Beyond i = correct the probability grows no more while i does.
    below = np.cumsum(chances[:correct][::-1])
    worst = float((below / np.arange(1, correct + 1)).max())
    return min(tail + 2 * canaries * delta * worst, 1.0)


def _binomial(trials: int, chance: float) -> NDArray[np.float64]:
    """P[B = k] for k = 0 .. trials; by logarithms, so that nothing overflows. 0 < chance < 1."""
    k = np.arange(trials + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    ways = log_factorial[-1] - log_factorial - log_factorial[::-1]
    found: NDArray[np.float64] = np.exp(
        ways + k * math.log(chance) + (trials - k) * math.log1p(-chance)
    )
    return found
