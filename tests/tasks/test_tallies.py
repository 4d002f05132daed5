"""Tallies: they add up over sites, and count every pair where it belongs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score

from tasks import tallies
from tasks.binning import FINEST, output_edges
from tasks.tallies import (
    AT,
    EDGES,
    FINE,
    LABELS,
    RANKS,
    SCORES,
    SETS,
    TOPS,
    TUNE,
    TUNE_LABELS,
)

L = 11
INFINITE = np.float32(np.inf)

# Scores at the edges, a hair beside them, beyond them all, and in between.
numbers = st.one_of(
    st.sampled_from([float(edge) for edge in EDGES]),
    st.sampled_from([float(np.nextafter(np.float32(edge), -INFINITE)) for edge in EDGES]),
    st.sampled_from([-1e30, -16.0, -17.0, -0.0, 0.0, 16.0, 17.0, 1e30]),
    st.floats(-20, 20, width=32),
)


@st.composite
def sites(draw: st.DrawFn, outputs: int = L) -> tuple[Any, Any]:
    """(logits, truth) over some stays, maybe none."""
    shape = (draw(st.integers(0, 5)), outputs)
    logits = draw(arrays.arrays(np.float32, shape, elements=numbers))
    return logits, draw(arrays.arrays(np.bool_, shape))


def everything(logits: Any, truth: Any, patients: int = 1) -> list[Any]:
    return [
        *tallies.tune_tallies(logits, truth, patients=patients),
        *tallies.heldout_tallies(logits, truth, patients=patients),
    ]


@given(st.lists(st.tuples(sites(), st.integers(0, 9)), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_tallies_of_sites_add_up_to_those_of_all_stays_together(found: Any):
    added = tallies.added([everything(*site, patients) for site, patients in found])
    pooled = tallies.by_name(
        everything(
            np.concatenate([logits for (logits, _), _ in found]),
            np.concatenate([truth for (_, truth), _ in found]),
            sum(patients for _, patients in found),
        )
    )
    names = {TUNE, TUNE_LABELS, SCORES, LABELS, RANKS, TOPS, SETS}
    assert added.keys() == pooled.keys() == names
    for name, tally in pooled.items():
        assert added[name].patients == tally.patients
        assert added[name].sums.dtype == tally.sums.dtype
        if tally.sums.dtype == np.float64:
            np.testing.assert_allclose(added[name].sums, tally.sums, rtol=1e-12)
        else:
            np.testing.assert_array_equal(added[name].sums, tally.sums)


def test_a_site_without_a_tally_adds_nothing_to_it():
    logits, truth = np.zeros((2, L), np.float32), np.ones((2, L), np.bool_)
    full, part = everything(logits, truth, 3), tallies.tune_tallies(logits, truth, patients=4)
    added = tallies.added([full, part])
    assert added[TUNE].patients == 7
    assert added[TUNE].sums.sum() == 4 * L
    assert added[SCORES].patients == 3
    assert added[SCORES].sums.sum() == 2 * L


def test_no_sites_give_no_tallies():
    assert tallies.added([]) == {}
    assert tallies.added([[], []]) == {}


@pytest.mark.parametrize("stays", [0, 1, 3])
def test_tallies_have_the_names_shapes_and_types_of_the_contract(stays: int):
    logits, truth = np.zeros((stays, L), np.float32), np.zeros((stays, L), np.bool_)
    found = {tally.name: tally.sums for tally in everything(logits, truth)}
    assert {name: (sums.shape, str(sums.dtype)) for name, sums in found.items()} == (
        tallies.shapes(L)
    )
    assert tallies.shapes(L) == {
        "tune/scores": ((2, 4098), "int64"),
        "tune/labels": ((2, L, 66), "int64"),
        "heldout/scores": ((2, 4098), "int64"),
        "heldout/labels": ((2, L, 8194), "int64"),
        "heldout/ranks": ((4,), "float64"),
        "heldout/tops": ((6,), "float64"),
        "heldout/sets": ((2, 65), "float64"),
    }


def test_every_coarse_edge_is_a_fine_one_exactly():
    assert np.isin(EDGES, FINE).all()
    assert np.isin(FINE, FINEST).all()
    for outputs in (1, 8, 16, 32, 64, 128, 256, 512, 1024, 20_000):
        assert np.isin(EDGES, output_edges(outputs)).all()
        assert np.isin(output_edges(outputs), FINEST).all()
    assert np.array_equal(EDGES, np.arange(-32, 33) / 4)
    assert np.array_equal(FINE, np.arange(-2048, 2049) / 128)


@given(sites())
@settings(deadline=None)
def test_a_bin_holds_the_scores_from_its_edge_up_to_below_the_next(site: Any):
    logits, truth = site
    found = {tally.name: tally.sums for tally in everything(logits, truth)}
    for edges, row in ((FINE, found[SCORES]), (FINE, found[TUNE])):
        borders = [-np.inf, *edges, np.inf]
        for bin_ in np.flatnonzero(row.sum(0)):
            inside = (logits >= borders[bin_]) & (logits < borders[bin_ + 1])
            assert row[1, bin_] == (inside & truth).sum()
            assert row[0, bin_] == (inside & ~truth).sum()
        assert row.sum() == logits.size
    for edges, counts in ((EDGES, found[TUNE_LABELS]), (output_edges(L), found[LABELS])):
        borders = [-np.inf, *edges, np.inf]
        assert counts.sum() == logits.size
        for k, bin_ in zip(*np.nonzero(counts.sum(0)), strict=True):
            inside = (logits[:, k] >= borders[bin_]) & (logits[:, k] < borders[bin_ + 1])
            assert counts[1, k, bin_] == (inside & truth[:, k]).sum()
            assert counts[0, k, bin_] == (inside & ~truth[:, k]).sum()


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(0, 6))
@settings(deadline=None)
def test_ranks_are_sums_of_average_precision_and_of_precision_at_eight(
    seed: int, outputs: int, stays: int
):
    generator = np.random.default_rng(seed)
    logits = np.stack(
        [generator.permutation(outputs) for _ in range(stays)]
        or [np.zeros(outputs)]  # no ties within a stay
    ).astype(np.float32)[:stays]
    truth = generator.random((stays, outputs)) < 0.3
    average, coded, first, count = tallies.by_name(everything(logits, truth))[RANKS].sums
    with_truth = [(z, y) for z, y in zip(logits, truth, strict=True) if y.any()]
    assert coded == len(with_truth)
    assert count == stays
    assert average == pytest.approx(
        sum(average_precision_score(y, z) for z, y in with_truth), abs=1e-12
    )
    brute = 0.0
    for z, y in zip(logits, truth, strict=True):
        best = sorted(range(outputs), key=lambda k: -z[k])[:8]
        brute += sum(bool(y[k]) for k in best) / 8
    assert first == pytest.approx(brute, abs=1e-12)


def test_ties_in_a_ranking_are_broken_by_the_order_of_the_outputs():
    logits = np.zeros((2, 1000), np.float32)  # a sort that is not stable shuffles many
    logits[:, ::2] = -1
    truth = np.zeros((2, 1000), np.bool_)
    truth[0, 1] = truth[1, 4] = True
    average, coded, first, stays = tallies.by_name(everything(logits, truth))[RANKS].sums
    assert average == pytest.approx(1 + 1 / 503)
    assert (coded, first, stays) == (2, 1 / AT, 2)
