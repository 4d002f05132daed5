"""Metrics from tallies.

All are exact for the scores as binned, with ties inside a bin broken as one block, which is
what scikit-learn does with equal scores. F1 at an edge of `EDGES` is exact for the scores
themselves, and so are sums over stays. AUROC and AUPRC differ from those of the unbinned scores
by at most their bounds (`tasks.curves`), which are told beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy.release import Tally
from privacy.spec import Spec
from tasks import calibration, curves, noised, per_output
from tasks.binning import EDGES, FINE, Counts, at_least, folded
from tasks.per_output import Share, edge_of
from tasks.tallies import CONFUSION, LABELS, RANKS, SCORES, SETS, TOPS, TUNE, of_level

Found = dict[str, float | int | None]


class Metrics(Spec):
    """How well a head does on a group of held-out patients.

    A metric is None where its tally was withheld or says nothing (no stay, no true output).

    Attributes:
        micro_f1: F1 over all (stay, output) pairs at the threshold.
        macro_f1: Mean of the outputs' F1 at the threshold, over outputs that are true at
            least once among these patients.
        macro_f1_all: The same over every output of the study, 0 for those never true.
        map: Mean over stays with a true output of the ranking's average precision.
        p_at_5: Mean over stays of the share of true outputs among the first five.
        p_at_8: Among the first eight.
        p_at_15: Among the first fifteen.
        r_at_5: Mean over stays with a true output of the share of them among the first five.
        r_at_8: Among the first eight.
        r_at_15: Among the first fifteen.
        r_precision: Mean over stays with a true output of the precision among as many as are true.
        auroc: Area under the ROC curve of all pairs. High where true pairs are rare, whatever
            the ranking of a stay's outputs: not a headline for coding.
        auroc_macro: Mean of the outputs' AUROC, over those that are true and false at least once.
        auprc: Area under the precision-recall curve of all pairs (average precision).
        auprc_macro: Mean of the outputs' AUPRC, over those that are true at least once.
        auroc_bound: How far `auroc` of the unbinned scores may be.
        auroc_macro_bound: The same of `auroc_macro`.
        auprc_bound: The same of `auprc`.
        auprc_macro_bound: The same of `auprc_macro`.
        exact_match: Share of stays with every output right at the threshold.
        jaccard: Mean over stays of true and predicted outputs in common over those in either, at
            the threshold; 0 where both are none.
        brier: Mean squared distance of chance and truth over all pairs, within 0.002.
        ece: Expected calibration error over tenths, within 0.001 (`tasks.calibration`).
        accuracy: Share of stays whose class is right: the highest score where one output of
            several is true, the threshold where there is one output.
        balanced_accuracy: Mean over classes that occur of the share of their stays that is right.
        macro_f1_classes: Mean over classes that are true or predicted of their F1 by the highest
            score.
        micro_f1_own: `micro_f1` with a threshold of its own for each output that is true often
            enough among the tune patients (`tasks.per_output`).
        macro_f1_own: `macro_f1` with those.
        macro_f1_all_own: `macro_f1_all` with those.
        threshold: The logit at or above which an output is predicted.
        patients: Held-out patients behind the numbers, without those of noised tallies: how many
            they are is private.
    """

    micro_f1: Share | None = None
    macro_f1: Share | None = None
    macro_f1_all: Share | None = None
    map: Share | None = None
    p_at_5: Share | None = None
    p_at_8: Share | None = None
    p_at_15: Share | None = None
    r_at_5: Share | None = None
    r_at_8: Share | None = None
    r_at_15: Share | None = None
    r_precision: Share | None = None
    auroc: Share | None = None
    auroc_macro: Share | None = None
    auprc: Share | None = None
    auprc_macro: Share | None = None
    auroc_bound: Share | None = None
    auroc_macro_bound: Share | None = None
    auprc_bound: Share | None = None
    auprc_macro_bound: Share | None = None
    exact_match: Share | None = None
    jaccard: Share | None = None
    brier: Share | None = None
    ece: Share | None = None
    accuracy: Share | None = None
    balanced_accuracy: Share | None = None
    macro_f1_classes: Share | None = None
    micro_f1_own: Share | None = None
    macro_f1_own: Share | None = None
    macro_f1_all_own: Share | None = None
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
    tp, fp = at_least(sums[1])[at], at_least(sums[0])[at]
    return float(EDGES[int(np.argmax(2 * tp / (tp + fp + sums[1].sum())))])


def metrics(
    tallies: Mapping[str, Tally],
    *,
    threshold: float | None,
    own: per_output.Edge | None = None,
) -> Metrics:
    """Every metric that these tallies allow.

    Args:
        tallies: By name, of one site or added up over several.
        threshold: An edge of `EDGES`, chosen elsewhere; without one there is no F1.
        own: The number of each output's own edge, chosen elsewhere.

    Raises:
        ValueError: The threshold is not an edge.
    """
    if noised.SCORES in tallies:
        return _rough(tallies, threshold)
    edge = None if threshold is None else edge_of(threshold)
    found: Found = {"threshold": threshold}
    if SCORES in tallies:
        found |= _of_scores(tallies[SCORES], edge)
    if RANKS in tallies:
        found |= _of_stays(tallies, edge)
    if LABELS in tallies:
        found |= _of_outputs(tallies[LABELS], edge, own)
    if CONFUSION in tallies:
        found |= _of_classes(_counts(tallies[CONFUSION]))
    return Metrics.model_validate(found)


def level_metrics(tallies: Mapping[str, Tally], *, threshold: float | None) -> dict[str, Metrics]:
    """The metrics of each coarser level, at the threshold of the outputs themselves."""
    levels = dict.fromkeys(name.split("/")[1] for name in tallies if name.count("/") > 1)
    return {level: metrics(of_level(tallies, level), threshold=threshold) for level in levels}


def _of_scores(tally: Tally, edge: int | None) -> Found:
    counts = _counts(tally)
    found: Found = {
        "patients": tally.patients,
        "auroc": _known(curves.auroc(counts)),
        "auroc_bound": _known(curves.auroc_bound(counts)),
        "auprc": _known(curves.auprc(counts)),
        "auprc_bound": _known(curves.auprc_bound(counts)),
        "brier": calibration.brier(counts),
        "ece": calibration.ece(counts),
    }
    if edge is not None:
        tp, fp = (int(at_least(folded(row))[edge]) for row in counts[::-1])
        pairs = tp + fp + int(counts[1].sum())
        found["micro_f1"] = 2 * tp / pairs if pairs else None
    return found


def _of_stays(tallies: Mapping[str, Tally], edge: int | None) -> Found:
    average, coded, first, stays = (float(value) for value in tallies[RANKS].sums)
    found: Found = {"map": _ratio(average, coded), "p_at_8": _ratio(first, stays)}
    if TOPS in tallies:
        five, fifteen, *others = (float(value) for value in tallies[TOPS].sums)
        found |= {"p_at_5": _ratio(five, stays), "p_at_15": _ratio(fifteen, stays)}
        names = ("r_at_5", "r_at_8", "r_at_15", "r_precision")
        found |= {name: _ratio(of, coded) for name, of in zip(names, others, strict=True)}
    if SETS in tallies and edge is not None:
        same, shared = (float(value) for value in tallies[SETS].sums[:, edge])
        found |= {"exact_match": _ratio(same, stays), "jaccard": _ratio(shared, stays)}
    return found


def _of_outputs(tally: Tally, edge: int | None, own: per_output.Edge | None) -> Found:
    counts = _counts(tally)
    found: Found = {}
    for name, of in (("auroc", curves.auroc), ("auprc", curves.auprc)):
        found[f"{name}_macro"] = _mean(of(counts))
    found["auroc_macro_bound"] = _mean(curves.auroc_bound(counts))
    found["auprc_macro_bound"] = _mean(curves.auprc_bound(counts))
    if edge is not None:
        scores = per_output.f1_scores(tally, edge)
        found |= {name: scores[name] for name in ("macro_f1", "macro_f1_all")}
        if counts.shape[1] == 1:
            found |= _of_one(tally, edge)
    if own is not None:
        scores = per_output.f1_scores(tally, own)
        found |= {f"{name}_own": value for name, value in scores.items()}
    return found


def _of_one(tally: Tally, edge: int) -> Found:
    """Right and wrong stays of one output, yes or no."""
    tp, fp, positives = (int(of[0]) for of in per_output.at_edges(tally, edge))
    negatives = int(_counts(tally)[0].sum())
    matrix = np.array([[negatives - fp, fp], [positives - tp, tp]])
    return {name: value for name, value in _of_classes(matrix).items() if "f1" not in name}


def _of_classes(matrix: Counts) -> Found:
    """From stays by true and predicted class."""
    right, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    recall = np.divide(right, true, out=np.full(len(true), np.nan), where=true > 0)
    either = true + said
    f1 = np.divide(2 * right, either, out=np.full(len(true), np.nan), where=either > 0)
    return {
        "accuracy": _ratio(float(right.sum()), float(true.sum())),
        "balanced_accuracy": _mean(recall),
        "macro_f1_classes": _mean(f1),
    }


def _known(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(values: NDArray[np.float64]) -> float | None:
    """Over those that are defined."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


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
        edge = edge_of(threshold)
        tp, fp = at_least(sums[1])[edge], at_least(sums[0])[edge]
        found["micro_f1"] = _share(2 * tp, tp + fp + sums[1].sum())
    return Metrics.model_validate(found)


def _rough_threshold(sums: NDArray[np.float64]) -> float | None:
    """As `best_threshold`, among the edges above which noised sites count false pairs."""
    first = edge_of(noised.LOWEST)
    tp, fp = at_least(sums[1])[first:], at_least(sums[0])[first:]
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
        sums = sums + folded(tallies[exact].sums.astype(np.float64))
    return sums


def _share(part: float, whole: float) -> float | None:
    """A ratio of noisy numbers, kept where it makes sense."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _counts(tally: Tally) -> Counts:
    return tally.sums.astype(np.int64)
