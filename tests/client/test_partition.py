"""Partitions of pooled patients: everybody once, the same seed alike, as skewed as asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from client.partition import AnyPartition, Dirichlet, Iid, Partition, Quantity, sizes_by

OUTPUTS = tuple("abcdefghijkl")
EVERY = {
    "iid": Iid(sites=5, seed=1),
    "dirichlet": Dirichlet(sites=5, seed=1, alpha=0.5),
    "drawn shares": Quantity(sites=5, seed=1, alpha=0.5),
    "shares": Quantity(sites=3, seed=1, shares=(5, 3, 1)),
}


def people(number: int = 600, *, seed: int = 0, most: float = 0.4) -> dict[str, frozenset[str]]:
    """Outputs from frequent to rare; some patients have none."""
    rates = np.geomspace(most, 0.02, len(OUTPUTS))
    truth = np.random.default_rng(seed).random((number, len(OUTPUTS))) < rates
    return {f"p{n}": frozenset(np.array(OUTPUTS)[row].tolist()) for n, row in enumerate(truth)}


def skew(how: Partition, patients: dict[str, frozenset[str]]) -> float:
    """How far the rates of the outputs at a site lie from those of all, the mean of all sites."""

    def rates(ids) -> np.ndarray:
        return np.array([[o in patients[one] for o in OUTPUTS] for one in ids]).mean(0)

    everywhere = rates(patients)
    return float(np.mean([abs(rates(ids) - everywhere) for ids in how.deal(patients).values()]))


@pytest.mark.parametrize("which", EVERY)
def test_everybody_is_at_one_site_and_the_seed_says_at_which(which):
    how, patients = EVERY[which], people()
    found = how.deal(patients)
    assert tuple(found) == how.names
    assert sorted(one for ids in found.values() for one in ids) == sorted(patients)
    assert how.deal(dict(reversed(patients.items()))) == found, "the order of records says nothing"
    assert how.model_copy(update={"seed": 2}).deal(patients) != found
    assert min(map(len, found.values())) >= how.least


@given(st.integers(1, 12), st.integers(0, 300), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_sizes_within_one_and_nobody_lost_whatever_the_numbers(sites, more, seed):
    patients = people(sites + more, seed=seed)
    for how in (Iid(sites=sites, seed=seed, least=1), Dirichlet(sites=sites, least=1, alpha=1e-3)):
        sizes = [len(ids) for ids in how.deal(patients).values()]
        assert sum(sizes) == len(patients)
        assert max(sizes) - min(sizes) <= 1


def test_the_smaller_alpha_the_more_sites_differ_in_their_outputs():
    patients = people(1500)
    ladder = [
        np.mean([skew(Dirichlet(sites=4, seed=s, alpha=alpha), patients) for s in range(5)])
        for alpha in (1.0, 5.0, 20.0, 1e5)
    ]
    assert all(more > 1.2 * less for more, less in pairwise(ladder))
    by_lot = np.mean([skew(Iid(sites=4, seed=s), patients) for s in range(5)])
    assert ladder[-1] < 1.3 * by_lot, "a large alpha is as good as by lot"
    assert ladder[0] > 5 * by_lot


def test_of_single_outputs_a_tiny_alpha_gives_each_site_few():
    patients = {f"p{n}": frozenset(OUTPUTS[n % 4]) for n in range(400)}

    def most_of_one(how: Partition) -> list[int]:
        return [
            max(sum(patients[one] == {o} for one in ids) for o in OUTPUTS[:4])
            for ids in how.deal(patients).values()
        ]

    # Of a hundred; two sites that ask for the same one share it.
    assert min(most_of_one(Dirichlet(sites=4, seed=3, alpha=1e-4))) >= 50
    assert max(most_of_one(Dirichlet(sites=4, seed=3, alpha=1e5))) < 40


def test_patients_without_a_true_output_are_a_class_of_their_own():
    patients = {f"p{n}": frozenset("a" if n % 2 else "") for n in range(400)}
    parts = Dirichlet(sites=2, seed=0, alpha=1e-4).deal(patients).values()
    rates = [np.mean([bool(patients[one]) for one in ids]) for ids in parts]
    assert sorted(rates) in ([0.0, 1.0], [0.5, 0.5])  # both sites may ask for the same at first


def test_quantity_follows_its_shares():
    found = Quantity(sites=3, shares=(60, 30, 10)).deal(people(1000))
    assert [len(ids) for ids in found.values()] == [600, 300, 100]
    sizes = [len(ids) for ids in Quantity(sites=8, seed=4, alpha=0.3).deal(people(1000)).values()]
    even = [len(ids) for ids in Quantity(sites=8, seed=4, alpha=1e5).deal(people(1000)).values()]
    assert max(sizes) > 3 * 125
    assert min(sizes) >= 10
    assert max(even) - min(even) < 10


@given(
    st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=9), st.integers(0, 5), st.integers(0, 999)
)
@settings(max_examples=100, deadline=None)
def test_whole_sizes_lie_within_one_of_the_shares_above_the_least(shares, least, more):
    total = least * len(shares) + more
    given_shares = np.array(shares)
    sizes = sizes_by(given_shares, total, least=least)
    assert (sizes.sum(), sizes.min() >= least) == (total, True)
    above = sizes > least
    if above.any():
        quotas = given_shares[above] / given_shares[above].sum() * sizes[above].sum()
        # One for the rounding of each side of the comparison.
        assert abs(sizes[above] - quotas).max() <= 1 + len(shares) * 0.5


def test_too_few_patients_are_refused():
    with pytest.raises(
        ValueError, match=r"^simulation\.partition: 5 sites of at least 10 patients"
    ):
        Iid(sites=5).deal(people(49))
    assert sum(map(len, Iid(sites=5).deal(people(50)).values())) == 50


WRONG = {
    "a kind": {"kind": "column", "sites": 2},
    "no sites": {"kind": "iid"},
    "no alpha": {"kind": "dirichlet", "sites": 2},
    "alpha 0": {"kind": "dirichlet", "sites": 2, "alpha": 0.0},
    "alpha of nothing": {"kind": "iid", "sites": 2, "alpha": 1.0},
    "neither": {"kind": "quantity", "sites": 2},
    "both": {"kind": "quantity", "sites": 2, "alpha": 1.0, "shares": [1, 2]},
    "a share too few": {"kind": "quantity", "sites": 2, "shares": [1]},
    "a share of nothing": {"kind": "quantity", "sites": 2, "shares": [1, 0]},
}


@pytest.mark.parametrize("which", WRONG)
def test_what_does_not_fit_is_refused(which):
    with pytest.raises(ValidationError):
        TypeAdapter(AnyPartition).validate_python(WRONG[which])


def test_names_are_in_order_also_as_texts():
    assert Iid(sites=3).names == ("site-1", "site-2", "site-3")
    names = Iid(sites=12).names
    assert (names[0], names[-1], list(names)) == ("site-01", "site-12", sorted(names))
