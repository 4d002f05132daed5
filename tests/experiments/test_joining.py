"""What joining is worth to a site: heads made to be as good as another, better and worse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments import bootstrap
from experiments.baselines import Detail, Scored
from experiments.joining import FEWEST, Joining, difference_between, joining, verdict
from tasks import tallies
from tasks.metrics import metrics
from tasks.per_output import OutputMetrics

METRICS = ("micro_f1", "auroc_macro")
TRUTH = np.random.default_rng(0).random((60, 3)) < 0.4


def head(right: Any, *, tune: float | None = 0.5, patients: int = 60, metric: str) -> Scored:
    """A head that is right about each patient's outputs, or has them the wrong way round."""
    sides = np.where(np.asarray(right)[:patients, None], 1, -1) * np.where(TRUTH, 1, -1)[:patients]
    # A little apart, so that no two are equal.
    logits = (sides * 2 + np.linspace(0, 0.5, patients)[:, None]).astype(np.float32)
    of = bootstrap.Scored(logits, TRUTH[:patients], np.arange(patients), threshold=0.0)
    drawn = bootstrap.draws(of, seed=1, times=200).values.get(metric, np.zeros(0))
    found = tallies.heldout_tallies(logits, TRUTH[:patients], patients=patients)
    whole = metrics(tallies.by_name(found), threshold=0.0)
    return Scored(
        whole=whole, sites={"ash": whole}, detail=Detail(), intervals={}, site_intervals={},
        site_outputs={}, site_draws={"ash": tuple(drawn.tolist())}, site_tune={"ash": tune},
    )  # fmt: skip


def of(alone: Scored, joined: Scored, metric: str) -> Joining:
    return joining("ash", metric=metric, alone=alone, joined={"federated": joined})


@pytest.mark.parametrize("metric", METRICS)
def test_a_head_differs_from_itself_by_exactly_nothing(metric):
    some = head(np.arange(60) % 3 > 0, metric=metric)
    gain = of(some, some, metric).gain
    assert (gain.difference, gain.interval, gain.verdict) == (0, (0, 0), "not told apart")


@pytest.mark.parametrize("metric", METRICS)
def test_a_head_that_is_better_on_every_patient_leaves_the_site_better_off(metric):
    alone, joined = head(np.zeros(60), metric=metric), head(np.ones(60), metric=metric)
    there, back = of(alone, joined, metric).gain, of(joined, alone, metric).gain
    assert (there.verdict, back.verdict) == ("better off", "worse off")
    assert there.interval == tuple(-value for value in reversed(back.interval))
    assert there.difference == -back.difference > 0.9


@pytest.mark.parametrize("metric", METRICS)
def test_pairs_tell_apart_what_intervals_side_by_side_do_not(metric):
    """Wrong about a third of the patients, and about seven of them more."""
    alone = head(np.arange(60) % 3 > 0, metric=metric)
    joined = head((np.arange(60) % 3 > 0) & (np.arange(60) % 9 > 1), metric=metric)
    each = [bootstrap.between(np.array(one.site_draws["ash"])) for one in (joined, alone)]
    assert each[0][1] > each[1][0]
    gain = of(alone, joined, metric).gain
    assert gain.verdict == "worse off"
    assert gain.interval[0] < gain.difference < gain.interval[1] < 0


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_that_chance_makes_is_not_told_apart(metric):
    alone = head(np.arange(60) % 4 > 0, metric=metric)
    joined = head(np.arange(60) % 4 > 1, metric=metric)
    both = head(np.where(np.arange(60) < 30, np.arange(60) % 4 > 0, np.arange(60) % 4 < 3),
                metric=metric)  # fmt: skip
    assert of(alone, joined, metric).gain.verdict == "worse off"
    gain = of(alone, both, metric).gain
    assert gain.difference != 0
    assert gain.verdict == "not told apart"


def test_so_few_patients_that_any_difference_looks_certain_give_no_verdict():
    def gain(patients: int) -> Any:
        heads = (head(np.full(60, side), patients=patients, metric="micro_f1") for side in (0, 1))
        return of(*heads, "micro_f1").gain

    assert gain(FEWEST).verdict == "better off"
    assert gain(FEWEST - 1).verdict is None
    assert gain(FEWEST - 1).interval[0] > 0
    nobody = gain(0)
    assert (nobody.difference, nobody.interval, nobody.verdict) == (None, None, None)


@pytest.mark.parametrize(("true", "said"), [(FEWEST, "better off"), (FEWEST - 1, None)])
def test_so_few_that_have_an_outcome_give_no_verdict(true, said):
    """However many patients have none: of one who has it, every resample says the same."""
    alone, joined = (head(np.full(60, side), metric="auroc_macro") for side in (0, 1))
    rows = tuple(OutputMetrics(output=name, support=n) for name, n in (("a", 4), ("b", true - 4)))
    told = replace(alone, site_outputs={"ash": rows})
    assert of(told, joined, "auroc_macro").gain.verdict == said


def test_the_head_is_taken_that_the_tune_patients_prefer_not_the_held_out():
    worst, best = (head(np.full(60, side), metric="micro_f1") for side in (0, 1))
    federated, own = replace(worst, site_tune={"ash": 0.6}), replace(best, site_tune={"ash": 0.5})
    found = joining(
        "ash",
        metric="micro_f1",
        alone=best,
        joined={"federated": federated, "fine_tuned": own, "mean_regularised": own},
    )
    assert (found.taken, found.gain.verdict, found.own) == ("federated", "worse off", "fine_tuned")
    assert found.gains["fine_tuned"].verdict == "not told apart"
    assert found.tune == {"federated": 0.6, "fine_tuned": 0.5, "mean_regularised": 0.5}


@pytest.mark.parametrize(
    ("tune", "taken"),
    [
        ((0.5, 0.5, 0.5), "federated"),
        ((None, None, None), "federated"),
        ((0.5, 0.6, 0.7), "mean_regularised"),
        ((0.5, 0.6, 0.6), "fine_tuned"),
        ((0.0, None, None), "federated"),
    ],
)
def test_the_federations_head_is_taken_where_no_other_is_above_it(tune, taken):
    some = head(np.ones(60), metric="micro_f1")
    names = ("federated", "fine_tuned", "mean_regularised")
    joined = {
        name: replace(some, site_tune={"ash": value})
        for name, value in zip(names, tune, strict=True)
    }
    assert joining("ash", metric="micro_f1", alone=some, joined=joined).taken == taken


def test_draws_where_either_is_not_defined_are_left_out():
    assert difference_between((0.5, None, 0.75), (0.25, 0.5, None)) == (0.25, 0.25)
    assert difference_between((None,), (0.5,)) is None
    assert difference_between((), ()) is None


def test_heads_that_were_not_drawn_alike_are_no_pairs():
    with pytest.raises(ValueError, match="2 resamples of one head and 1 of another are no pairs"):
        difference_between((0.5, 0.5), (0.5,))


def test_an_interval_that_touches_nothing_holds_it():
    assert verdict((-0.1, 0.0)) == verdict((0.0, 0.1)) == "not told apart"
    assert verdict(None) is None
