"""Metrics from tallies.

All are exact for the scores as binned, with ties inside a bin broken as one block, which is
what scikit-learn does with equal scores. F1 at an edge of `EDGES` is exact for the scores
themselves. AUPRC differs from that of the unbinned scores by at most `auprc_bound`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy.release import Tally
from privacy.spec import Spec
from tasks import noised
from tasks.tallies import EDGES, FINE, LABELS, RANKS, SCORES, TUNE

N = TypeVar("N", np.int64, np.float64)

Share = Annotated[float, Field(ge=0, le=1)]


class Metrics(Spec):
    """How well a head does on a group of held-out patients.

    A metric is None where its tally was withheld or says nothing (no stay, no true output).

    Attributes:
        micro_f1: F1 over all (stay, output) pairs at the threshold.
        macro_f1: Mean of the outputs' F1 at the threshold, over outputs that are true at
            least once among these patients.
        macro_f1_all: The same over every output of the study, 0 for those never true.
        map: Mean over stays with a true output of the ranking's average precision.
        p_at_8: Mean over stays of the share of true outputs among the first eight.
        auprc: Area under the precision-recall curve of all pairs (average precision).
        threshold: The logit at or above which an output is predicted.
        patients: Held-out patients behind the numbers, without those of noised tallies: how many
            they are is private.
    """

    micro_f1: Share | None = None
    macro_f1: Share | None = None
    macro_f1_all: Share | None = None
    map: Share | None = None
    p_at_8: Share | None = None
    auprc: Share | None = None
    threshold: float | None = None
    patients: Annotated[int, Field(ge=0)] = 0


def best_threshold(tallies: Mapping[str, Tally]) -> float | None:
    """The edge of `EDGES` with the highest micro-F1 on the tune patients.

    The lowest such edge where several are equal; None where there is nothing to choose by.
    """
    rough = _with_noised(tallies, TUNE, noised.TUNE)
    if rough is not None:
        return _rough_threshold(rough)
    if TUNE not in tallies or not tallies[TUNE].sums[1].sum():
        return None
    sums = _counts(tallies[TUNE])
    at = np.searchsorted(FINE, EDGES)
    tp, fp = _at_least(sums[1])[at], _at_least(sums[0])[at]
    return float(EDGES[int(np.argmax(2 * tp / (tp + fp + sums[1].sum())))])


def metrics(tallies: Mapping[str, Tally], *, threshold: float | None) -> Metrics:
    """Every metric that these tallies allow.

    Args:
        tallies: By name, of one site or added up over several.
        threshold: An edge of `EDGES`, chosen elsewhere; without one there is no F1.

    Raises:
        ValueError: The threshold is not an edge.
    """
    if noised.SCORES in tallies:
        return _rough(tallies, threshold)
    found: dict[str, float | int | None] = {"threshold": threshold}
    if SCORES in tallies:
        found["patients"] = tallies[SCORES].patients
        found["auprc"] = _auprc(_counts(tallies[SCORES]))
    if RANKS in tallies:
        average, coded, first, stays = (float(value) for value in tallies[RANKS].sums)
        found["map"] = average / coded if coded else None
        found["p_at_8"] = first / stays if stays else None
    if threshold is not None:
        edge = _edge(threshold)
        if SCORES in tallies:
            found["micro_f1"] = _micro_f1(_counts(tallies[SCORES]), threshold)
        if LABELS in tallies:
            found |= _macro_f1(_counts(tallies[LABELS]), edge)
    return Metrics.model_validate(found)


def _edge(threshold: float) -> int:
    edge = int(np.searchsorted(EDGES, threshold))
    if edge == len(EDGES) or EDGES[edge] != threshold:
        raise ValueError(f"threshold {threshold} is not one of the edges")
    return edge


def _rough(tallies: Mapping[str, Tally], threshold: float | None) -> Metrics:
    """What can be told where some sites' tallies carry noise: no output by itself, no AUPRC."""
    found: dict[str, float | int | None] = {"threshold": threshold}
    if SCORES in tallies:
        found["patients"] = tallies[SCORES].patients
    ranks = sum(tallies[name].sums for name in (RANKS, noised.RANKS) if name in tallies)
    average, coded, first, stays = np.broadcast_to(ranks, 4).tolist()
    found["map"] = _share(average, coded)
    found["p_at_8"] = _share(first, stays)
    sums = _with_noised(tallies, SCORES, noised.SCORES)
    if threshold is not None and sums is not None:
        edge = _edge(threshold)
        tp, fp = _at_least(sums[1])[edge], _at_least(sums[0])[edge]
        found["micro_f1"] = _share(2 * tp, tp + fp + sums[1].sum())
    return Metrics.model_validate(found)


def _rough_threshold(sums: NDArray[np.float64]) -> float | None:
    """As `best_threshold`, among the edges above which noised sites count false pairs."""
    first = _edge(noised.LOWEST)
    tp, fp = _at_least(sums[1])[first:], _at_least(sums[0])[first:]
    scores = [_share(2 * t, t + f + sums[1].sum()) for t, f in zip(tp, fp, strict=True)]
    known = [-1.0 if score is None else score for score in scores]
    return float(EDGES[first + int(np.argmax(known))]) if max(known) >= 0 else None


def _with_noised(
    tallies: Mapping[str, Tally], exact: str, noisy: str
) -> NDArray[np.float64] | None:
    """Pairs by the bins of `EDGES`, (2, B), of exact and noised sites; None without the latter."""
    if noisy not in tallies:
        return None
    sums: NDArray[np.float64] = tallies[noisy].sums.astype(np.float64)
    if exact in tallies:
        # The bin of EDGES that each bin of FINE lies in.
        bins = np.concatenate([[0], np.searchsorted(EDGES, FINE, side="right")])
        for row in (0, 1):
            sums[row] += np.bincount(
                bins, weights=tallies[exact].sums[row], minlength=len(EDGES) + 1
            )
    return sums


def _share(part: float, whole: float) -> float | None:
    """A ratio of noisy numbers, kept where it makes sense."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def auprc_bound(sums: NDArray[np.int64]) -> float:
    """How far the binned AUPRC may be from that of the scores themselves.

    Inside a bin with p true and n false pairs the order is unknown; precision there lies
    between that with all n first and that with all p first, each weighted by p.
    """
    total = sums[1].sum()
    if not total:
        return 0.0
    tp_before = np.concatenate([[0], np.cumsum(sums[1][::-1])])[:-1]
    fp_before = np.concatenate([[0], np.cumsum(sums[0][::-1])])[:-1]
    p, n = sums[1][::-1], sums[0][::-1]
    tied = p > 0
    tp_before, fp_before, p, n = (value[tied] for value in (tp_before, fp_before, p, n))
    best = (tp_before + p) / (tp_before + p + fp_before)
    worst = (tp_before + 1) / (tp_before + 1 + fp_before + n)
    return float(((best - worst) * p).sum() / total)


def _counts(tally: Tally) -> NDArray[np.int64]:
    return tally.sums.astype(np.int64)


def _at_least(counts: NDArray[N]) -> NDArray[N]:
    """For each edge, how many lie at or above it: bins are numbered so that bin e+1 starts at
    edge e. Works on the last axis; one shorter than the input.
    """
    above: NDArray[N] = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    return above


def _micro_f1(sums: NDArray[np.int64], threshold: float) -> float | None:
    at = int(np.searchsorted(FINE, threshold))
    tp, fp = _at_least(sums[1])[at], _at_least(sums[0])[at]
    positives = sums[1].sum()
    return float(2 * tp / (tp + fp + positives)) if tp + fp + positives else None


def _macro_f1(sums: NDArray[np.int64], edge: int) -> dict[str, float | None]:
    tp, fp = _at_least(sums[1])[:, edge], _at_least(sums[0])[:, edge]
    positives = sums[1].sum(-1)
    below = tp + fp + positives
    f1 = np.divide(2 * tp, below, out=np.zeros(len(tp)), where=below > 0)
    present = positives > 0
    return {
        "macro_f1": float(f1[present].mean()) if present.any() else None,
        "macro_f1_all": float(f1.mean()) if present.any() else None,
    }


def _auprc(sums: NDArray[np.int64]) -> float | None:
    """Average precision: sum over bins, from the top, of the recall gained times precision."""
    positives = sums[1].sum()
    if not positives:
        return None
    tp, fp = np.cumsum(sums[1][::-1]), np.cumsum(sums[0][::-1])
    gained = sums[1][::-1] / positives
    precision = np.divide(tp, tp + fp, out=np.zeros(len(tp)), where=tp + fp > 0)
    total = float((gained * precision).sum())
    return min(total, 1.0) if math.isfinite(total) else None
