"""What a federation is measured against: each hospital alone, and all records in one place.

Both train the study's head without privacy, on the same split, with the same number of steps as
the federation unless the simulation gives them a recipe of their own, and keep the round that
did best on the tune patients. The federation gets no such choice: it would cost privacy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client import counting, unreleased
from client.local import Bags
from client.simulation import Recipe
from client.unreleased import build_head, trained, tune_f1
from experiments import bootstrap, each_output
from experiments.bootstrap import Interval
from experiments.columns import FEW, leading
from experiments.each_output import Outputs
from privacy.release import Tally
from privacy.spec import Spec
from tasks.calibration import Reliability, reliability
from tasks.heads.head import Head, Weights
from tasks.metrics import Metrics, best_threshold, level_metrics, metrics
from tasks.per_output import Bucket, OutputMetrics, bucket_of, buckets, edge_of, own_edges, table
from tasks.study import Study
from tasks.tallies import LABELS, SCORES, added, by_name, heldout_tallies

Intervals = dict[str, Interval]


class Detail(Spec):
    """A head's metrics in detail, over all sites' held-out patients.

    Attributes:
        levels: Metrics at each coarser level of the task.
        buckets: F1 by how many training stays, of all sites, an output has. A simulation may
            count them; of real sites they are private.
        calibration: Said against true chances.
        outputs: Each output by itself, at the threshold of all.
    """

    levels: dict[str, Metrics] = {}
    buckets: tuple[Bucket, ...] = ()
    calibration: tuple[Reliability, ...] = ()
    outputs: tuple[OutputMetrics, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """A head's metrics: over all sites, and at each on its own held-out patients.

    Attributes:
        whole: Over all sites.
        sites: At each.
        detail: Of `whole`.
        intervals: 95% intervals over patients, of `whole`.
        site_intervals: Those at each site.
        site_outputs: Each output at each site, where there are few (`experiments.each_output`).
        site_draws: The study's leading metric in each resample of each site's patients, None where
            it is not defined: what `experiments.joining` compares two heads by.
        site_tune: The leading metric on each site's tune patients; None where it has none.
    """

    whole: Metrics
    sites: Mapping[str, Metrics]
    detail: Detail
    intervals: Intervals
    site_intervals: Mapping[str, Intervals]
    site_outputs: Mapping[str, Outputs]
    site_draws: Mapping[str, tuple[float | None, ...]]
    site_tune: Mapping[str, float | None]


def without_privacy(study: Study, recipe: Recipe | None) -> Study:
    """The study as the baselines train it; nobody's updates are put together.

    Raises:
        ValueError: The recipe's head would read texts that nobody has embedded.
    """
    changed: dict[str, object] = {}
    if recipe is not None:
        changed = {
            "rounds": recipe.rounds,
            "steps": recipe.steps,
            "sample_rate": recipe.sample_rate,
            "optimizer": recipe.optimizer,
            "head": recipe.head or study.head,
        }
    without = unreleased.without_privacy(study).model_copy(update=changed)
    if without.head.reads_terms and not study.head.reads_terms:
        raise ValueError(
            "simulation.baseline.head reads terms of the outputs, which are embedded only where "
            'the study\'s own head reads them; give it terms = "none"'
        )
    return without


def federated(study: Study, sites: Mapping[str, Bags], weights: Weights) -> Scored:
    """What the federation's final head scores, with one threshold from everybody's tune
    patients.
    """
    return scored(study, sites, build_head(study, next(iter(sites.values())), weights))


def alone(study: Study, name: str, bags: Bags) -> Scored:
    """What a site reaches by itself, threshold from its own tune patients.

    Args:
        study: From `without_privacy`.
        name: Of the site; seeds the sampling.
        bags: The site's patients.
    """
    return scored(study, {name: bags}, trained(study, name, bags))


def mean(sites: Mapping[str, Metrics]) -> Metrics:
    """The sites' metrics averaged by held-out patients.

    What a patient of the federation meets where each site works alone. Not a pooled metric:
    each head has a threshold of its own.
    """
    patients = sum(found.patients for found in sites.values())
    values: dict[str, float | int | None] = {"patients": patients}
    for name in set(Metrics.model_fields) - {"patients", "threshold"}:
        known = [
            (getattr(found, name), found.patients)
            for found in sites.values()
            if getattr(found, name) is not None
        ]
        weight = sum(number for _, number in known)
        values[name] = sum(value * number for value, number in known) / weight if weight else None
    return Metrics.model_validate(values)


def pooled(study: Study, sites: Mapping[str, Bags]) -> Scored:
    """What one head reaches that is trained on everybody's records in one place."""
    return scored(study, sites, trained(study, "pooled", together(sites)))


def together(sites: Mapping[str, Bags]) -> Bags:
    """All sites' training and tune patients as one site's."""
    return Bags(
        train=[bag for bags in sites.values() for bag in bags.train],
        tune=[bag for bags in sites.values() for bag in bags.tune],
        heldout=[],
        questions=next(iter(sites.values())).questions,
    )


def scored(
    study: Study, sites: Mapping[str, Bags], head: Head, *, threshold: float | None = None
) -> Scored:
    """A head's metrics, at the best threshold for all sites' tune patients where none is given."""
    tallies: dict[str, Sequence[Tally]] = {
        name: counting.exact(study, head, bags.tune, bags.heldout) for name, bags in sites.items()
    }
    whole = added(list(tallies.values()))
    if threshold is None:
        threshold = best_threshold(whole)
    own = own_edges(whole, otherwise=threshold)
    edges = None if threshold is None else edge_of(threshold)
    seen = _seen(study, sites)
    drawn = _draws(study, head, sites, threshold, groups=bucket_of(seen))
    intervals = drawn.whole.intervals()
    few, metric = len(study.outputs) <= each_output.MOST, leading(len(study.outputs))[1]
    return Scored(
        whole=metrics(whole, threshold=threshold, own=own),
        sites={
            name: metrics(by_name(found), threshold=threshold, own=own)
            for name, found in tallies.items()
        },
        detail=_detail(study, seen, whole, threshold, intervals),
        intervals=_ungrouped(intervals),
        site_intervals={name: _ungrouped(found.intervals()) for name, found in drawn.sites.items()},
        site_outputs={
            name: table(by_name(found), study.outputs, edges=edges)
            for name, found in tallies.items()
            if few
        },
        site_draws={
            name: _defined(found.values[metric])
            for name, found in drawn.sites.items()
            if metric in found.values
        },
        site_tune={
            name: tune_score(study, head, bags, metric=metric, threshold=threshold)
            for name, bags in sites.items()
        },
    )


def tune_score(
    study: Study, head: Head, bags: Bags, *, metric: str, threshold: float | None
) -> float | None:
    """A head's metric on the tune patients; 0 of one that diverged, None where there is none.

    Args:
        study: Whose task it is.
        head: The head.
        bags: Whose tune patients.
        metric: `micro_f1`, or another field of `Metrics`.
        threshold: At which outputs are predicted.
    """
    if metric == "micro_f1":
        return tune_f1(study, head, bags, threshold=threshold)
    logits, truth = counting.scores(study, head, bags.tune)
    if not np.isfinite(logits).all():
        return 0.0
    found = by_name(heldout_tallies(logits, truth, patients=len(bags.tune)))
    value: float | None = getattr(metrics(found, threshold=threshold), metric)
    return value


def _seen(study: Study, sites: Mapping[str, Bags]) -> NDArray[np.int64]:
    """Training stays of all sites of which each output is true, (L,)."""
    seen = np.zeros(len(study.outputs), np.int64)
    for bags in sites.values():
        for bag in bags.train:
            np.add.at(seen, [number for target in bag.targets for number in target], 1)
    return seen


def _detail(
    study: Study,
    seen: NDArray[np.int64],
    whole: Mapping[str, Tally],
    threshold: float | None,
    intervals: Intervals,
) -> Detail:
    if SCORES not in whole:
        return Detail()
    edges = None if threshold is None else edge_of(threshold)
    found = () if edges is None else buckets(whole[LABELS], seen, edges=edges)
    return Detail(
        levels=level_metrics(whole, threshold=threshold),
        buckets=tuple(_with_intervals(of, n, intervals) for n, of in enumerate(found)),
        calibration=reliability(whole[SCORES].sums.astype(np.int64)),
        outputs=table(whole, study.outputs, edges=edges),
    )


def _with_intervals(bucket: Bucket, number: int, intervals: Intervals) -> Bucket:
    own = {
        name: intervals[bootstrap.grouped(name, number)]
        for name in ("micro_f1", "macro_f1", "macro_f1_all")
        if bootstrap.grouped(name, number) in intervals
    }
    return bucket.model_copy(update={"intervals": own})


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Metrics of all patients' resamples, and of each site's."""

    whole: bootstrap.Draws
    sites: dict[str, bootstrap.Draws]


def _draws(
    study: Study,
    head: Head,
    sites: Mapping[str, Bags],
    threshold: float | None,
    *,
    groups: NDArray[np.int64],
) -> _Drawn:
    found = {name: counting.scores(study, head, bags.heldout) for name, bags in sites.items()}

    def drawn(names: Sequence[str], *, each_output: bool, **options: Any) -> bootstrap.Draws:
        patients = [bag for name in names for bag in sites[name].heldout]
        of = bootstrap.Scored(
            logits=np.concatenate([found[name][0] for name in names]),
            truth=np.concatenate([found[name][1] for name in names]),
            owners=np.repeat(np.arange(len(patients)), [len(bag.vectors) for bag in patients]),
            threshold=threshold,
            exclusive=study.task.exclusive,
            **options,
        )
        return bootstrap.draws(of, seed=study.seed, each_output=each_output)

    whole = drawn(list(sites), each_output=True, groups=groups)
    if len(sites) == 1:  # the same patients would be drawn again
        return _Drawn(whole, dict.fromkeys(sites, whole))
    few = len(study.outputs) <= FEW
    return _Drawn(whole, {name: drawn([name], each_output=few) for name in sites})


def _ungrouped(intervals: Intervals) -> Intervals:
    return {name: between for name, between in intervals.items() if "@" not in name}


def _defined(values: bootstrap.Values) -> tuple[float | None, ...]:
    return tuple(value if np.isfinite(value) else None for value in values.tolist())
