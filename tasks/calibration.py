"""Calibration, from the histogram of all scores at `FINE`: no tally is needed for it.

A score's chance is taken as that of its bin's middle, at most 0.001 off between -16 and 16
(`FINE` is 1/128 apart, and a chance moves by at most a quarter of that). So is each reliability
bin's mean chance, and ECE with it; the Brier score is off by at most 0.002.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy.spec import Spec
from tasks.binning import FINE, Counts

_Share = Annotated[float, Field(ge=0, le=1)]

TENTHS = 10


class Reliability(Spec):
    """The pairs whose chance lies in one tenth.

    The borders are the edges of `FINE` next to those tenths, so that each pair is counted where
    its own score lies.

    Attributes:
        least: Chance from which pairs are in it.
        pairs: How many.
        said: Their mean chance; None without pairs.
        true: Share that is true; None without pairs.
    """

    least: _Share
    pairs: Annotated[int, Field(ge=0)]
    said: _Share | None = None
    true: _Share | None = None


def chance(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a logit stands for."""
    return 1 / (1 + np.exp(-logits))


def borders() -> NDArray[np.float64]:
    """The logits at which the second to last tenth begin: the edges of `FINE` nearest to them."""
    tenths = np.arange(1, TENTHS) / TENTHS
    step = FINE[1] - FINE[0]
    found: NDArray[np.float64] = np.round(np.log(tenths / (1 - tenths)) / step) * step
    return found


def reliability(counts: Counts) -> tuple[Reliability, ...]:
    """Said against true chances, by tenths.

    Args:
        counts: False and true pairs by the bins of `FINE`, (2, F).
    """
    starts = np.concatenate([[0], np.searchsorted(FINE, borders()) + 1])
    every = counts.sum(0)
    pairs = np.add.reduceat(every, starts)
    said = np.add.reduceat(every * _middles(), starts)
    true = np.add.reduceat(counts[1], starts)
    least = [0.0, *chance(borders()).tolist()]
    return tuple(
        Reliability(
            least=low,
            pairs=int(number),
            said=float(sure / number) if number else None,
            true=float(right / number) if number else None,
        )
        for low, number, sure, right in zip(least, pairs, said, true, strict=True)
    )


def ece(counts: Counts) -> float | None:
    """Expected calibration error: the mean over pairs of how far said and true chances of their
    tenth are apart (Guo et al. 2017, arXiv:1706.04599); None without pairs.
    """
    found = reliability(counts)
    total = sum(row.pairs for row in found)
    if not total:
        return None
    apart = [row.pairs * abs((row.said or 0) - (row.true or 0)) for row in found]
    return sum(apart) / total


def brier(counts: Counts) -> float | None:
    """Mean squared distance of chance and truth over all pairs; None without pairs."""
    total = counts.sum()
    middles = _middles()
    wrong = counts[0] * middles**2 + counts[1] * (1 - middles) ** 2
    return float(wrong.sum() / total) if total else None


def _middles() -> NDArray[np.float64]:
    """The chance of each bin's middle; of the two open ones, that of their edge."""
    inner = (FINE[1:] + FINE[:-1]) / 2
    return chance(np.concatenate([FINE[:1], inner, FINE[-1:]]))
