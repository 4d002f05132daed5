"""Moments of patients: the law of their sensitivity, and that no row need be held."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy import moments
from privacy.gaussian_sums import clipped
from privacy.moments import Moments, Pairs

K, L = 3, 2

anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.floats(-2, 2, width=32),
    st.just(1.0),
)


@st.composite
def people(draw: st.DrawFn, *, least: int = 1) -> Pairs:
    """Up to four patients of up to three stays, with huge, tiny, equal and broken numbers."""
    patients, stays = draw(st.integers(least, 4)), draw(st.integers(1, 3))
    numbers = draw(
        st.lists(anything, min_size=patients * stays * (K + L), max_size=patients * stays * (K + L))
    )
    both = torch.tensor(numbers, dtype=torch.float32).reshape(patients, stays, K + L)
    real = torch.tensor(
        draw(st.lists(st.booleans(), min_size=patients * stays, max_size=patients * stays))
    )
    return Pairs(both[..., :K], both[..., K:], real.reshape(patients, stays))


def random(patients: int, stays: int, *, seed: int = 0, dim: int = K, outputs: int = L) -> Pairs:
    numbers = np.random.default_rng(seed)
    real = torch.from_numpy(numbers.random((patients, stays)) < 0.7)
    real[:, 0] = True
    return Pairs(
        torch.from_numpy(numbers.normal(size=(patients, stays, dim)).astype(np.float32)),
        torch.from_numpy((numbers.random((patients, stays, outputs)) < 0.4).astype(np.float32)),
        real,
    )


def some(pairs: Pairs, chosen: list[int]) -> Pairs:
    return Pairs(pairs.inputs[chosen], pairs.targets[chosen], pairs.real[chosen])


def rows(pairs: Pairs, cross_scale: float) -> np.ndarray:
    """Each patient's row, one product at a time."""
    found = []
    for z, y, real in zip(pairs.inputs, pairs.targets, pairs.real, strict=True):
        stays = [
            torch.cat([torch.outer(a, a).flatten(), cross_scale * torch.outer(a, b).flatten()])
            for a, b in zip(z[real].double(), y[real].double(), strict=True)
        ]
        width = z.shape[1] * (z.shape[1] + y.shape[1])
        row = torch.stack(stays).mean(0) if stays else torch.zeros(width)
        found.append(row.double().numpy())
    return np.stack(found) if found else np.zeros((0, K * (K + L)))


def start(dim: int = K, outputs: int = L) -> Moments:
    return Moments(torch.zeros(dim, dim).double(), torch.zeros(dim, outputs).double())


def total(
    pairs: Pairs, *, clip: float | None, cross_scale: float = 1.0, by: int = 64
) -> np.ndarray:
    """The sum as a row."""
    dim, outputs = pairs.inputs.shape[2], pairs.targets.shape[2]
    batches = [
        some(pairs, list(range(at, min(at + by, len(pairs.real)))))
        for at in range(0, len(pairs.real), by)
    ]
    found = moments.summed(batches, start(dim, outputs), clip=clip, cross_scale=cross_scale)
    return torch.cat([found.gram.flatten(), found.cross.flatten() * cross_scale]).numpy()


@settings(max_examples=120, deadline=None)
@given(
    pairs=people(),
    gone=st.integers(0, 3),
    clip=st.floats(1e-6, 1e6),
    cross_scale=st.floats(1e-3, 1e3),
)
def test_a_patient_added_or_removed_moves_the_sum_by_at_most_the_clip(
    pairs, gone, clip, cross_scale
):
    number = len(pairs.real)
    others = [index for index in range(number) if index != gone % number]
    moved = total(pairs, clip=clip, cross_scale=cross_scale) - total(
        some(pairs, others), clip=clip, cross_scale=cross_scale
    )
    assert np.isfinite(moved).all()
    assert np.linalg.norm(moved) <= clip * (1 + 1e-8 * number)


def test_the_bound_is_reached():
    pairs = random(5, 3)
    for patient in range(5):
        assert np.linalg.norm(total(some(pairs, [patient]), clip=1e-3)) == pytest.approx(1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), clip=st.floats(0.05, 30), cross_scale=st.floats(0.1, 5))
def test_the_sum_is_that_of_explicit_clipped_rows(seed, clip, cross_scale):
    pairs = random(7, 3, seed=seed)
    expected = clipped(rows(pairs, cross_scale), clip).sum(0)
    np.testing.assert_allclose(
        total(pairs, clip=clip, cross_scale=cross_scale), expected, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        moments.norms(pairs, cross_scale=cross_scale),
        np.linalg.norm(rows(pairs, cross_scale), axis=1),
        rtol=1e-6,
    )


@settings(max_examples=60, deadline=None)
@given(pairs=people(), cross_scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_a_norm_is_never_too_small(pairs, cross_scale):
    """Also where stays cancel each other: the same targets, opposite inputs."""
    opposite = Pairs(
        torch.cat([pairs.inputs, -pairs.inputs], 1),
        torch.cat([pairs.targets, pairs.targets], 1),
        torch.cat([pairs.real, pairs.real], 1),
    )
    for some_pairs in (pairs, opposite):
        said = moments.norms(some_pairs, cross_scale=cross_scale).numpy()
        with np.errstate(invalid="ignore", over="ignore"):
            true = np.linalg.norm(rows(some_pairs, cross_scale), axis=1)
        finite = np.isfinite(true)
        assert (said[finite] * (1 + 1e-9) >= true[finite]).all()


def test_without_a_clip_the_sum_is_that_of_the_rows():
    pairs = random(9, 3)
    np.testing.assert_allclose(total(pairs, clip=None), rows(pairs, 1).sum(0), rtol=1e-12)


def test_batches_add_up_and_nobody_gives_zeros():
    pairs = random(9, 2)
    together = total(pairs, clip=0.5)
    np.testing.assert_allclose(total(pairs, clip=0.5, by=2), together, rtol=1e-12)
    assert not moments.summed([], start(), clip=1.0).gram.any()
    empty = some(pairs, [])
    assert not total(empty, clip=1.0, by=1).any()


def test_stays_that_are_padding_change_nothing():
    pairs = random(4, 2)
    wide = Pairs(
        torch.cat([pairs.inputs, torch.full((4, 3, K), math.nan)], 1),
        torch.cat([pairs.targets, torch.full((4, 3, L), 7.0)], 1),
        torch.cat([pairs.real, torch.zeros(4, 3, dtype=torch.bool)], 1),
    )
    np.testing.assert_array_equal(total(wide, clip=0.7), total(pairs, clip=0.7))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_patient_who_is_not_finite_counts_as_zero(broken, clip):
    pairs = random(3, 2)
    pairs.inputs[1, 0, 2] = broken
    np.testing.assert_array_equal(total(pairs, clip=clip), total(some(pairs, [0, 2]), clip=clip))


def test_the_sum_is_symmetric_to_the_last_bit():
    found = moments.summed([random(200, 2, dim=50)], start(50), clip=1.0)
    assert found.gram.equal(found.gram.T)


def test_means_are_written_over_the_number_that_is_given():
    head = nn.Module()
    head.gram, head.cross = nn.Parameter(torch.ones(K, K)), nn.Parameter(torch.ones(K, L))
    total_ = moments.summed([random(6, 1)], moments.zero(head))
    total_.write(head, patients=8)
    torch.testing.assert_close(head.gram.data, (total_.gram / 8).float())
    torch.testing.assert_close(head.cross.data, (total_.cross / 8).float())
