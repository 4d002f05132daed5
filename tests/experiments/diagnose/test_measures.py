"""Measures of vectors: what must hold of each, on rows made here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from experiments.diagnose import measures

RANDOM = np.random.default_rng(3)
ROWS = RANDOM.normal(size=(60, 12)) * np.linspace(3, 0.5, 12) + 2


def test_cka_of_a_turned_moved_and_scaled_copy_is_1():
    turned = 7 * ROWS @ ortho_group.rvs(12, random_state=1) - 5
    assert measures.cka(ROWS, turned) == pytest.approx(1, abs=1e-9)
    assert measures.cka(ROWS, ROWS) == pytest.approx(1, abs=1e-9)


def test_cka_of_independent_rows_is_0_on_average_however_wide_they_are():
    """The plain estimate would be near 1 here: 30 rows of width 200."""
    draw = np.random.default_rng(5)
    found = [
        measures.cka(draw.normal(size=(30, 200)), draw.normal(size=(30, 200))) for _ in range(40)
    ]
    assert abs(np.mean(found)) < 0.02
    assert np.max(np.abs(found)) < 0.25


def test_cka_is_that_of_the_paper_where_rows_are_many():
    one = RANDOM.normal(size=(1500, 5))
    other = np.hstack([one[:, :3], RANDOM.normal(size=(1500, 4))])
    a, b = one - one.mean(0), other - other.mean(0)
    plain = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert measures.cka(one, other) == pytest.approx(plain, abs=0.01)
    assert 0.3 < plain < 0.7


def test_cka_of_rows_that_are_alike_is_0_and_other_things_are_refused():
    assert measures.cka(np.ones((9, 3)), ROWS[:9]) == 0
    for one, other in ((ROWS, ROWS[:-1]), (ROWS[:3], ROWS[:3])):
        with pytest.raises(ValueError, match="the same things"):
            measures.cka(one, other)


def test_shares_are_those_of_the_eigenvalues_of_the_covariance():
    values = np.sort(np.linalg.eigvalsh(np.cov(ROWS, rowvar=False)))[::-1]
    np.testing.assert_allclose(measures.spectrum(ROWS), values / values.sum(), atol=1e-9)
    assert len(measures.spectrum(np.ones((9, 3)))) == 0


@pytest.mark.parametrize(
    ("shares", "rank"),
    [([0.25] * 4, 4), ([1.0, 0, 0], 1), ([0.5, 0.5, 0], 2), ([], 0)],
)
def test_the_effective_rank_counts_directions(shares, rank):
    assert measures.effective_rank(np.array(shares)) == pytest.approx(rank)


def test_the_mean_cosine_is_that_of_all_pairs():
    unit = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    gram = unit @ unit.T
    expected = gram[~np.eye(len(gram), dtype=bool)].mean()
    assert measures.mean_cosine(ROWS) == pytest.approx(expected)
    assert measures.mean_cosine(np.eye(5)) == pytest.approx(0)


def test_a_far_row_is_found_and_does_not_hide_a_second():
    rows = np.random.default_rng(0).normal(size=(300, 20))
    assert not measures.far_out(rows).any()
    rows[17] += 1000
    rows[40, 3] += 60
    assert list(np.flatnonzero(measures.far_out(rows))) == [17, 40]
    assert not measures.far_out(np.ones((30, 4))).any()


def test_a_shift_is_in_spreads_and_sampling_alone_is_none():
    draw = np.random.default_rng(2)
    one, other = draw.normal(size=(4000, 9)), draw.normal(size=(4000, 9))
    assert measures.shift(one, other) < 0.05
    # The spread of nine directions of variance 1 is 3.
    assert measures.shift(one, other + np.array([6] + [0] * 8)) == pytest.approx(2, abs=0.05)
    assert measures.shift(np.ones((5, 2)), np.zeros((5, 2))) == np.inf
    assert measures.shift(np.ones((5, 2)), np.ones((5, 2))) == 0


def test_covariances_of_the_same_directions_are_alike_and_of_others_not():
    draw = np.random.default_rng(2)
    wide = np.array([5, 5, 0, 0])
    one = draw.normal(size=(500, 4)) * wide
    assert measures.covariance_cosine(one, 3 * draw.normal(size=(500, 4)) * wide + 9) > 0.95
    assert measures.covariance_cosine(one, draw.normal(size=(500, 4)) * wide[::-1]) == 0
    assert measures.covariance_cosine(one, np.ones((5, 4))) == 0


def test_the_means_of_outputs():
    rows = np.array([[1.0, 0], [3, 0], [0, 5]])
    found = measures.class_means(rows, [(0,), (0, 1), (1,)], outputs=3)
    np.testing.assert_allclose(found[:2], [[2, 0], [1.5, 2.5]])
    assert np.isnan(found[2]).all()
