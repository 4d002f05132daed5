"""Poisson sampling, and what every mechanism that a study may name has to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from privacy import dp_sgd
from privacy.budget import Budget, Spend
from privacy.closed_form import GaussianSums
from privacy.dp_sgd import DpSgd
from privacy.ledger import Receipt
from privacy.mechanism import Training, poisson
from privacy.mechanisms import MECHANISMS
from privacy.off import Off
from privacy.randomness import stream

STUDY = "a" * 64


def losses(head: nn.Module, sample: list[Tensor]) -> Tensor:
    x = torch.stack(sample) if sample else torch.zeros(0, 3)
    return head(x).square().mean(-1)


# Poisson sampling


@pytest.mark.parametrize(("patients", "rate"), [(400, 0.05), (50, 0.5), (200, 0.9)])
def test_sizes_are_binomial(patients, rate):
    steps = 4000
    sizes = torch.tensor(
        [
            float(len(sample))
            for sample in poisson(
                range(patients), sample_rate=rate, steps=steps, stream=stream("0")
            )
        ]
    )
    mean, variance = patients * rate, patients * rate * (1 - rate)
    assert len(sizes) == steps
    assert abs(sizes.mean() - mean) < 4 * math.sqrt(variance / steps)
    # A fixed size would have variance 0, sampling with replacement about `mean`.
    assert abs(sizes.var() / variance - 1) < 4 * math.sqrt(2 / steps)


def test_each_patient_is_drawn_at_the_rate_and_independently():
    patients, rate, steps = 12, 0.3, 6000
    drawn = torch.zeros(steps, patients)
    for step, sample in enumerate(
        poisson(range(patients), sample_rate=rate, steps=steps, stream=stream("1"))
    ):
        drawn[step, sample] += 1
    assert drawn.max() == 1  # nobody twice in one step
    error = math.sqrt(rate * (1 - rate) / steps)
    assert (drawn.mean(0) - rate).abs().max() < 4 * error
    between_patients = torch.corrcoef(drawn.T).fill_diagonal_(0)
    assert between_patients.abs().max() < 4.5 / math.sqrt(steps)
    next_step = torch.corrcoef(torch.stack([drawn[:-1].flatten(), drawn[1:].flatten()]))[0, 1]
    assert abs(next_step) < 4 / math.sqrt(steps * patients)


def test_empty_samples_occur_and_are_steps():
    samples = list(poisson("ab", sample_rate=0.3, steps=1000, stream=stream("0")))
    assert len(samples) == 1000
    assert abs(samples.count([]) / 1000 - 0.7**2) < 0.06
    assert {tuple(sample) for sample in samples} == {(), ("a",), ("b",), ("a", "b")}


def test_rate_one_draws_everybody():
    assert list(poisson("abc", sample_rate=1, steps=2, stream=stream("0"))) == [[*"abc"]] * 2


def test_an_empty_site_takes_its_steps():
    assert list(poisson([], sample_rate=0.5, steps=3, stream=stream("0"))) == [[], [], []]


def test_sampling_comes_from_the_stream_alone():
    def sizes(seed: int) -> list[list[int]]:
        return list(poisson(range(30), sample_rate=0.5, steps=5, stream=stream(str(seed))))

    torch.manual_seed(1)
    first = sizes(3)
    torch.manual_seed(2)
    assert sizes(3) == first
    assert sizes(4) != first


# Every mechanism

BY_STEPS = [DpSgd(epsilon=3), Off()]
EVERY = [*BY_STEPS, GaussianSums(epsilon=3)]
IDS = [mechanism.kind for mechanism in EVERY]


def test_each_says_what_it_fits():
    assert all(mechanism.by_steps for mechanism in BY_STEPS)
    assert [mechanism.kind for mechanism in EVERY if not mechanism.by_steps] == ["gaussian-sums"]
    assert [mechanism.kind for mechanism in EVERY if not mechanism.by_sums] == ["dp-sgd"]


def test_every_kind_is_here():
    assert {type(mechanism) for mechanism in EVERY} == set(MECHANISMS.kinds().values())


@pytest.mark.parametrize("mechanism", EVERY, ids=IDS)
def test_a_mechanism_round_trips_through_its_table(mechanism):
    table = {"kind": mechanism.kind, **mechanism.model_dump(mode="json")}
    assert MECHANISMS.parse(table) == mechanism


@pytest.mark.parametrize("mechanism", BY_STEPS, ids=IDS[:2])
def test_a_spend_says_whose_round_it_is(mechanism, monkeypatch):
    monkeypatch.setattr(dp_sgd, "noise_multiplier", lambda *_, **__: 1.5)
    spend = mechanism.spend(study=STUDY, round=2, rounds=3, steps=5, sample_rate=0.25)
    assert (spend.study, spend.round, spend.steps, spend.sample_rate) == (STUDY, 2, 5, 0.25)


def test_noise_is_asked_for_the_promise_at_the_rate_over_all_rounds(monkeypatch):
    asked = []
    monkeypatch.setattr(dp_sgd, "noise_multiplier", lambda *a, **k: asked.append((a, k)) or 1.5)
    mechanism = DpSgd(epsilon=3, delta=1e-6)
    spend = mechanism.spend(study=STUDY, round=2, rounds=3, steps=5, sample_rate=0.25)
    assert asked == [((Budget(epsilon=3, delta=1e-6),), {"sample_rate": 0.25, "steps": 15})]
    assert spend.noise_multiplier == 1.5


@pytest.mark.parametrize("mechanism", BY_STEPS, ids=IDS[:2])
def test_fit_takes_the_steps_the_receipt_says_and_draws_at_its_rate(mechanism):
    noise = 0.0 if mechanism.promise is None else 1.0
    spend = Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=0.25, steps=40)
    sizes, steps = [], []

    def counted(head: nn.Module, sample: list[Tensor]) -> Tensor:
        sizes.append(len(sample))
        return losses(head, sample)

    def learner(parameters):
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        optimizer.register_step_post_hook(lambda *_: steps.append(1))
        return optimizer

    mechanism.fit(
        nn.Linear(3, 2),
        list(torch.ones(16, 3)),
        Training(
            receipt=Receipt(1, spend),
            losses=counted,
            learner=learner,
            declared_patients=20,
            stream=stream("0"),
        ),
    )
    assert len(sizes) == len(steps) == 40
    assert 2.5 < sum(sizes) / 40 < 5.5
    assert len(set(sizes)) > 3


@pytest.mark.parametrize("mechanism", BY_STEPS, ids=IDS[:2])
@pytest.mark.parametrize("declared", [1, 10, 1000])
def test_the_normaliser_is_the_declared_number(mechanism, declared):
    # The step is lr * sum / (rate * declared), whatever the true number is.
    def step(patients: int) -> Tensor:
        head = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(head.weight)
        noise = 0.0 if mechanism.promise is None else 1e-12
        mechanism.fit(
            head,
            list(torch.full((patients, 3), 0.1)),
            Training(
                receipt=Receipt(
                    1, Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=1, steps=1)
                ),
                losses=lambda model, sample: model(torch.stack(sample)).sum(-1),
                learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
                declared_patients=declared,
                stream=stream("0"),
            ),
        )
        return head.weight.detach()

    for patients in (1, 7):
        expected = torch.full((1, 3), -0.1 * patients / declared)
        torch.testing.assert_close(step(patients), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("mechanism", BY_STEPS, ids=IDS[:2])
def test_what_needs_no_gradient_is_left_alone(mechanism):
    head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    head[0].requires_grad_(False)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    noise = 0.0 if mechanism.promise is None else 1.0
    mechanism.fit(
        head,
        list(torch.ones(5, 3)),
        Training(
            receipt=Receipt(
                1, Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=1, steps=2)
            ),
            losses=losses,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            declared_patients=5,
            stream=stream("0"),
        ),
    )
    moved = {name for name, value in head.state_dict().items() if not value.equal(before[name])}
    assert moved == {"1.weight", "1.bias"}


def test_dp_sgd_promises_its_budget_and_off_nothing():
    assert DpSgd(epsilon=2, delta=1e-6).promise == Budget(epsilon=2, delta=1e-6)
    assert Off().promise is None
