"""Bootstrap: how far metrics would move with other patients of the same sort.

Patients are drawn with replacement, each with all stays, because stays of one patient are alike
(Efron and Tibshirani 1993, chapter 8). A resample is a weight for each patient, so no score is
computed twice. The threshold stays as it was chosen. For an interval the draws are moved by one
number, so that their mean is the metric itself: fewer outputs occur in a resample than in the
whole, the rarest are the first to miss, and macro-F1 over those that occur would be too high in all
of them (the bootstrap's own estimate of bias, as above, chapter 10). Draws that are compared are
not moved: two heads alike in a resample stay so. Needs every stay's scores in one process: for
simulations, and a site's own screen; never for what leaves a real site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tasks import curves
from tasks.binning import FINE, FINEST, Scores, Truth, coarser, finest_bins
from tasks.stays import stay_sums

TIMES = 1000
AT_A_TIME = 50
PAIRS_AT_A_TIME = 2**21
MOST_OUTPUTS = 16
"""Outputs up to which the means of their curves are resampled too: each takes as long as all
pairs together."""

Interval = tuple[float, float]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Held-out stays with their scores.

    Attributes:
        logits: (N, L).
        truth: (N, L).
        owners: Whose each stay is, (N,), from 0 to P - 1; every patient has a stay.
        threshold: An edge of `EDGES`; without one there is no F1.
        exclusive: Whether exactly one output is true of each stay.
        groups: A number for each output, (L,): F1 of the outputs of each number by themselves is
            resampled too, and named as `grouped` says.
    """

    logits: Scores
    truth: Truth
    owners: NDArray[np.int64]
    threshold: float | None
    exclusive: bool = False
    groups: NDArray[np.int64] | None = None

    @property
    def patients(self) -> int:
        """P."""
        return int(self.owners[-1]) + 1 if len(self.owners) else 0

    @cached_property
    def ranks(self) -> Values:
        """`tasks.stays.stay_sums`, (N, 10)."""
        return stay_sums(self.logits, self.truth)

    @cached_property
    def sets(self) -> Values:
        """Of each stay whether the predicted set is right, and its Jaccard, (N, 2)."""
        said = self.logits >= (self.threshold or 0.0)
        either = (said | self.truth).sum(1)
        shared = (said & self.truth).sum(1) / np.maximum(either, 1)
        return np.stack([(said == self.truth).all(1).astype(np.float64), shared], axis=1)

    @cached_property
    def predictions(self) -> tuple[Any, Any, Any]:
        """Right predictions, predictions and true outputs, sparse (N, L) each."""
        said = self.logits >= (self.threshold or 0.0)
        return tuple(
            sparse.csr_array(part.astype(np.float64))
            for part in (said & self.truth, said, self.truth)
        )

    @cached_property
    def by_score(self) -> tuple[Any, Any]:
        """False and true pairs by patient and bin of `FINE`, sparse (P, F) each, without the bins
        that nobody is in: curves are the same, and of few patients found in a hundredth of the
        time.
        """
        return self._by_score(slice(None))

    def of_output(self, output: int) -> tuple[Any, Any]:
        """`by_score` of one output alone."""
        return self._by_score(slice(output, output + 1))

    def _by_score(self, columns: slice) -> tuple[Any, Any]:
        logits, truth = self.logits[:, columns], self.truth[:, columns]
        shape, fine = (self.patients, len(FINE) + 1), coarser(FINE, FINEST)
        found = [sparse.csr_array(shape), sparse.csr_array(shape)]
        step = max(1, PAIRS_AT_A_TIME // max(logits.shape[1], 1))
        for start in range(0, len(logits), step):
            part = slice(start, start + step)
            bins = fine[finest_bins(logits[part])]
            owners = np.broadcast_to(self.owners[part, None], bins.shape)
            for row in (0, 1):
                here = truth[part] == bool(row)
                ones = np.ones(int(here.sum()))
                found[row] += sparse.coo_array((ones, (owners[here], bins[here])), shape).tocsr()
        used = np.unique(np.concatenate([part.indices for part in found]))
        return found[0][:, used], found[1][:, used]


@dataclass(frozen=True, slots=True)
class Draws:
    """Metrics by name in each resample, and of the whole.

    Attributes:
        values: (times,) each; NaN where one is not defined.
        whole: Of everybody as they are.
    """

    values: dict[str, Values]
    whole: dict[str, float]

    def intervals(self) -> dict[str, Interval]:
        """95% intervals of metrics that are defined in any resample, each around its metric."""
        found = {
            name: between(_around(self.whole[name], values)) for name, values in self.values.items()
        }
        return {name: interval for name, interval in found.items() if interval is not None}


def intervals(
    of: Scored, *, seed: int, times: int = TIMES, each_output: bool = True
) -> dict[str, Interval]:
    """95% intervals of metrics by name; arguments as in `draws`. None without patients."""
    return draws(of, seed=seed, times=times, each_output=each_output).intervals()


def draws(of: Scored, *, seed: int, times: int = TIMES, each_output: bool = True) -> Draws:
    """Metrics in resamples; nothing without patients.

    Who is drawn follows from seed, times and number of patients alone. So two heads that score the
    same patients are scored on the same resamples, and may be compared draw by draw.

    Args:
        of: The stays.
        seed: The same seed draws the same patients.
        times: Resamples.
        each_output: Whether the means of the outputs' curves are resampled too.
    """
    if not of.patients:
        return Draws({}, {})
    numbers, drawn = np.random.default_rng(seed), []
    for start in range(0, times, AT_A_TIME):
        size = min(AT_A_TIME, times - start)
        weights = numbers.multinomial(of.patients, np.full(of.patients, 1 / of.patients), size)
        drawn.append(resampled(of, weights.astype(np.float64), each_output=each_output))
    whole = resampled(of, np.ones((1, of.patients)), each_output=each_output)
    return Draws(
        {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]},
        {name: float(value[0]) for name, value in whole.items()},
    )


def _around(score: float, values: Values) -> Values:
    """Values whose mean is the score, as far as metrics go: from 0 to 1."""
    known = values[np.isfinite(values)]
    if not (len(known) and np.isfinite(score)):
        return values
    moved: Values = np.clip(values + (score - known.mean()), 0, 1)
    return moved


def between(values: Values) -> Interval | None:
    """From the 2.5th to the 97.5th percentile of the values that are defined; None of none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, (2.5, 97.5)).tolist()
    return low, high


def resampled(of: Scored, weights: Values, *, each_output: bool = True) -> dict[str, Values]:
    """Metrics, named as in `tasks.metrics.Metrics`, of some resamples.

    Args:
        of: The stays.
        weights: How often each patient was drawn, (B, P).
        each_output: See `draws`.

    Returns:
        (B,) each; NaN where it is not defined.
    """
    stays = weights[:, of.owners]
    found = dict(_rankings(stays @ of.ranks))
    if of.threshold is not None:
        found |= _sets(stays, of)
        right, said, true = (np.asarray((part.T @ stays.T).T) for part in of.predictions)
        found |= _f1(right, said, true)
        for group in () if of.groups is None else np.unique(of.groups).tolist():
            own = of.groups == group
            scores = _f1(right[:, own], said[:, own], true[:, own])
            found |= {grouped(name, group): value for name, value in scores.items()}
    pairs = _pairs(of.by_score, weights)
    found |= {"auroc": curves.auroc(pairs), "auprc": curves.auprc(pairs)}
    if each_output and of.logits.shape[1] <= MOST_OUTPUTS:
        found |= _curves(of, weights)
    if of.exclusive:
        found |= _classes(stays, of)
    return found


def grouped(name: str, group: int) -> str:
    """What the F1 of a group of outputs is called."""
    return f"{name}@{group}"


def _rankings(sums: Values) -> Iterator[tuple[str, Values]]:
    coded, stays = sums[:, 1], sums[:, 3]
    for name, column in (("map", 0), ("r_at_5", 6), ("r_at_8", 7), ("r_at_15", 8)):
        yield name, _ratio(sums[:, column], coded)
    yield "r_precision", _ratio(sums[:, 9], coded)
    for name, column in (("p_at_5", 4), ("p_at_8", 2), ("p_at_15", 5)):
        yield name, _ratio(sums[:, column], stays)


def _sets(stays: Values, of: Scored) -> dict[str, Values]:
    same, shared = (stays @ of.sets).T
    total = stays.sum(1)
    return {"exact_match": _ratio(same, total), "jaccard": _ratio(shared, total)}


def _f1(right: Values, said: Values, true: Values) -> dict[str, Values]:
    """From weighted counts, (B, L) each."""
    each = np.nan_to_num(_ratio(2 * right, said + true))
    present = true > 0
    return {
        "micro_f1": _ratio(2 * right.sum(1), said.sum(1) + true.sum(1)),
        "macro_f1": _ratio((each * present).sum(1), present.sum(1)),
        "macro_f1_all": np.where(present.any(1), each.mean(1), np.nan),
    }


def _pairs(by_score: tuple[Any, Any], weights: Values) -> Values:
    """False and true pairs of each resample by bin, (2, B, F)."""
    return np.stack([np.asarray((part.T @ weights.T).T) for part in by_score])


def _curves(of: Scored, weights: Values) -> dict[str, Values]:
    found: dict[str, list[Values]] = {"auroc_macro": [], "auprc_macro": []}
    for output in range(of.logits.shape[1]):
        pairs = _pairs(of.of_output(output), weights)
        found["auroc_macro"].append(curves.auroc(pairs))
        found["auprc_macro"].append(curves.auprc(pairs))
    return {name: _mean(np.stack(values, axis=1)) for name, values in found.items()}


def _classes(stays: Values, of: Scored) -> dict[str, Values]:
    true = of.truth.astype(np.float64)
    right = of.truth[np.arange(len(of.truth)), of.logits.argmax(1)]
    occurs = stays @ true
    recall = _ratio(stays @ (true * right[:, None]), occurs)
    return {
        "accuracy": _ratio(stays @ right.astype(np.float64), stays.sum(1)),
        "balanced_accuracy": _mean(recall),
    }


def _mean(values: Values) -> Values:
    """Over the last axis, of what is defined."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))


def _ratio(part: Values, whole: Values) -> Values:
    made: Values = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return made
