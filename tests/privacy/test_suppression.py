"""Small counts stay home, and no subtraction brings one back."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.release import Tally
from privacy.suppression import hidden_labels, suppress

NAME = "heldout/labels"


def labels_tally(carriers: list[int], *, patients: int = 1000, name: str = NAME) -> Tally:
    """(2, L, 3): whoever carries a label stands in row 1, everybody else in row 0."""
    sums = np.zeros((2, len(carriers), 3), np.int64)
    sums[1, :, 2] = carriers
    sums[0, :, 0] = [patients - carried for carried in carriers]
    return Tally(name, sums, patients)


def other(name: str, *, patients: int = 1000) -> Tally:
    return Tally(name, np.arange(6, dtype=np.int64).reshape(2, 3), patients)


def suppressed(carriers: list[int], k: int, *more: Tally) -> dict[str, Tally]:
    tallies = suppress(
        [labels_tally(carriers), *more], smallest=k, carriers={NAME: np.array(carriers, np.int64)}
    )
    assert len({tally.name for tally in tallies}) == len(tallies)
    return {tally.name: tally for tally in tallies}


# Which labels

TABLE = [
    # carriers, k, hidden
    ([], 5, []),
    ([0, 0], 5, []),
    ([5, 6], 5, []),
    ([5, 0, 9], 5, []),
    ([4, 9, 7], 5, [0, 2]),  # 4 alone could be subtracted; the next smallest goes with it
    ([4, 1, 9], 5, [0, 1]),  # together 5: enough
    ([3, 1, 9, 6], 5, [0, 1, 3]),
    ([1, 9], 5, [0, 1]),
    ([1], 5, [0]),
    ([1, 2], 5, [0, 1]),
    ([1, 0, 8], 5, [0, 2]),  # a label without carriers is neither hidden nor a cover
    ([4, 4, 4], 5, [0, 1, 2]),
    ([1, 6, 6], 5, [0, 1]),  # the first of equals
    ([1, 2, 3], 0, []),
    ([1, 2, 3], 1, []),
    ([1, 2, 3], 2, [0, 1]),
]


@pytest.mark.parametrize(("carriers", "k", "expected"), TABLE)
def test_hidden_labels(carriers, k, expected):
    hidden = hidden_labels(np.array(carriers, np.int64), smallest=k)
    assert hidden.dtype == bool
    assert np.flatnonzero(hidden).tolist() == expected


COUNTS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 500)), max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(COUNTS, st.integers(0, 12))
def test_no_small_label_survives_and_no_subtraction_gives_one(counts, k):
    carriers = np.array(counts, np.int64)
    micro = other("heldout/scores")
    left = suppressed(counts, k, micro)
    if NAME not in left:
        # All labels together were too few, and then the total stays home with them.
        assert 0 < carriers[carriers < k].sum() <= carriers.sum() < k
        assert left == {}
        return
    assert micro.name in left
    shown = left[NAME].sums[1].sum(1)
    blank = (left[NAME].sums == 0).all((0, 2))
    assert not ((shown > 0) & (shown < k)).any()
    assert (shown[~blank] == carriers[~blank]).all()
    # What a total less the shown rows gives away is the hidden ones together.
    assert not 0 < carriers.sum() - shown.sum() < k


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(COUNTS, st.integers(0, 12))
def test_no_more_is_hidden_than_must_be(counts, k):
    carriers = np.array(counts, np.int64)
    hidden = hidden_labels(carriers, smallest=k)
    small = (carriers > 0) & (carriers < k)
    assert (hidden | ~small).all()
    extra = np.flatnonzero(hidden & ~small)
    assert len(extra) <= 1
    if len(extra):
        assert carriers[small].sum() < k
        assert carriers[extra[0]] == carriers[carriers >= max(k, 1)].min()


def test_every_way_of_three_small_counts():
    for a, b, c in {tuple(x) for x in combinations(list(range(8)) * 2, 3)}:
        for k in range(9):
            left = suppressed([a, b, c], k)
            if NAME in left:
                shown = left[NAME].sums[1].sum(1)
                assert all(row == 0 or row >= k for row in shown)
                assert not 0 < a + b + c - shown.sum() < k


# What leaves


@pytest.mark.parametrize("k", [0, 1])
def test_k_of_zero_or_one_hides_nothing(k):
    left = suppressed([0, 1, 2, 900], k, other("heldout/scores"), other("tune/scores"))
    assert (left[NAME].sums == labels_tally([0, 1, 2, 900]).sums).all()
    assert list(left) == [NAME, "heldout/scores", "tune/scores"]


def test_a_hidden_label_is_blank_in_every_row_and_bin_and_others_are_untouched():
    left = suppressed([3, 50, 60, 4], 5)
    assert (left[NAME].sums[:, [0, 3]] == 0).all()
    assert (left[NAME].sums[:, [1, 2]] == labels_tally([3, 50, 60, 4]).sums[:, [1, 2]]).all()
    assert left[NAME].patients == 1000
    assert left[NAME].sums.dtype == np.int64


def test_the_tallies_given_are_not_written_to():
    tally = labels_tally([3, 50, 60])
    carriers = np.array([3, 50, 60])
    suppress([tally], smallest=5, carriers={NAME: carriers})
    assert (tally.sums == labels_tally([3, 50, 60]).sums).all()
    assert carriers.tolist() == [3, 50, 60]


def test_where_all_labels_together_are_too_few_their_group_stays_home_and_others_leave():
    left = suppressed([1, 2, 0], 5, other("heldout/scores"), other("tune/scores"))
    assert list(left) == ["tune/scores"]


def test_no_positives_at_all_may_be_said():
    left = suppressed([0, 0], 5, other("heldout/scores"))
    assert set(left) == {NAME, "heldout/scores"}


@pytest.mark.parametrize(("patients", "leaves"), [(0, False), (9, False), (10, True), (11, True)])
def test_a_tally_of_a_small_cohort_stays_home(patients, leaves):
    tallies = [other("tune/scores", patients=patients), other("heldout/scores", patients=50)]
    names = [tally.name for tally in suppress(tallies, smallest=10, carriers={})]
    assert names == (["tune/scores"] if leaves else []) + ["heldout/scores"]


def test_the_order_of_tallies_is_kept():
    tallies = [other(name) for name in ("b/x", "a/x", "c/x")]
    kept = suppress(tallies, smallest=2, carriers={})
    assert [tally.name for tally in kept] == ["b/x", "a/x", "c/x"]


def test_two_per_label_tallies_are_looked_at_one_by_one():
    few, many = labels_tally([1, 2], name="tune/labels"), labels_tally([1, 80, 90])
    kept = suppress(
        [few, many, other("tune/scores"), other("heldout/scores")],
        smallest=5,
        carriers={"tune/labels": np.array([1, 2]), NAME: np.array([1, 80, 90])},
    )
    assert [tally.name for tally in kept] == [NAME, "heldout/scores"]
    assert kept[0].sums[1].sum(1).tolist() == [0, 0, 90]


def test_carriers_are_people_not_positives():
    # One patient with six coded stays is one carrier, though the row counts six.
    sums = np.zeros((2, 3, 1), np.int64)
    sums[1, :, 0] = [6, 40, 40]
    carriers = np.array([1, 20, 20])
    (kept,) = suppress([Tally(NAME, sums, 50)], smallest=5, carriers={NAME: carriers})
    assert kept.sums[1].sum(1).tolist() == [0, 0, 40]
