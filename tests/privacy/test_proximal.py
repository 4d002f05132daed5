"""The proximal term: after clip and noise, in no patient's gradient, with every mechanism."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privacy import clipped_sums
from privacy.budget import Spend
from privacy.dp_sgd import DpSgd
from privacy.ledger import Receipt
from privacy.mechanism import Learner, Mechanism, Training
from privacy.off import Off
from privacy.proximal import held
from privacy.randomness import stream

RATE, STEPS, DIM = 0.25, 6, 4
SGD = partial(torch.optim.SGD, lr=RATE)
ADAM = partial(torch.optim.Adam, lr=RATE)
MECHANISMS = {"dp-sgd": (DpSgd(epsilon=1, clip=0.5), 1.3), "off": (Off(), 0.0)}
every_mechanism = pytest.mark.parametrize(
    ("mechanism", "noise"), MECHANISMS.values(), ids=MECHANISMS
)


def losses(model: nn.Module, sample: list[np.ndarray]) -> Tensor:
    x = torch.tensor(np.array(sample, np.float32).reshape(-1, DIM))
    return (model(x) - 1).square().sum(1)


def patients() -> list[np.ndarray]:
    return list(np.random.default_rng(1).normal(size=(9, DIM)) * 0.5)


def fitted(
    mechanism: Mechanism, noise: float, learner: Learner, *, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """The weights before and after some steps."""
    torch.manual_seed(4)
    head = nn.Linear(DIM, 2)
    before = torch.cat([value.detach().flatten().clone() for value in head.parameters()])
    spend = Spend(
        study="a" * 64, round=1, noise_multiplier=noise, sample_rate=0.6, steps=steps
    )  # fmt: skip
    training = Training(
        receipt=Receipt(1, spend), losses=losses, learner=learner, declared_patients=9,
        stream=stream("0"),
    )  # fmt: skip
    mechanism.fit(head, patients(), training)
    return before, torch.cat([value.detach().flatten() for value in head.parameters()])


class Watching(torch.optim.SGD):
    """Plain descent that keeps the gradients that it steps by."""

    seen: list[Tensor]

    def __init__(self, parameters, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.seen, self.weights = [], []

    def step(self, closure=None):
        values = [value for group in self.param_groups for value in group["params"]]
        self.weights.append(torch.cat([value.detach().flatten().clone() for value in values]))
        self.seen.append(torch.cat([value.grad.flatten().clone() for value in values]))
        super().step(closure)


@every_mechanism
def test_the_first_step_is_as_without_it_and_later_ones_add_the_way_back(mechanism, noise):
    made: list[Watching] = []

    def watching(parameters):
        made.append(Watching(parameters, lr=RATE))
        return made[-1]

    fitted(mechanism, noise, watching, steps=2)
    fitted(mechanism, noise, held(watching, mu=0.7), steps=2)
    plain, pulled = made
    torch.testing.assert_close(plain.seen[0], pulled.seen[0], rtol=0, atol=0)
    torch.testing.assert_close(plain.weights[1], pulled.weights[1], rtol=0, atol=0)
    away = 0.7 * (plain.weights[1] - plain.weights[0])
    assert away.abs().max() > 0.01
    torch.testing.assert_close(pulled.seen[1], plain.seen[1] + away)


@every_mechanism
def test_it_shortens_the_way_and_at_its_strongest_one_step_is_left(mechanism, noise):
    ways = []
    for mu in (0, 0.5, 1, 2):
        before, after = fitted(mechanism, noise, held(SGD, mu=mu))
        ways.append(float((after - before).norm()))
    assert ways == sorted(ways, reverse=True)
    assert ways[-1] < 0.8 * ways[0]
    made: list[Watching] = []

    def watching(parameters):
        made.append(Watching(parameters, lr=RATE))
        return made[-1]

    before, after = fitted(mechanism, noise, held(watching, mu=1 / RATE))
    last = made[0].seen[-1] - (made[0].weights[-1] - before) / RATE
    torch.testing.assert_close(after, before - RATE * last)


@every_mechanism
def test_adam_stays_near_the_start_however_strong_it_is(mechanism, noise):
    before, after = fitted(mechanism, noise, held(ADAM, mu=1e6))
    assert (after - before).abs().max() < 2 * RATE
    assert torch.isfinite(after).all()


def test_no_patients_gradient_and_no_clip_knows_of_it(monkeypatch):
    """The norms of patients' gradients, and the sums that are clipped, noised and released."""
    found: list[list[tuple[Tensor, Tensor]]] = []
    clip = clipped_sums.clipped_sum

    def watched(model, *given, **more):
        norms = clip(model, *given, **more)
        found[-1] += [(norms, value.grad.clone()) for value in model.trained]
        return norms

    monkeypatch.setattr(clipped_sums, "clipped_sum", watched)
    mechanism, noise = MECHANISMS["dp-sgd"]
    frozen = partial(torch.optim.SGD, lr=0.0)  # all steps at the same weights
    for mu in (0, 50.0):
        found.append([])
        fitted(mechanism, noise, _moved(held(frozen, mu=mu)))
    assert len(found[0]) == len(found[1]) == 2 * STEPS
    for (norms, total), (other_norms, other_total) in zip(*found, strict=True):
        torch.testing.assert_close(norms, other_norms, rtol=0, atol=0)
        torch.testing.assert_close(total, other_total, rtol=0, atol=0)


def _moved(learner: Learner) -> Learner:
    """A learner whose weights have left the start when the first step is taken."""

    def build(parameters):
        values = list(parameters)
        optimizer = learner(iter(values))
        with torch.no_grad():
            for value in values:
                value.add_(1.0)
        return optimizer

    return build


@every_mechanism
def test_weight_zero_changes_no_bit(mechanism, noise):
    assert held(SGD, mu=0) is SGD
    (_, plain), (_, same) = (fitted(mechanism, noise, way) for way in (SGD, held(SGD, mu=0)))
    assert torch.equal(plain, same)


def test_what_has_no_gradient_is_pulled_back_all_the_same():
    value = nn.Parameter(torch.zeros(2))
    optimizer = held(SGD, mu=1)(iter([value]))
    with torch.no_grad():
        value.add_(1)
    optimizer.step()
    assert torch.equal(value.data, torch.full((2,), 1 - RATE))
