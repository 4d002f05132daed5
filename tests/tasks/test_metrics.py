"""Metrics from tallies, against scikit-learn on the pooled predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, f1_score

from privacy.release import Tally
from tasks import tallies
from tasks.curves import auprc_bound
from tasks.metrics import Metrics, best_threshold, metrics
from tasks.tallies import EDGES, FINE, LABELS, RANKS, SCORES, TUNE, TUNE_LABELS

THRESHOLDS = [float(edge) for edge in EDGES]
near = st.sampled_from(
    [float(edge) for edge in EDGES]
    + [float(np.nextafter(np.float32(edge), np.float32(-99))) for edge in EDGES]
    + [-20.0, 20.0]
)


@st.composite
def scored(draw: st.DrawFn, least: int = 0) -> tuple[Any, Any]:
    shape = (draw(st.integers(least, 8)), draw(st.integers(1, 6)))
    elements = near | st.floats(-18, 18, width=32)
    logits = draw(arrays.arrays(np.float32, shape, elements=elements))
    return logits, draw(arrays.arrays(np.bool_, shape))


def tuned(logits: Any, truth: Any) -> dict[str, Tally]:
    return dict(tallies.by_name(tallies.tune_tallies(logits, truth, patients=len(logits))))


def heldout(logits: Any, truth: Any) -> dict[str, Tally]:
    return dict(tallies.by_name(tallies.heldout_tallies(logits, truth, patients=len(logits))))


def random_scores(seed: int, stays: int, outputs: int, spread: float) -> tuple[Any, Any]:
    """Continuous scores whose truth follows them, as a calibrated head's would."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, spread, (stays, outputs)).astype(np.float32)
    return logits, generator.random((stays, outputs)) < 1 / (1 + np.exp(-logits))


@given(scored(least=1), st.sampled_from(THRESHOLDS))
@settings(deadline=None)
def test_f1_at_an_edge_is_that_of_the_pooled_predictions(found: Any, threshold: float):
    logits, truth = found
    said = logits >= threshold
    given_ = metrics(heldout(logits, truth), threshold=threshold)
    if truth.any() or said.any():
        assert given_.micro_f1 == f1_score(truth.ravel(), said.ravel())
    else:
        assert given_.micro_f1 is None
    each = [f1_score(y, p, zero_division=0) for y, p in zip(truth.T, said.T, strict=True)]
    present = [f1 for f1, y in zip(each, truth.T, strict=True) if y.any()]
    if present:
        assert given_.macro_f1 == pytest.approx(np.mean(present), rel=0, abs=1e-15)
        assert given_.macro_f1_all == pytest.approx(np.mean(each), rel=0, abs=1e-15)
    else:
        assert given_.macro_f1 is None
        assert given_.macro_f1_all is None


def test_f1_of_pooled_sites_is_scikit_learns_on_their_predictions_together():
    found = [random_scores(seed, 40, 12, 2.0) for seed in range(3)]
    logits = np.concatenate([z for z, _ in found])
    truth = np.concatenate([y for _, y in found])
    tune = tallies.added([list(tuned(*site).values()) for site in found])
    held = tallies.added([list(heldout(*site).values()) for site in found])
    threshold = best_threshold(tune)
    assert threshold is not None
    assert min(EDGES) < threshold < max(EDGES)
    given_ = metrics(held, threshold=threshold)
    said = logits >= threshold
    assert given_.micro_f1 == f1_score(truth, said, average="micro")
    assert given_.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-15)
    assert given_.patients == 120


def test_the_mean_of_the_sites_macro_f1_is_not_the_pooled_one():
    # Site A has codes 0 and 1, site B code 0 only, and both confuse them differently.
    a = np.array([[1, -1], [1, 1]], np.float32), np.array([[1, 0], [0, 1]], np.bool_)
    b = np.array([[-1, 1], [1, -1]], np.float32), np.array([[1, 0], [1, 0]], np.bool_)
    alone = [metrics(heldout(*site), threshold=0.0).macro_f1 for site in (a, b)]
    pooled = metrics(
        tallies.added([list(heldout(*site).values()) for site in (a, b)]), threshold=0.0
    ).macro_f1
    assert alone == [pytest.approx(5 / 6), pytest.approx(2 / 3)]
    assert pooled == pytest.approx(2 / 3)
    assert np.mean([5 / 6, 2 / 3]) != pytest.approx(pooled, abs=0.05)


def test_macro_f1_over_all_outputs_counts_those_never_true_as_zero():
    logits = np.array([[1, 1, -1, -1]], np.float32)
    truth = np.array([[1, 0, 0, 0]], np.bool_)
    given_ = metrics(heldout(logits, truth), threshold=0.0)
    assert given_.macro_f1 == 1.0
    assert given_.macro_f1_all == 0.25


@given(scored(least=1))
@settings(deadline=None, max_examples=25)
def test_the_threshold_is_the_lowest_edge_of_the_best_micro_f1(found: Any):
    logits, truth = found
    threshold = best_threshold(tuned(logits, truth))
    if not truth.any():
        assert threshold is None
        return
    by_edge = [f1_score(truth.ravel(), (logits >= edge).ravel()) for edge in THRESHOLDS]
    assert threshold == THRESHOLDS[int(np.argmax(by_edge))]


def test_the_threshold_comes_from_tune_alone():
    tune, held = random_scores(0, 50, 4, 2.0), random_scores(1, 50, 4, 2.0)
    assert best_threshold(tuned(*tune) | heldout(*held)) == best_threshold(tuned(*tune))
    assert best_threshold(heldout(*held)) is None


@given(scored())
@settings(deadline=None)
def test_auprc_is_scikit_learns_on_the_scores_as_binned(found: Any):
    logits, truth = found
    given_ = metrics(heldout(logits, truth), threshold=None).auprc
    if not truth.any():
        assert given_ is None
        return
    binned = np.searchsorted(FINE, logits.astype(np.float64), side="right")
    expected = average_precision_score(truth.ravel(), binned.ravel())
    assert given_ == pytest.approx(expected, rel=0, abs=1e-12)


@given(scored(least=1), st.sampled_from([1.0, 0.01, 0.001]))
@settings(deadline=None)
def test_auprc_is_within_its_bound_of_that_of_the_scores_themselves(found: Any, spread: float):
    logits, truth = found[0] * np.float32(spread), found[1]
    if not truth.any():
        return
    held = heldout(logits, truth)
    given_ = metrics(held, threshold=None).auprc
    raw = average_precision_score(truth.ravel(), logits.ravel().astype(np.float64))
    assert abs(given_ - raw) <= auprc_bound(held[SCORES].sums) + 1e-12


def test_the_bound_counts_a_bin_of_true_pairs_alone_below_a_false_one():
    # Ten true pairs share a bin below one false pair: as binned all ten have precision 10/11,
    # by themselves 1/2, 2/3, ... 10/11.
    logits = np.array([[2.0] + [1 + i / 2000 for i in range(10)]], np.float32)
    truth = np.array([[False] + [True] * 10])
    held = heldout(logits, truth)
    raw = average_precision_score(truth.ravel(), logits.ravel())
    given_ = metrics(held, threshold=None).auprc
    assert given_ == pytest.approx(10 / 11)
    assert abs(given_ - raw) > 0.1
    assert abs(given_ - raw) <= auprc_bound(held[SCORES].sums)


@pytest.mark.parametrize("spread", [3.0, 4.0, 6.0])
@pytest.mark.parametrize(("stays", "outputs"), [(20_000, 1), (400, 50), (5000, 20)])
def test_the_bound_is_small_on_many_continuous_scores(spread: float, stays: int, outputs: int):
    logits, truth = random_scores(7, stays, outputs, spread)
    held = heldout(logits, truth)
    bound = auprc_bound(held[SCORES].sums)
    raw = average_precision_score(truth.ravel(), logits.ravel().astype(np.float64))
    assert 0 < abs(metrics(held, threshold=None).auprc - raw) <= bound < 0.001


def test_the_bound_of_no_true_pair_is_unknown():
    sums = tallies.tune_tallies(np.ones((1, 1), np.float32), np.zeros((1, 1), bool), patients=1)
    assert np.isnan(auprc_bound(sums[0].sums))


def test_map_is_over_coded_stays_and_precision_at_eight_over_all():
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(30, 15)).astype(np.float32)
    truth = generator.random((30, 15)) < 0.1
    assert 0 < truth.any(1).sum() < 30
    given_ = metrics(heldout(logits, truth), threshold=None)
    average = [average_precision_score(y, z) for z, y in zip(logits, truth, strict=True) if y.any()]
    assert given_.map == pytest.approx(np.mean(average), abs=1e-12)
    at_eight = [y[np.argsort(-z)][:8].sum() / 8 for z, y in zip(logits, truth, strict=True)]
    assert given_.p_at_8 == pytest.approx(np.mean(at_eight), abs=1e-12)


def test_a_perfect_head_scores_one_everywhere():
    truth = np.repeat(np.eye(2, dtype=bool), 8, axis=1)
    logits = np.where(truth, 30.0, -30.0).astype(np.float32)
    threshold = best_threshold(tuned(logits, truth))
    assert threshold == -8.0
    given_ = metrics(heldout(logits, truth), threshold=threshold)
    ones = (
        *("micro_f1", "macro_f1", "macro_f1_all", "map", "p_at_5", "p_at_8", "r_at_8", "r_at_15"),
        *("r_precision", "auroc", "auroc_macro", "auprc", "auprc_macro", "exact_match", "jaccard"),
    )
    assert {name: getattr(given_, name) for name in ones} == dict.fromkeys(ones, 1.0)
    assert (given_.p_at_15, given_.r_at_5) == (8 / 15, 5 / 8)
    assert (given_.auroc_bound, given_.auprc_bound) == (0, 0)
    assert (given_.brier, given_.ece) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-6))
    assert given_.patients == 2


def test_no_stays_say_nothing():
    logits, truth = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.bool_)
    assert best_threshold(tuned(logits, truth)) is None
    assert metrics(heldout(logits, truth), threshold=0.0) == Metrics(threshold=0.0)


def test_without_a_true_output_only_the_counts_of_what_was_said_are_known():
    logits, truth = np.ones((2, 3), np.float32), np.zeros((2, 3), np.bool_)
    assert best_threshold(tuned(logits, truth)) is None
    given_ = metrics(heldout(logits, truth), threshold=0.0)
    known = {name for name, value in given_.model_dump().items() if value is not None}
    said = {"micro_f1", "p_at_5", "p_at_8", "p_at_15", "exact_match", "jaccard", "brier", "ece"}
    assert known == said | {"threshold", "patients"}
    assert given_.micro_f1 == given_.p_at_8 == given_.exact_match == given_.jaccard == 0


@pytest.mark.parametrize("threshold", [0.1, 8.25, -8.25, 9.0, float("inf"), float("nan")])
def test_a_threshold_that_is_no_edge_is_refused(threshold: float):
    held = heldout(*random_scores(0, 5, 2, 1.0))
    with pytest.raises(ValueError, match="is not one of the edges"):
        metrics(held, threshold=threshold)


NEEDS = {
    "micro_f1": SCORES,
    "macro_f1": LABELS,
    "macro_f1_all": LABELS,
    "map": RANKS,
    "p_at_8": RANKS,
    "auprc": SCORES,
}


@pytest.mark.parametrize("withheld", [SCORES, LABELS, RANKS])
def test_a_metric_is_none_exactly_where_its_tally_was_withheld(withheld: str):
    held = heldout(*random_scores(0, 30, 4, 2.0))
    whole = metrics(held, threshold=0.0)
    part = metrics({k: v for k, v in held.items() if k != withheld}, threshold=0.0)
    for name, needs in NEEDS.items():
        assert getattr(whole, name) is not None
        assert getattr(part, name) == (None if needs == withheld else getattr(whole, name))


def test_without_a_threshold_there_is_no_f1_and_all_else():
    held = heldout(*random_scores(0, 30, 4, 2.0))
    with_, without = metrics(held, threshold=0.0), metrics(held, threshold=None)
    assert (without.micro_f1, without.macro_f1, without.macro_f1_all) == (None, None, None)
    assert without.threshold is None
    assert (without.map, without.p_at_8, without.auprc) == (with_.map, with_.p_at_8, with_.auprc)


def test_no_tallies_give_no_metrics():
    assert best_threshold({}) is None
    assert metrics({}, threshold=None) == Metrics()


def test_a_metric_outside_zero_to_one_cannot_be_made():
    ranks = Tally(RANKS, np.array([3.0, 2.0, 0.0, 1.0]), 1)
    with pytest.raises(ValueError, match="map"):
        metrics({RANKS: ranks}, threshold=None)


def test_tune_and_heldout_scores_are_kept_apart():
    tune = tuned(np.full((1, 1), 5, np.float32), np.ones((1, 1), bool))
    assert metrics(tune, threshold=0.0) == Metrics(threshold=0.0)
    assert set(tune) == {TUNE, TUNE_LABELS}
