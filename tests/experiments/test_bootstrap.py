"""Bootstrap over patients: the metrics it resamples, and the intervals it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.bootstrap import Scored, draws, grouped, intervals, resampled
from tasks import tallies
from tasks.metrics import metrics


def scored(seed: int = 0, patients: int = 40, outputs: int = 6, **options: Any) -> Scored:
    numbers = np.random.default_rng(seed)
    owners = np.sort(np.concatenate([np.arange(patients), numbers.integers(0, patients, 30)]))
    logits = numbers.normal(-1, 2, (len(owners), outputs)).astype(np.float32)
    truth = numbers.random(logits.shape) < 1 / (1 + np.exp(-logits))
    if options.get("exclusive"):
        truth = np.eye(outputs, dtype=bool)[numbers.integers(0, outputs, len(owners))]
    return Scored(logits, truth, owners, **{"threshold": 0.25, **options})


def of_tallies(of: Scored, rows: Any) -> Any:
    found = tallies.heldout_tallies(
        of.logits[rows], of.truth[rows], patients=1, exclusive=of.exclusive
    )
    return metrics(tallies.by_name(found), threshold=of.threshold)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("drawn", ["everybody", "some twice"])
def test_a_resample_has_the_metrics_of_its_stays(exclusive, drawn):
    of = scored(exclusive=exclusive)
    weights = np.ones((1, 40))
    if drawn == "some twice":
        weights[0, :10], weights[0, 10:20] = 2, 0
    rows = np.repeat(np.arange(len(of.owners)), weights[0].astype(int)[of.owners])
    expected = of_tallies(of, rows)
    found = resampled(of, weights)
    assert len(found) == (19 if exclusive else 17)
    for name, value in found.items():
        near = 0.002 if name.endswith("_macro") else 1e-12  # binned more finely there
        assert value[0] == pytest.approx(getattr(expected, name), abs=near), name


def test_the_same_seed_gives_the_same_intervals_and_they_hold_the_metric():
    of = scored()
    first = intervals(of, seed=3, times=300)
    assert first == intervals(of, seed=3, times=300)
    assert first != intervals(of, seed=4, times=300)
    whole = of_tallies(of, slice(None))
    for name in ("micro_f1", "map", "auroc", "auprc", "p_at_8"):
        low, high = first[name]
        assert low < getattr(whole, name) < high


def test_the_interval_of_macro_f1_lies_around_it_where_outputs_are_rare():
    """Rare outputs are missing from most resamples, and these alone would score higher."""
    numbers = np.random.default_rng(0)
    truth = numbers.random((60, 300)) < np.geomspace(0.3, 0.01, 300)
    logits = np.where(truth, 1.0, -1.0) + numbers.normal(0, 1.2, truth.shape)
    logits[:, 150:] = -5  # rare outputs are never said
    of = Scored(logits.astype(np.float32), truth, np.arange(60), threshold=0.5)
    score = of_tallies(of, slice(None)).macro_f1
    low, high = intervals(of, seed=0)["macro_f1"]
    assert low < score < high
    assert (low + high) / 2 == pytest.approx(score, abs=0.1 * (high - low))


def test_two_heads_that_are_alike_in_a_resample_differ_by_nothing_there():
    """Else a difference in one patient would be told from none by a resampling error."""
    one = scored(patients=40, outputs=20)
    other = one.logits.copy()
    other[0, 0] = -other[0, 0]
    two = Scored(other, one.truth, one.owners, threshold=one.threshold)
    pair = [draws(of, seed=1, times=200).values["micro_f1"] for of in (one, two)]
    differ = pair[0] != pair[1]
    assert differ.any()
    assert 0.3 < (pair[0] == pair[1]).mean() < 0.45  # the chance to be drawn by nobody: 1/e


def test_an_interval_stays_within_what_a_metric_can_be():
    truth = np.zeros((30, 4), bool)
    truth[:, 0], truth[0, 1:] = True, True  # three outputs of one patient
    logits = np.where(truth, 1.0, -1.0).astype(np.float32)
    of = Scored(logits, truth, np.arange(30), threshold=0.0)
    assert intervals(of, seed=0)["macro_f1"] == (1.0, 1.0)
    low, high = intervals(Scored(-logits, truth, of.owners, threshold=0.0), seed=0)["macro_f1"]
    assert 0 <= low <= high <= 1


def test_an_interval_of_a_mean_has_the_width_of_its_standard_error():
    numbers = np.random.default_rng(0)
    truth = numbers.random((2000, 1)) < 0.3
    of = Scored(np.ones((2000, 1), np.float32), truth, np.arange(2000), threshold=0.0)
    low, high = intervals(of, seed=0)["p_at_5"]
    deviation = (truth / 5).std() / np.sqrt(2000)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_stays_of_one_patient_are_drawn_together():
    """Ten copies of each stay at the same patient say no more than one."""
    one = scored(patients=40)
    rows = np.repeat(np.arange(len(one.owners)), 10)
    ten = Scored(one.logits[rows], one.truth[rows], one.owners[rows], threshold=0.25)
    alone = intervals(one, seed=1, times=200)
    for name, between in intervals(ten, seed=1, times=200).items():
        assert between == pytest.approx(alone[name], abs=1e-12), name


def test_nobody_has_no_intervals():
    nobody = Scored(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), bool), np.zeros(0, np.int64), threshold=0.0
    )
    assert intervals(nobody, seed=0) == {}


def test_the_f1_of_a_group_is_that_of_its_outputs_alone():
    groups = np.array([2, 0, 2, 2, 0, 2])
    of, weights = scored(groups=groups), np.random.default_rng(1).multinomial(40, [1 / 40] * 40, 5)
    found = resampled(of, weights.astype(float))
    for group in (0, 2):
        own = groups == group
        alone = Scored(of.logits[:, own], of.truth[:, own], of.owners, threshold=of.threshold)
        expected = resampled(alone, weights.astype(float))
        for name in ("micro_f1", "macro_f1", "macro_f1_all"):
            np.testing.assert_allclose(found[grouped(name, group)], expected[name])
    assert grouped("macro_f1", 1) not in found
