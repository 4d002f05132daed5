"""What can be measured of frozen vectors, without a label and with one.

Everything here takes rows (N, D), one a stay, and gives numbers; no row leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

FAR = 5.0
"""Robust deviations beyond which a row is out: of normal scores one in two million is."""

COMPONENTS = 10
"""Principal components along which rows are looked at."""

MAD = 1.4826
"""A normal's standard deviation in units of its median absolute deviation."""


def cka(one: Rows, other: Rows) -> float:
    """Linear centred kernel alignment of two descriptions of the same N things, at most 1.

    1 where they differ by a rotation and a scale; 0 on average where they are independent. From
    the unbiased estimate of each term, since the plain one nears 1 where N is not far above D.

    Kornblith et al. (2019), arXiv:1905.00414; the estimate: Song et al. (2012), JMLR 13.

    Args:
        one: (N, D), N at least 4.
        other: (N, E), the same things in the same order.

    Raises:
        ValueError: N differs, or is under 4.

    | rows | result |
    | --- | --- |
    | all alike in one of the two | 0 |
    """
    if len(one) != len(other) or len(one) < 4:
        raise ValueError("CKA needs the same things in both, at least 4")
    first, second = _without_diagonal(one), _without_diagonal(other)
    # Rounding alone is left where all rows are alike.
    least = 1e-12 * max(len(one), 1)
    own = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / np.sqrt(own)) if own > least**2 else 0.0


def _without_diagonal(rows: Rows) -> Rows:
    centred = rows - rows.mean(0)
    scale = np.sqrt((centred**2).sum(1).mean())
    centred = centred / scale if scale > 1e-12 else np.zeros_like(centred)
    gram: Rows = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(k: Rows, m: Rows) -> float:
    """Unbiased, of Gram matrices whose diagonals are 0."""
    n = len(k)
    whole = k.sum() * m.sum() / ((n - 1) * (n - 2))
    crossed = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(((k * m).sum() + whole - crossed) / (n * (n - 3)))


def spectrum(rows: Rows) -> Rows:
    """Shares of the variance along the principal components, largest first; they add up to 1.

    Nothing where all rows are alike.
    """
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    variances: Rows = singular**2
    total = float(variances.sum())
    return variances / total if total > 1e-12 * len(rows) else np.zeros(0)


def effective_rank(shares: Rows) -> float:
    """Of how many directions the rows make use: the exponential of the shares' entropy.

    Roy and Vetterli (2007), EUSIPCO. D where all directions vary alike, 1 where one alone does, 0
    where none does.
    """
    some = shares[shares > 0]
    return float(np.exp(-(some * np.log(some)).sum())) if len(some) else 0.0


def mean_cosine(rows: Rows) -> float:
    """The mean cosine of two different rows: near 1 where vectors crowd in one direction.

    Ethayarajh (2019), arXiv:1909.00512. Rows are taken at unit length; there are at least 2.
    """
    n = len(rows)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return float(((unit.sum(0) ** 2).sum() - (unit**2).sum()) / (n * (n - 1)))


def far_out(rows: Rows) -> NDArray[np.bool_]:
    """Which rows, (N,), lie far out along one of the first principal components.

    Far: more than `FAR` robust deviations from the median, so that one far row cannot hide another
    by stretching the scale.
    """
    centred = rows - rows.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:COMPONENTS][singular[:COMPONENTS] > 1e-9]
    scores = centred @ axes.T
    away = np.abs(scores - np.median(scores, axis=0))
    deviation = MAD * np.median(away, axis=0)
    # Where more than half of the rows are alike along a component, nothing says what is far.
    usual = deviation > 1e-9
    far: NDArray[np.bool_] = (away[:, usual] > FAR * deviation[usual]).any(1)
    return far


def shift(one: Rows, other: Rows) -> float:
    """How far two groups' means lie apart, in the groups' own spread: Cohen's d in D dimensions.

    The squared distance without what sampling alone adds to it, never below 0, over the mean
    variance; its root. Infinite where neither group varies and the means differ.
    """
    spread = [rows.var(0, ddof=1).sum() for rows in (one, other)]
    apart = float(((one.mean(0) - other.mean(0)) ** 2).sum())
    apart = max(0.0, apart - float(spread[0] / len(one) + spread[1] / len(other)))
    mean = float(sum(spread)) / 2
    if mean <= 1e-12:
        return float("inf") if apart > 1e-12 else 0.0
    return float(np.sqrt(apart / mean))


def covariance_cosine(one: Rows, other: Rows) -> float:
    """The cosine of two groups' covariance matrices: 1 where they vary in the same directions.

    It needs no thing in common, unlike `cka`. 0 where one group does not vary.
    """
    first, second = (np.cov(rows, rowvar=False) for rows in (one, other))
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum() / size) if size > 1e-24 else 0.0


def class_means(rows: Rows, targets: Sequence[tuple[int, ...]], *, outputs: int) -> Rows:
    """The mean row of each output's stays, (L, D); NaN where an output is true of none."""
    sums, counts = np.zeros((outputs, rows.shape[1])), np.zeros(outputs)
    for row, target in zip(rows, targets, strict=True):
        sums[list(target)] += row
        counts[list(target)] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Rows = sums / counts[:, None]
    return means
