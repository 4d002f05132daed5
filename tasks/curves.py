"""Areas under curves, from histograms of scores; each with how far the unbinned one may be.

Scores of one bin count as equal, as scikit-learn counts equal scores. All functions take pairs,
(2, ..., W), false and true, by the bins of the last axis, and give one number for each of `...`:
NaN where it is not defined.

| | not defined |
| --- | --- |
| AUROC | without a true pair, or without a false one |
| AUPRC (average precision) | without a true pair |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.binning import Counts

Values = NDArray[np.float64]
Pairs = Counts | Values
"""Whole numbers, or sums of weights."""


def auroc(counts: Pairs) -> Values:
    """Chance that a true pair scores higher than a false one, ties counting half."""
    false, true = counts.astype(np.float64)
    below = np.cumsum(false, -1) - false
    return _share((true * (below + false / 2)).sum(-1), true.sum(-1) * false.sum(-1))


def auroc_bound(counts: Pairs) -> Values:
    """How far `auroc` may be from that of the scores themselves: half the chance that a true and a
    false pair share a bin, because their order in it is unknown.
    """
    false, true = counts.astype(np.float64)
    return _share((true * false).sum(-1) / 2, true.sum(-1) * false.sum(-1))


def auprc(counts: Pairs) -> Values:
    """Average precision: the sum over bins, from the top, of the recall gained times precision."""
    _, p, fp, tp = _from_the_top(counts)
    precision = np.divide(tp, tp + fp, out=np.zeros(tp.shape), where=tp + fp > 0)
    return np.minimum(_share((p * precision).sum(-1), p.sum(-1)), 1.0)


def auprc_bound(counts: Pairs) -> Values:
    """How far `auprc` may be from that of the scores themselves.

    Inside a bin with p true and n false pairs the order is unknown; precision there lies
    between that with all n first and that with all p first, each weighted by p.
    """
    n, p, fp, tp = _from_the_top(counts)
    tp_before, fp_before = tp - p, fp - n
    with np.errstate(invalid="ignore"):
        best = (tp_before + p) / (tp_before + p + fp_before)
        worst = (tp_before + 1) / (tp_before + 1 + fp_before + n)
        apart = np.where(p > 0, (best - worst) * p, 0)
    return _share(apart.sum(-1), p.sum(-1))


def _from_the_top(counts: Pairs) -> tuple[Values, Values, Values, Values]:
    """False and true pairs by bin from the highest, and both added up."""
    n, p = counts[..., ::-1].astype(np.float64)
    return n, p, np.cumsum(n, -1), np.cumsum(p, -1)


def _share(part: Values, whole: Values) -> Values:
    known = np.asarray(whole) > 0
    made: Values = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=known)
    return made
