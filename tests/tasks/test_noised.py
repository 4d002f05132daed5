"""Noised tallies: what they are without noise, what a patient can move, and what follows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from privacy.randomness import stream
from privacy.release import Tally
from tasks import noised, tallies
from tasks.metrics import Metrics, best_threshold, metrics
from tasks.noised import FALSE_CLIP, LOWEST, RANKS_CLIP, TRUE_CLIP
from tasks.tallies import EDGES, FINE

FUZZ = settings(deadline=None, derandomize=True, database=None)
BINS = len(EDGES) + 1
KNOWN = [float(edge) for edge in EDGES if edge >= LOWEST]

near = st.sampled_from(
    [float(edge) for edge in EDGES]
    + [float(np.nextafter(np.float32(edge), np.float32(-99))) for edge in EDGES]
    + [-20.0, 20.0]
)


@st.composite
def scored(draw: st.DrawFn, *, patients: int = 6, stays: int = 6) -> tuple[Any, Any, Any]:
    """Logits, truth and owners of some patients, of whom some may have no stay."""
    number = draw(st.integers(1, stays))
    shape = (number, draw(st.integers(1, 10)))
    logits = draw(arrays.arrays(np.float32, shape, elements=near | st.floats(-18, 18, width=32)))
    truth = draw(arrays.arrays(np.bool_, shape))
    owners = draw(arrays.arrays(np.int64, (number,), elements=st.integers(0, patients - 1)))
    return logits, truth, np.sort(owners)


def counted(
    logits: Any, truth: Any, owners: Any, *, patients: int, noise: float = 0.0, seed: str = "n"
) -> dict[str, Tally]:
    """All noised tallies, as if these patients were both the tune and the held-out ones."""
    said: dict[str, Any] = {"owners": owners, "patients": patients, "noise_multiplier": noise}
    numbers = stream(seed)
    return dict(
        tallies.by_name(
            noised.tune_tallies(logits, truth, **said, stream=numbers)
            + noised.heldout_tallies(logits, truth, **said, stream=numbers)
        )
    )


def exact(logits: Any, truth: Any) -> dict[str, Tally]:
    found = tallies.tune_tallies(logits, truth, patients=len(logits))
    return dict(
        tallies.by_name(found + tallies.heldout_tallies(logits, truth, patients=len(logits)))
    )


@pytest.fixture
def no_clip(monkeypatch):
    """Norms that nobody reaches."""
    for name in ("TRUE_CLIP", "FALSE_CLIP", "RANKS_CLIP"):
        monkeypatch.setattr(noised, name, 1e6)


def coarse(pairs: Any) -> Any:
    """Exact counts by the bins of FINE as counts by the bins of EDGES."""
    bins = np.concatenate([[0], np.searchsorted(EDGES, FINE, side="right")])
    return np.stack([np.bincount(bins, weights=row, minlength=BINS) for row in pairs])


# Without noise


def assert_exact(logits: Any, truth: Any, owners: Any, *, patients: int) -> None:
    rough, fine = counted(logits, truth, owners, patients=patients), exact(logits, truth)
    for ours, theirs in ((noised.TUNE, tallies.TUNE), (noised.SCORES, tallies.SCORES)):
        expected = coarse(fine[theirs].sums)
        expected[0, : int(np.searchsorted(EDGES, LOWEST, side="right"))] = 0
        np.testing.assert_allclose(rough[ours].sums, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        rough[noised.RANKS].sums, fine[tallies.RANKS].sums, rtol=0, atol=1e-8
    )
    assert {tally.patients for tally in rough.values()} == {0}


@given(scored())
@settings(FUZZ, max_examples=60)
@pytest.mark.usefixtures("no_clip")
def test_without_noise_and_clips_the_tallies_are_the_exact_ones_by_coarser_bins(found):
    assert_exact(*found, patients=6)


def test_patients_below_every_clip_are_counted_whole():
    """The clips as they are: two stays, few codes, no false pair above LOWEST."""
    logits = np.array([[3.0, -5.0, -6.0], [1.0, -9.0, 0.5]], np.float32)
    truth = np.array([[1, 0, 0], [1, 0, 1]], np.bool_)
    assert_exact(logits, truth, np.array([0, 1]), patients=2)
    assert_exact(logits, truth, np.array([1, 1]), patients=3)


def test_false_pairs_below_lowest_are_left_out_and_true_ones_are_not():
    low = np.float32(np.nextafter(np.float32(LOWEST), np.float32(-99)))
    logits = np.array([[low, LOWEST, low, LOWEST]], np.float32)
    truth = np.array([[0, 0, 1, 1]], np.bool_)
    false, true = counted(logits, truth, np.array([0]), patients=1)[noised.TUNE].sums
    assert false.sum() == pytest.approx(1)
    assert true.sum() == pytest.approx(2)
    assert false[int(np.searchsorted(EDGES, LOWEST, side="right"))] == pytest.approx(1)


def best_known_threshold(pairs: Any) -> float | None:
    """The lowest edge from LOWEST on with the highest micro-F1, written out."""
    if not pairs[1].sum():
        return None
    at = [int(np.searchsorted(FINE, edge)) + 1 for edge in KNOWN]
    f1 = [
        2 * pairs[1, e:].sum() / (pairs[1, e:].sum() + pairs[0, e:].sum() + pairs[1].sum())
        for e in at
    ]
    return KNOWN[int(np.argmax(np.round(f1, 9)))]


@given(scored(), st.sampled_from(KNOWN))
@settings(FUZZ, max_examples=60)
@pytest.mark.usefixtures("no_clip")
def test_without_noise_the_metrics_are_those_of_the_exact_tallies(found, threshold):
    logits, truth, owners = found
    if not truth.any():
        truth[0, 0] = True
    rough, fine = counted(logits, truth, owners, patients=6), exact(logits, truth)
    said, true = metrics(rough, threshold=threshold), metrics(fine, threshold=threshold)
    for name in ("micro_f1", "map", "p_at_8"):
        assert getattr(said, name) == pytest.approx(getattr(true, name), abs=1e-9), name
    assert said.threshold == threshold
    assert (said.macro_f1, said.macro_f1_all, said.auprc, said.patients) == (None, None, None, 0)


@pytest.mark.parametrize("bias", [-6.0, -3.0, 0.0])
@pytest.mark.usefixtures("no_clip")
def test_without_noise_the_threshold_is_the_best_of_those_that_are_known(bias):
    generator = np.random.default_rng(0)
    logits = generator.normal(bias, 2, (40, 8)).astype(np.float32)
    truth = generator.random((40, 8)) < 1 / (1 + np.exp(-logits))
    fine = exact(logits, truth)
    found = best_threshold(counted(logits, truth, np.arange(40) // 2, patients=20))
    assert found == best_known_threshold(fine[tallies.TUNE].sums)
    if best_threshold(fine) >= LOWEST:
        assert found == best_threshold(fine)


def test_nobody_there_gives_nothing_but_noise():
    nobody = np.zeros((0, 5), np.float32), np.zeros((0, 5), np.bool_), np.zeros(0, np.int64)
    quiet = counted(*nobody, patients=0)
    assert not any(tally.sums.any() for tally in quiet.values())
    assert best_threshold(quiet) is None
    assert metrics(quiet, threshold=0.0) == Metrics(threshold=0.0)
    loud = counted(*nobody, patients=0, noise=1.0)
    assert all((tally.sums != 0).all() for tally in loud.values())


# What one patient can move

PARTS = {
    noised.TUNE: ((noised.TUNE, 0, FALSE_CLIP), (noised.TUNE, 1, TRUE_CLIP)),
    noised.SCORES: (
        (noised.SCORES, 0, FALSE_CLIP),
        (noised.SCORES, 1, TRUE_CLIP),
        (noised.RANKS, None, RANKS_CLIP),
    ),
}


def scaled(found: dict[str, Tally], release: str) -> Any:
    """The vector that noise of one deviation is added to, from the tallies that came of it."""
    parts = PARTS[release]
    return np.concatenate(
        [
            (found[name].sums if row is None else found[name].sums[row])
            / (clip * math.sqrt(len(parts)))
            for name, row, clip in parts
        ]
    )


def assert_neighbours(logits: Any, truth: Any, owners: Any, gone: int, patients: int) -> float:
    """The largest move of either vector when a patient goes, with all stays."""
    stay = owners != gone
    rest = logits[stay], truth[stay], owners[stay] - (owners[stay] > gone)
    before = counted(logits, truth, owners, patients=patients)
    after = counted(*rest, patients=patients - 1)
    moved = [
        float(np.linalg.norm(scaled(before, release) - scaled(after, release))) for release in PARTS
    ]
    assert max(moved) <= 1 + 1e-9
    return max(moved)


@given(scored(patients=3, stays=12), st.integers(0, 2))
@settings(FUZZ, max_examples=150)
def test_a_patient_with_all_stays_moves_the_sums_by_at_most_their_norm(found, gone):
    assert_neighbours(*found, gone, 3)


@pytest.mark.parametrize("true", [False, True])
def test_a_patient_with_a_thousand_stays_and_codes_moves_them_by_no_more(true):
    logits = np.full((1000, 50), 3.0, np.float32)
    logits[:, ::2] = -1.0
    truth = np.full((1000, 50), true)
    truth[:, ::3] = not true
    owners = np.zeros(1000, np.int64)
    assert assert_neighbours(logits, truth, owners, 0, 1) == pytest.approx(1, abs=1e-6)


def test_scores_that_are_not_finite_move_them_by_no_more():
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
    logits = np.tile(odd, (40, 4))
    truth = np.arange(800).reshape(40, 20) % 3 == 0
    assert_neighbours(logits, truth, np.arange(40) // 20, 1, 2)


# The noise


@pytest.mark.parametrize("noise", [0.5, 20.0])
def test_noise_has_the_deviation_that_was_charged_in_every_number(noise):
    nobody = np.zeros((0, 5), np.float32), np.zeros((0, 5), np.bool_), np.zeros(0, np.int64)
    draws = [counted(*nobody, patients=0, noise=noise, seed=f"{number}") for number in range(100)]
    for release in PARTS:
        drawn = np.stack([scaled(draw, release) for draw in draws]) / noise
        many = drawn.size
        assert abs(drawn.mean()) < 4 / math.sqrt(many)
        assert abs(drawn.std() - 1) < 4 / math.sqrt(2 * many)
        # Of every part by itself, not only on average.
        ends = np.cumsum([66, 66, 4][: len(PARTS[release])])[:-1]
        for part in np.split(drawn, ends, axis=1):
            assert abs(part.std() - 1) < 5 / math.sqrt(2 * part.size)


def test_no_two_numbers_share_their_noise():
    nobody = np.zeros((0, 5), np.float32), np.zeros((0, 5), np.bool_), np.zeros(0, np.int64)
    found = counted(*nobody, patients=0, noise=1.0)
    drawn = np.concatenate([scaled(found, release) for release in PARTS])
    assert len(set(drawn.tolist())) == len(drawn)


# Sites together


def pooled(*sites: dict[str, Tally]) -> dict[str, Tally]:
    return tallies.added([list(site.values()) for site in sites])


def some_scores(seed: int, stays: int = 60) -> tuple[Any, Any, Any]:
    """Of patients with one stay each, few enough codes to stay below the clips."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 2, (stays, 5)).astype(np.float32)
    return logits, generator.random((stays, 5)) < 1 / (1 + np.exp(-logits)), np.arange(stays)


def test_exact_and_noised_sites_pool_into_the_metrics_of_all_their_patients():
    mine, theirs = some_scores(1), some_scores(2)
    mixed = pooled(exact(*mine[:2]), counted(*theirs, patients=60))
    everybody = exact(np.concatenate([mine[0], theirs[0]]), np.concatenate([mine[1], theirs[1]]))
    threshold = best_threshold(mixed)
    assert threshold == best_known_threshold(everybody[tallies.TUNE].sums)
    said, true = (metrics(found, threshold=threshold) for found in (mixed, everybody))
    for name in ("micro_f1", "map", "p_at_8"):
        assert getattr(said, name) == pytest.approx(getattr(true, name), abs=1e-9), name
    assert said.patients == 60  # those of the site that says how many it has
    assert (said.macro_f1, said.macro_f1_all, said.auprc) == (None, None, None)


def test_noise_of_many_sites_averages_out():
    """Sums stay unbiased, because no negative number is cut off."""
    sites = [
        counted(*some_scores(number), patients=60, noise=1.0, seed=f"{number}")
        for number in range(200)
    ]
    true = pooled(*[counted(*some_scores(number), patients=60) for number in range(200)])
    together = pooled(*sites)
    for release, parts in PARTS.items():
        moved = (scaled(together, release) - scaled(true, release)) / math.sqrt(200)
        assert abs(moved.std() - 1) < 0.3, parts
        assert abs(moved.mean()) < 4 / math.sqrt(len(moved))
    said, right = (metrics(found, threshold=-1.0) for found in (together, true))
    assert said.micro_f1 == pytest.approx(right.micro_f1, abs=0.05)
    assert said.p_at_8 == pytest.approx(right.p_at_8, abs=0.05)


def test_a_site_that_withholds_changes_nothing():
    one = counted(*some_scores(1), patients=60, noise=1.0)
    assert metrics(pooled(one, {}), threshold=0.0) == metrics(one, threshold=0.0)


def test_exact_sites_alone_are_told_as_ever():
    """Every metric, and thresholds below LOWEST, where no noised site takes part."""
    found = exact(*some_scores(1)[:2])
    said = metrics(found, threshold=-6.0)
    unknown = {name for name, value in said.model_dump().items() if value is None}
    classes = {"accuracy", "balanced_accuracy", "macro_f1_classes"}
    assert unknown == classes | {"micro_f1_own", "macro_f1_own", "macro_f1_all_own"}


# Wild numbers

wild = st.floats(-1e12, 1e12) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e12, -1e12])


@given(
    arrays.arrays(np.float64, (2, BINS), elements=wild),
    arrays.arrays(np.float64, (2, BINS), elements=wild),
    arrays.arrays(np.float64, (4,), elements=wild),
    st.sampled_from([None, *KNOWN]),
    st.booleans(),
)
@settings(FUZZ, max_examples=150)
def test_whatever_the_noise_a_metric_is_a_share_or_none(tune, scores, ranks, threshold, mixed):
    found = {
        noised.TUNE: Tally(noised.TUNE, tune, 0),
        noised.SCORES: Tally(noised.SCORES, scores, 0),
        noised.RANKS: Tally(noised.RANKS, ranks, 0),
    }
    if mixed:
        found = pooled(found, exact(*some_scores(3)[:2]))
    chosen = best_threshold(found)
    assert chosen is None or chosen in KNOWN
    for at in (threshold, chosen):
        said = metrics(found, threshold=at)
        for name in ("micro_f1", "map", "p_at_8"):
            value = getattr(said, name)
            assert value is None or 0 <= value <= 1, name
        assert (said.micro_f1 is None) or at is not None


def test_a_ratio_over_nothing_or_less_is_unknown():
    for ranks in ([1.0, 0.0, 1.0, 0.0], [1.0, -5.0, 1.0, -5.0]):
        found = {
            noised.SCORES: Tally(noised.SCORES, np.full((2, BINS), -1.0), 0),
            noised.RANKS: Tally(noised.RANKS, np.array(ranks), 0),
        }
        assert metrics(found, threshold=0.0) == Metrics(threshold=0.0)
    assert best_threshold({noised.TUNE: Tally(noised.TUNE, np.full((2, BINS), -1.0), 0)}) is None


def test_a_ratio_below_nothing_is_zero_and_above_one_is_one():
    found = {
        noised.SCORES: Tally(noised.SCORES, np.ones((2, BINS)), 0),
        noised.RANKS: Tally(noised.RANKS, np.array([-3.0, 2.0, 7.0, 2.0]), 0),
    }
    said = metrics(found, threshold=0.0)
    assert (said.map, said.p_at_8) == (0.0, 1.0)
