"""Sums over stays: how each stay's ranking, and its set of predicted outputs, do.

A stay without a true output has no average precision, recall or R-precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.binning import EDGES, Bins, Scores, Truth

AT = 8
FIRST = (5, AT, 15)

Rows = NDArray[np.float64]


def stay_ranks(logits: Scores, truth: Truth) -> Rows:
    """Per stay, (N, 4): average precision of the ranking, whether any output is true, precision
    among the first eight, and 1.

    Ties are broken by the order of the outputs, on every site alike. Average precision is the
    mean over true outputs of the precision at their rank; a stay without any has none.
    """
    return stay_sums(logits, truth)[:, :4]


def stay_sums(logits: Scores, truth: Truth) -> Rows:
    """Per stay, (N, 10): the four of `stay_ranks`, then precision among the first 5 and 15,
    recall among the first 5, 8 and 15, and R-precision.

    Precision among the first k has k below it, also where there are fewer outputs. R-precision
    is the precision among the first as many as are true (Manning et al. 2008, chapter 8.4).
    """
    stays = len(logits)
    rows, columns = np.nonzero(truth)
    ranks = _ranks(logits, rows, columns)
    ordered = np.lexsort((ranks, rows))
    rows, ranks = rows[ordered], ranks[ordered]
    positives = np.bincount(rows, minlength=stays)
    some = np.maximum(positives, 1)
    before = np.arange(len(rows)) - (np.cumsum(positives) - positives)[rows]

    def within(first: int | NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(rows[ranks < first], minlength=stays)

    five, eight, fifteen = (within(k) for k in FIRST)
    columns_of = (
        np.bincount(rows, weights=(before + 1) / (ranks + 1), minlength=stays) / some,
        positives > 0,
        eight / FIRST[1],
        np.ones(stays),
        five / FIRST[0],
        fifteen / FIRST[2],
        five / some,
        eight / some,
        fifteen / some,
        within(positives[rows]) / some,
    )
    return np.stack([np.asarray(column, np.float64) for column in columns_of], axis=1)


def _ranks(
    logits: Scores, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The place of some (stay, output) pairs in the ranking of their stay, from 0.

    Sorting scores alone takes a fraction of sorting outputs by them; few are looked up.

    Args:
        logits: (N, L).
        rows: Stays, in order.
        columns: Outputs.
    """
    scores = np.where(np.isnan(logits), np.float32(-np.inf), logits)
    ordered = np.sort(scores, axis=1)
    ends = np.searchsorted(rows, np.arange(len(logits) + 1))
    ranks = np.zeros(len(rows), np.int64)
    for stay in range(len(logits)):
        here = slice(ends[stay], ends[stay + 1])
        own = scores[stay, columns[here]]
        above = ordered[stay].searchsorted(own, "right")
        ranks[here] = logits.shape[1] - above
        for pair in np.flatnonzero(above - ordered[stay].searchsorted(own, "left") > 1):
            earlier = scores[stay, : columns[here][pair]]
            ranks[ends[stay] + pair] += np.count_nonzero(earlier == own[pair])
    return ranks


def set_sums(bins: Bins, truth: Truth) -> NDArray[np.float64]:
    """How the set of predicted outputs fits the set of true ones at each edge, over all stays.

    The threshold is chosen later, on other patients, so every edge of `EDGES` is counted.

    Args:
        bins: Of each (stay, output) among `EDGES`, (N, L).
        truth: (N, L).

    Returns:
        (2, E): stays whose two sets are equal; the sum over stays of what both sets share, over
        what either has (Jaccard), 0 for a stay where both are empty, as scikit-learn counts.
    """
    stays, width = len(bins), len(EDGES) + 1
    rows, columns = np.nonzero(truth)
    every = bins + width * np.arange(stays)[:, None]
    true = every[rows, columns]
    shape = (stays, width)
    said = np.bincount(every.ravel(), minlength=stays * width).reshape(shape)
    right = np.bincount(true, minlength=stays * width).reshape(shape)
    said, right = (found[:, ::-1].cumsum(1)[:, ::-1][:, 1:] for found in (said, right))
    positives = truth.sum(1)[:, None]
    either = said + positives - right
    same = (right == positives) & (said == positives)
    shared = np.divide(right, either, out=np.zeros(either.shape), where=either > 0)
    return np.stack([same.sum(0).astype(np.float64), shared.sum(0)])


def confusion(logits: Scores, truth: Truth) -> NDArray[np.int64]:
    """Stays by true and predicted class, (L, L): the predicted one has the highest score, the
    first where several have. Stays without a true class are left out.
    """
    outputs = logits.shape[1]
    some = truth.any(1)
    true, said = truth[some].argmax(1), logits[some].argmax(1)
    flat = np.bincount(true * outputs + said, minlength=outputs * outputs)
    return flat.reshape(outputs, outputs)
