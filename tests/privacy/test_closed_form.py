"""gaussian-sums: one noisy sum, for what was charged, over a number that is public."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from privacy import accounting
from privacy.budget import Spend
from privacy.closed_form import PATIENTS_AT_A_TIME, GaussianSums
from privacy.gaussian_sums import least_noise, noisy_sum
from privacy.ledger import Receipt
from privacy.mechanism import Training
from privacy.moments import Pairs
from privacy.off import Off
from privacy.randomness import stream

STUDY = "a" * 64
K, L = 4, 3


class Summed(nn.Module):
    """The two parameters of a head that follows from sums; they start somewhere."""

    def __init__(self, outputs: int = L) -> None:
        super().__init__()
        self.gram = nn.Parameter(torch.full((K, K), 7.0))
        self.cross = nn.Parameter(torch.full((K, outputs), 7.0))


def pairs(head: nn.Module, sample: list[torch.Tensor]) -> Pairs:
    outputs = head.cross.shape[1]
    both = torch.stack(sample) if sample else torch.zeros(0, 2, K + outputs)
    real = torch.ones(len(sample), 2, dtype=torch.bool)
    return Pairs(both[..., :K], both[..., K:], real)


def people(number: int, *, outputs: int = L) -> list[torch.Tensor]:
    """Patients of two stays."""
    random = np.random.default_rng(number)
    z = random.normal(size=(number, 2, K))
    y = random.random((number, 2, outputs)) < 0.3
    return list(torch.from_numpy(np.concatenate([z, y], 2).astype(np.float32)))


def rows(patients: list[torch.Tensor], cross_scale: float) -> np.ndarray:
    found = []
    for patient in patients:
        z, y = patient[:, :K].double().numpy(), patient[:, K:].double().numpy()
        found.append(np.concatenate([(z.T @ z).ravel(), cross_scale * (z.T @ y).ravel()]) / 2)
    return np.stack(found)


def training(**changes: Any) -> Training:
    spend = Spend(study=STUDY, round=1, noise_multiplier=1.5, sample_rate=1, steps=1)
    plain = Training(
        receipt=Receipt(1, spend),
        losses=lambda *_: pytest.fail("a loss was asked for"),
        learner=lambda _: pytest.fail("an optimizer was asked for"),
        declared_patients=200,
        stream=stream("0"),
        pairs=pairs,
    )
    return replace(plain, **changes)


def charged(**changes: Any) -> Receipt:
    spend = training().receipt.spend.model_copy(update=changes)
    return Receipt(1, spend)


def weights(head: nn.Module, cross_scale: float = 1.0) -> np.ndarray:
    row = [head.gram.flatten(), head.cross.flatten() * cross_scale]
    return torch.cat(row).detach().numpy()


def test_the_weights_are_the_noisy_sum_of_explicit_rows_over_the_declared_number():
    """More patients than are taken at a time; rows with noise as every noisy sum here has it."""
    patients = people(2 * PATIENTS_AT_A_TIME + 5)
    mechanism, head = GaussianSums(epsilon=3, clip=2.5, cross_scale=0.5), Summed()
    assert mechanism.fit(head, patients, training()) == {}
    expected = noisy_sum(rows(patients, 0.5), clip=2.5, noise_multiplier=1.5, stream=stream("0"))
    np.testing.assert_allclose(weights(head, 0.5), expected / 200, rtol=1e-5, atol=1e-7)
    # Some were cut and some were not, or the clip would not have been tried.
    norms = np.linalg.norm(rows(patients, 0.5), axis=1)
    assert 10 < (norms > 2.5).sum() < len(patients) - 10


@pytest.mark.parametrize("patients", [0, 1, 70])
def test_the_noise_is_what_was_charged_times_the_clip(patients):
    """Also where there is nobody; of either part of the row."""
    clip, cross_scale, declared = 0.25, 2.0, 50
    head, plain = Summed(outputs=5000), Summed(outputs=5000)
    mechanism = GaussianSums(epsilon=3, clip=clip, cross_scale=cross_scale)
    some = people(patients, outputs=5000)
    mechanism.fit(head, some, training(declared_patients=declared))
    quiet = training(declared_patients=declared, receipt=charged(noise_multiplier=1e-12))
    mechanism.fit(plain, some, quiet)
    noise = (head.cross - plain.cross).detach().numpy() * declared
    assert noise.std() == pytest.approx(1.5 * clip / cross_scale, rel=0.03)
    gram = (head.gram - plain.gram).detach().numpy() * declared / (1.5 * clip)
    assert 0.5 < gram.std() < 1.6
    assert not np.allclose(gram, gram.T)  # each half has noise of its own
    np.testing.assert_allclose(plain.gram.detach(), plain.gram.detach().T, atol=1e-6)


def test_where_the_head_started_tells_nothing():
    one, other = Summed(), Summed()
    with torch.no_grad():
        other.gram.fill_(-3)
    for head in (one, other):
        GaussianSums(epsilon=3).fit(head, people(5), training())
    assert one.gram.equal(other.gram)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_patient_who_is_not_finite_moves_nothing(broken):
    patients = people(6)
    heads = [Summed(), Summed()]
    spoilt = patients[3].clone()
    spoilt[1, 0] = broken
    GaussianSums(epsilon=3).fit(heads[0], [*patients[:3], spoilt, *patients[4:]], training())
    GaussianSums(epsilon=3).fit(heads[1], [*patients[:3], *patients[4:]], training())
    np.testing.assert_allclose(weights(heads[0]), weights(heads[1]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise_multiplier": 0}, "without noise"),
        ({"steps": 2}, "steps that it does not take"),
        ({"sample_rate": 0.5}, "steps that it does not take"),
    ],
)
def test_another_receipt_is_refused_and_the_head_stays(changes, said):
    head = Summed()
    with pytest.raises(ValueError, match=said):
        GaussianSums(epsilon=3).fit(head, people(3), training(receipt=charged(**changes)))
    assert (head.gram == 7).all()


@pytest.mark.parametrize("mechanism", [GaussianSums(epsilon=3)])
def test_a_head_that_learns_by_steps_is_refused(mechanism):
    with pytest.raises(ValueError, match="does not follow from sums"):
        mechanism.fit(Summed(), people(3), training(pairs=None))


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 8.0, 20.0])
def test_a_study_costs_what_it_promises_and_hardly_less(epsilon):
    mechanism = GaussianSums(epsilon=epsilon, delta=1e-6)
    spend = mechanism.spend(study=STUDY, round=1, rounds=1, steps=1, sample_rate=1)
    assert (spend.steps, spend.sample_rate, spend.round) == (1, 1, 1)
    # By the ledger's accountants, and by the exact formula.
    assert accounting.epsilon([spend], delta=1e-6) <= epsilon
    exact = least_noise(mechanism.promise)
    assert exact <= spend.noise_multiplier <= exact * 1.03


@pytest.mark.parametrize("steps", [(2, 1, 1.0), (1, 2, 1.0), (1, 1, 0.5)])
def test_more_than_one_sum_has_no_price(steps):
    rounds, number, rate = steps
    with pytest.raises(ValueError, match="must be 1"):
        GaussianSums(epsilon=3).spend(
            study=STUDY, round=1, rounds=rounds, steps=number, sample_rate=rate
        )


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"epsilon": math.inf},
        {"epsilon": 0},
        {"epsilon": 1, "clip": 0},
        {"epsilon": 1, "clip": math.inf},
        {"epsilon": 1, "cross_scale": 0},
        {"epsilon": 1, "delta": 0},
    ],
)
def test_a_mechanism_that_would_promise_nothing_is_refused(table):
    with pytest.raises(ValidationError):
        GaussianSums(**table)


def test_off_sums_without_clip_and_without_noise_and_only_with_a_receipt_that_says_so():
    patients, head = people(70), Summed()
    patients[0] *= 1000  # far beyond any clip
    Off().fit(head, patients, training(receipt=charged(noise_multiplier=0, sample_rate=0.3)))
    np.testing.assert_allclose(weights(head), rows(patients, 1.0).sum(0) / 200, rtol=1e-5)
    with pytest.raises(ValueError, match="adds no noise"):
        Off().fit(Summed(), patients, training())
