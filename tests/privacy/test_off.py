"""off takes the steps of dp-sgd, without clip and without noise, and says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from privacy import accounting
from privacy.budget import Spend
from privacy.ledger import Receipt
from privacy.mechanism import Training
from privacy.off import Off
from privacy.randomness import stream
from tasks.bags import PatientBag, collate
from tasks.heads.linear import Linear
from tasks.loss import patient_losses

STUDY = "a" * 64
DIM, OUTPUTS = 5, 3


def receipt(*, noise: float = 0, rate: float = 1, steps: int = 1) -> Receipt:
    return Receipt(
        1,
        Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=rate, steps=steps),
    )


def bags(number: int) -> list[PatientBag]:
    random = np.random.default_rng(3)
    return [
        PatientBag(
            vectors=tuple(
                random.normal(size=(1 + (p + s) % 3, DIM)).astype(np.float32) * 30
                for s in range(1 + p % 2)
            ),
            targets=tuple((p % OUTPUTS,) for _ in range(1 + p % 2)),
        )
        for p in range(number)
    ]


def losses(model: nn.Module, sample: list[PatientBag]) -> torch.Tensor:
    batch = collate(sample, dim=DIM, outputs=OUTPUTS)
    return patient_losses(model(batch.x, batch.chunks), batch)


def fitted(patients: list[PatientBag], *, declared: int, **spent: float) -> nn.Module:
    head = Linear().build(dim=DIM, outputs=OUTPUTS)
    with torch.no_grad():
        head.start(torch.Generator())
    Off().fit(
        head,
        patients,
        Training(
            receipt=receipt(**spent),
            losses=losses,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
            declared_patients=declared,
            stream=stream("0"),
        ),
    )
    return head


def test_steps_are_plain_full_batch_gradient_descent():
    patients = bags(6)
    head = fitted(patients, declared=8, steps=3)
    plain = Linear().build(dim=DIM, outputs=OUTPUTS)
    with torch.no_grad():
        plain.start(torch.Generator())
    for _ in range(3):
        plain.zero_grad()
        total = sum(losses(plain, [patient]).sum() for patient in patients)
        total.backward()
        with torch.no_grad():
            for value in plain.parameters():
                value.sub_(0.5 * value.grad / 8)
    for (name, value), other in zip(head.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6, msg=name)
    # These gradients are far longer than any clip, so a clip would have shown.
    assert (head.out.weight.norm() * 8 / 0.5) > 20


def test_an_empty_site_stays_where_it_was():
    head = fitted([], declared=8, steps=3)
    assert head.out.weight.abs().max() == 0
    assert (head.out.bias == -3).all()


def test_the_stream_decides_the_samples():
    weights = [fitted(bags(20), declared=20, rate=0.5, steps=2).out.weight for _ in range(2)]
    assert weights[0].equal(weights[1])


@pytest.mark.parametrize("noise", [1e-9, 1.0])
def test_a_receipt_with_noise_is_refused_before_a_step(noise):
    with pytest.raises(ValueError, match="adds no noise"):
        fitted(bags(2), declared=2, noise=noise)


def test_a_spend_has_no_noise_and_costs_infinity():
    spend = Off().spend(study=STUDY, round=2, rounds=9, steps=4, sample_rate=0.5)
    assert spend == Spend(study=STUDY, round=2, noise_multiplier=0, sample_rate=0.5, steps=4)
    assert accounting.epsilon([spend], delta=1e-5) == math.inf
