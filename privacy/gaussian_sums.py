"""gaussian-sums: sums over patients with Gaussian noise, for statistics in closed form.

Guarantees:
    Unit: one patient, who is one row. Neighbours: data sets that differ by one added or removed
    patient. Sensitivity: each row is cut to L2 norm `clip`, so the sum of rows changes by at
    most `clip` in L2 norm; noise of standard deviation `noise_multiplier * clip` is added to
    every number of it. No rows give noise alone.
    The cost is that of one Gaussian mechanism at sampling rate 1, which the ledger composes with
    everything else on the same patients (`spend`).
    A row that is not finite counts as zero.
    `least_noise` is the analytic calibration of Balle and Wang (2018), arXiv:1805.06530: exact at
    every epsilon, unlike the classical bound, which holds below 1 only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr

from privacy.budget import Budget, Spend
from privacy.randomness import Stream


def noisy_sum(
    rows: NDArray[np.float64], *, clip: float, noise_multiplier: float, stream: Stream
) -> NDArray[np.float64]:
    """The sum of rows that were each cut to norm `clip`, with noise, (K,).

    Args:
        rows: (P, K), one row a patient with all of the patient's data.
        clip: L2 norm.
        noise_multiplier: Deviation of the noise over `clip`; 0 adds none.
        stream: Source of the noise.

    Raises:
        ValueError: `clip` is not positive and finite, or the noise is negative.
    """
    if not (0 < clip < math.inf and 0 <= noise_multiplier < math.inf):
        raise ValueError("clip must be positive, the noise multiplier not negative, both finite")
    return with_noise(
        clipped(rows, clip).sum(0), clip=clip, noise_multiplier=noise_multiplier, stream=stream
    )


def with_noise(
    total: NDArray[np.float64], *, clip: float, noise_multiplier: float, stream: Stream
) -> NDArray[np.float64]:
    """A sum of rows, (K,), with noise; whoever summed them has cut each row to `clip`."""
    if noise_multiplier == 0:
        return total
    noise = stream.normal(total.shape).numpy()
    return np.asarray(total + noise_multiplier * clip * noise)


def clipped(rows: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
    """Each row cut to L2 norm `clip`; a row that is not finite becomes zero."""
    rows = np.asarray(rows, np.float64)
    # The largest entry is taken out of each row, so that no square can overflow.
    largest = np.abs(rows).max(1, initial=0, keepdims=True)
    finite = np.isfinite(largest)
    scale = np.where(finite & (largest > 0), largest, 1)
    unit = np.where(finite, rows, 0) / scale
    norms = np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1)
    # Divided by a hair too much, so that rounding never leaves a row above the clip.
    return np.asarray(unit * np.minimum(scale, clip / (norms * (1 + 1e-12))))


def spend(*, study: str, round: int, noise_multiplier: float) -> Spend:
    """What one such sum costs each patient."""
    return Spend(
        study=study, round=round, noise_multiplier=noise_multiplier, sample_rate=1, steps=1
    )


def least_noise(budget: Budget) -> float:
    """The least noise multiplier with which one sum stays inside the budget.

    Raises:
        ValueError: The budget's epsilon is infinite: that needs no noise.
    """
    if math.isinf(budget.epsilon):
        raise ValueError("an infinite epsilon needs no noise")
    high = 1.0
    while _delta(high, budget.epsilon) > budget.delta:
        high *= 2
    low = high
    while _delta(low, budget.epsilon) <= budget.delta:
        low /= 2
    found = brentq(
        lambda noise: math.log(max(_delta(noise, budget.epsilon), 1e-300)) - math.log(budget.delta),
        low,
        high,
        xtol=1e-12,
        rtol=1e-12,
    )
    return float(found) * (1 + 1e-9)  # on the safe side of the root


def _delta(noise: float, epsilon: float) -> float:
    """The least delta of the Gaussian mechanism (Balle and Wang 2018, theorem 8)."""
    first = log_ndtr(0.5 / noise - epsilon * noise)
    second = epsilon + log_ndtr(-0.5 / noise - epsilon * noise)
    return float(np.exp(first) - np.exp(second))
