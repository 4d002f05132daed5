"""The field's metrics from tallies, against scikit-learn on the pooled predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from privacy.release import Tally
from tasks import calibration, curves, tallies
from tasks.binning import EDGES, FINE, folded, output_edges
from tasks.icd_coding import IcdCoding
from tasks.metrics import best_threshold, level_metrics, metrics
from tasks.per_output import FEWEST, at_edges, buckets, own_edges, table
from tasks.rollup import rollups
from tasks.tallies import CONFUSION, LABELS, SCORES

NEAR = 1e-12


def scored(seed: int, stays: int, outputs: int, spread: float = 3.0) -> tuple[Any, Any]:
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(-1, spread, (stays, outputs)).astype(np.float32)
    return logits, numbers.random((stays, outputs)) < 1 / (1 + np.exp(-logits))


def classes(seed: int, stays: int, outputs: int) -> tuple[Any, Any]:
    numbers = np.random.default_rng(seed)
    true = numbers.integers(0, outputs, stays)
    truth = np.eye(outputs, dtype=bool)[true]
    return (truth + numbers.normal(0, 1, truth.shape)).astype(np.float32), truth


def held(*sites: tuple[Any, Any], **options: Any) -> dict[str, Tally]:
    return tallies.added(
        [tallies.heldout_tallies(z, y, patients=len(z), **options) for z, y in sites]
    )


def pooled(*sites: tuple[Any, Any]) -> tuple[Any, Any]:
    return np.concatenate([z for z, _ in sites]), np.concatenate([y for _, y in sites])


SITES = [scored(seed, 60, 20) for seed in range(3)]


@pytest.mark.parametrize("edge", [0, 20, 32, 40, 64])
def test_sets_at_every_edge_are_scikit_learns(edge):
    logits, truth = pooled(*SITES)
    threshold = float(EDGES[edge])
    said = metrics(held(*SITES), threshold=threshold)
    predicted = logits >= threshold
    assert said.exact_match == pytest.approx(accuracy_score(truth, predicted), abs=NEAR)
    expected = jaccard_score(truth, predicted, average="samples", zero_division=0)
    assert said.jaccard == pytest.approx(expected, abs=NEAR)


def test_precision_and_recall_of_the_first_are_counted_by_hand():
    logits, truth = pooled(*SITES)
    said = metrics(held(*SITES), threshold=None)
    order = np.argsort(-logits, axis=1, kind="stable")
    hits = np.take_along_axis(truth, order, axis=1)
    coded = truth.any(1)
    for k in (5, 8, 15):
        assert getattr(said, f"p_at_{k}") == pytest.approx(hits[:, :k].mean(), abs=NEAR)
        recall = hits[coded, :k].sum(1) / truth[coded].sum(1)
        assert getattr(said, f"r_at_{k}") == pytest.approx(recall.mean(), abs=NEAR)
    precise = [h[: h.sum()].mean() for h in hits[coded]]
    assert said.r_precision == pytest.approx(np.mean(precise), abs=NEAR)


@pytest.mark.parametrize("outputs", [1, 12, 40, 300])
def test_curves_of_all_and_of_each_are_within_their_bounds_of_scikit_learns(outputs):
    sites = [scored(seed, 100, outputs) for seed in (4, 5)]
    logits, truth = pooled(*sites)
    said = metrics(held(*sites), threshold=None)
    for name, score in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
        raw = score(truth.ravel(), logits.ravel())
        assert abs(getattr(said, name) - raw) <= getattr(said, f"{name}_bound") + NEAR
        both = truth.any(0) & ~truth.all(0)
        raws = [score(y, z) for y, z in zip(truth.T[both], logits.T[both], strict=True)]
        assert abs(getattr(said, f"{name}_macro") - np.mean(raws)) <= (
            getattr(said, f"{name}_macro_bound") + NEAR
        )
        # As binned, exactly.
        edges = output_edges(outputs)
        bins = np.searchsorted(edges, logits.astype(np.float64), side="right")
        binned = [score(y, b) for y, b in zip(truth.T[both], bins.T[both], strict=True)]
        assert getattr(said, f"{name}_macro") == pytest.approx(np.mean(binned), abs=NEAR)


@pytest.mark.parametrize("outputs", [1, 10, 31])
def test_the_bound_of_each_outputs_auroc_is_below_a_thousandth_where_outputs_are_few(outputs):
    found = held(scored(0, 2000, outputs))[LABELS].sums
    assert curves.auroc_bound(found).max() < 0.001


def test_curves_are_unknown_without_both_sorts_of_pairs():
    counts = np.zeros((2, 3, 66), np.int64)
    counts[1, 0, 5] = counts[0, 1, 5] = 2
    assert np.isnan(curves.auroc(counts)).all()
    assert np.isnan(curves.auprc(counts)).tolist() == [False, True, True]


def test_calibration_is_that_of_the_raw_scores_within_what_is_stated():
    logits, truth = pooled(*SITES)
    chances = calibration.chance(logits.astype(np.float64).ravel())
    counts = held(*SITES)[SCORES].sums
    brier = brier_score_loss(truth.ravel(), chances)
    assert calibration.brier(counts) == pytest.approx(brier, abs=0.002)
    tenth = np.searchsorted(calibration.borders(), logits.ravel(), side="right")
    apart = 0.0
    for n, row in enumerate(calibration.reliability(counts)):
        inside = tenth == n
        assert row.pairs == inside.sum()
        assert row.true == pytest.approx(truth.ravel()[inside].mean(), abs=NEAR)
        assert row.said == pytest.approx(chances[inside].mean(), abs=0.001)
        apart += inside.mean() * abs(truth.ravel()[inside].mean() - chances[inside].mean())
    assert calibration.ece(counts) == pytest.approx(apart, abs=0.001)
    assert calibration.ece(np.zeros_like(counts)) is None


def test_classes_are_scikit_learns_on_all_sites_together():
    sites = [classes(seed, 50, 4) for seed in range(3)]
    logits, truth = pooled(*sites)
    found = held(*sites, exclusive=True)
    true, said = truth.argmax(1), logits.argmax(1)
    np.testing.assert_array_equal(found[CONFUSION].sums, confusion_matrix(true, said))
    given = metrics(found, threshold=0.0)
    assert given.accuracy == accuracy_score(true, said)
    assert given.balanced_accuracy == pytest.approx(balanced_accuracy_score(true, said))
    assert given.macro_f1_classes == pytest.approx(f1_score(true, said, average="macro"))


def test_one_output_has_an_accuracy_at_the_threshold():
    logits, truth = scored(0, 200, 1)
    given = metrics(held((logits, truth)), threshold=0.5)
    said = logits[:, 0] >= 0.5
    assert given.accuracy == accuracy_score(truth[:, 0], said)
    assert given.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth[:, 0], said))
    assert metrics(held((logits, truth)), threshold=None).accuracy is None


def test_the_table_of_outputs_is_scikit_learns():
    logits, truth = pooled(*SITES)
    rows = table(held(*SITES), [f"o{n}" for n in range(20)], edges=30)
    said = logits >= EDGES[30]
    for n, row in enumerate(rows):
        y, p = truth[:, n], said[:, n]
        assert (row.output, row.support, row.threshold) == (f"o{n}", y.sum(), EDGES[30])
        assert row.precision == pytest.approx(precision_score(y, p, zero_division=0))
        assert row.recall == pytest.approx(recall_score(y, p))
        assert row.f1 == pytest.approx(f1_score(y, p))
        assert abs(row.auroc - roc_auc_score(y, logits[:, n])) <= row.auroc_bound + NEAR
        assert abs(row.auprc - average_precision_score(y, logits[:, n])) <= row.auprc_bound + NEAR


def test_an_output_true_often_enough_on_tune_has_its_own_best_edge_and_others_that_of_all():
    logits, truth = scored(0, 300, 5)
    truth[FEWEST - 1 :, 0] = False
    truth[: FEWEST - 1, 0] = True
    truth[:, 1] = False
    tune = tallies.by_name(tallies.tune_tallies(logits, truth, patients=300))
    common = best_threshold(tune)
    own = own_edges(tune, otherwise=common)
    assert EDGES[own[:2]].tolist() == [common, common]
    for n in (2, 3, 4):
        by_edge = [f1_score(truth[:, n], logits[:, n] >= edge) for edge in EDGES]
        assert own[n] == int(np.argmax(by_edge))
    given = metrics(held((logits, truth)), threshold=common, own=own)
    said = logits >= EDGES[own]
    assert given.micro_f1_own == pytest.approx(f1_score(truth, said, average="micro"))
    assert given.macro_f1_all_own == pytest.approx(
        f1_score(truth, said, average="macro", zero_division=0)
    )
    assert own_edges({}, otherwise=0.0) is None


def test_buckets_are_by_training_stays_with_their_borders():
    seen = np.array([0, 1, 10, 11, 50, 51, 100, 101, 500, 501, 9999, 0])
    logits, truth = scored(2, 80, 12)
    truth[:, 11] = False
    found = buckets(held((logits, truth))[LABELS], seen, edges=32)
    assert [row.seen for row in found] == [
        (0, 0),
        (1, 10),
        (11, 50),
        (51, 100),
        (101, 500),
        (501, None),
    ]
    assert [row.outputs for row in found] == [2] * 6
    assert [row.present for row in found] == [1, 2, 2, 2, 2, 2]
    each = [f1_score(truth[:, n], logits[:, n] >= 0) for n in (1, 2)]
    assert found[1].macro_f1 == pytest.approx(np.mean(each))


CODES = ("E11.65", "E11.69", "E11.9", "I10", "I50.1")
CODING = IcdCoding(level="full", codes=CODES)


def test_a_coarser_level_is_true_where_a_code_is_and_scores_what_the_highest_scores():
    sites = [scored(seed, 50, 5) for seed in (1, 2)]
    of = rollups(CODING.rollups)
    levels = [(one, np.ones(len(one.groups), np.bool_)) for one in of]
    found = level_metrics(held(*sites, levels=levels), threshold=0.25)
    logits, truth = pooled(*sites)
    for level, columns in (
        ("category", ((0, 1, 2), (3,), (4,))),
        ("subcategory", ((0, 1), (2,), (3,), (4,))),
    ):
        y = np.stack([truth[:, c].any(1) for c in columns], axis=1)
        z = np.stack([logits[:, c].max(1) for c in columns], axis=1)
        alone = metrics(held((z, y)), threshold=0.25)
        assert found[level].model_dump() == pytest.approx(alone.model_dump(), abs=1e-12)
        assert alone.micro_f1 == pytest.approx(f1_score(y, z >= 0.25, average="micro"))


def test_a_group_that_is_not_counted_and_outputs_that_are_hidden_are_in_no_sum_of_a_level():
    logits, truth = scored(3, 50, 5)
    (_, of) = rollups(CODING.rollups)
    shown = np.array([True, False, True, False, True])
    found = held((logits, truth), shown=shown, levels=[(of, np.array([True, True, False]))])
    counts = found["heldout/category/labels"].sums
    assert counts.sum((0, 2)).tolist() == [50, 0, 0]
    assert counts[1, 0].sum() == truth[:, [0, 2]].any(1).sum()
    assert found["heldout/category/scores"].sums.sum() == 50


def test_folding_keeps_every_pair_where_it_lies():
    logits, truth = scored(4, 30, 3)
    found = held((logits, truth))
    coarse = np.searchsorted(EDGES, logits.astype(np.float64), side="right")
    expected = np.bincount(coarse[truth], minlength=66)
    np.testing.assert_array_equal(folded(found[SCORES].sums)[1], expected)
    np.testing.assert_array_equal(folded(found[LABELS].sums).sum(1)[1], expected)
    assert found[SCORES].sums.shape[-1] == len(FINE) + 1
    true, false, positives = at_edges(found[LABELS], 32)
    assert true.tolist() == ((logits >= 0) & truth).sum(0).tolist()
    assert false.tolist() == ((logits >= 0) & ~truth).sum(0).tolist()
    assert positives.tolist() == truth.sum(0).tolist()
