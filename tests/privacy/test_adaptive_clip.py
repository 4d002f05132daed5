"""The clip that follows a quantile: paid for, bounded, and told by noisy counts alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from privacy.budget import Spend
from privacy.dp_sgd import Adaptive, DpSgd
from privacy.ledger import Receipt
from privacy.mechanism import Training
from privacy.randomness import stream

STUDY = "a" * 64


def losses(head: nn.Module, sample: list[Tensor]) -> Tensor:
    """Each patient's gradient is the patient itself."""
    x = torch.stack(sample) if sample else torch.zeros(0, 2)
    return head(x).sum(-1)


def training(noise: float, *, steps: int, declared: int, memory=None, seed="0") -> Training:
    spend = Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=1, steps=steps)
    return Training(
        receipt=Receipt(1, spend),
        losses=losses,
        learner=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        declared_patients=declared,
        stream=stream(seed),
        memory=memory or {},
    )


def head() -> nn.Module:
    made = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(made.weight)
    return made


def patients(number: int) -> list[Tensor]:
    """Norms 1/number, 2/number, ..., 1."""
    return [torch.tensor([float(n) / number, 0.0]) for n in range(1, number + 1)]


@given(noise=st.floats(0.1, 100), share=st.floats(0.001, 0.999))
def test_gradient_and_count_together_cost_what_was_charged(noise, share):
    mechanism = DpSgd(epsilon=1, adaptive=Adaptive(share=share))
    gradient, count = mechanism.noises(noise)
    assert (gradient**-2 + count**-2) ** -0.5 == pytest.approx(noise, rel=1e-9)
    assert gradient > noise
    assert DpSgd(epsilon=1).noises(noise) == (noise, math.inf)


@settings(max_examples=50, deadline=None)
@given(
    norms=st.lists(st.floats(0, 5), min_size=1, max_size=12),
    gone=st.integers(0, 11),
    clip=st.floats(0.1, 4),
)
def test_a_patient_moves_the_count_by_one_half(norms, gone, clip):
    """The sensitivity that `noises` is worked out from, on every neighbour."""

    def counted(people: list[float]) -> float:
        return sum((norm <= clip) - 0.5 for norm in people)

    gone %= len(norms)
    neighbour = norms[:gone] + norms[gone + 1 :]
    assert abs(counted(norms) - counted(neighbour)) == 0.5


def test_the_count_that_is_released_is_that_sum_with_half_the_multiplier_of_noise(monkeypatch):
    seen = []
    monkeypatch.setattr(Adaptive, "moved", lambda self, clip, *, whole: seen.append(whole) or clip)
    mechanism = DpSgd(epsilon=1, clip=0.5, adaptive=Adaptive(share=0.2))
    declared = 40
    for number in range(300):
        mechanism.fit(
            head(), patients(10), training(3.0, steps=1, declared=declared, seed=str(number))
        )
    counts = (torch.tensor(seen) - 0.5) * declared
    deviation = 3.0 / math.sqrt(0.2) / 2
    assert abs(counts.mean()) < 4 * deviation / math.sqrt(300)  # five in, five out
    assert counts.std() == pytest.approx(deviation, rel=4 / math.sqrt(600))


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
def test_the_clip_finds_its_quantile(quantile):
    mechanism = DpSgd(epsilon=1, clip=5.0, adaptive=Adaptive(quantile=quantile, learning_rate=0.5))
    memory = mechanism.fit(head(), patients(200), training(1e-3, steps=200, declared=200))
    assert memory["clip"] == pytest.approx(quantile, abs=0.03)


def test_the_clip_goes_on_from_where_the_round_before_left_it():
    mechanism = DpSgd(epsilon=1, clip=5.0, adaptive=Adaptive())
    one = mechanism.fit(head(), patients(50), training(1e-3, steps=3, declared=50))
    two = mechanism.fit(head(), patients(50), training(1e-3, steps=3, declared=50, memory=one))
    both = mechanism.fit(head(), patients(50), training(1e-3, steps=6, declared=50))
    assert two["clip"] == pytest.approx(both["clip"], rel=1e-3)
    assert two["clip"] < one["clip"] < 5


@pytest.mark.parametrize("remembered", [1e9, 1e-9])
def test_the_clip_stays_within_its_bounds_whatever_is_remembered(remembered):
    bounds = Adaptive(least=0.5, largest=2.0, learning_rate=10)
    mechanism = DpSgd(epsilon=1, clip=1.0, adaptive=bounds)
    for people in ([], patients(30), [torch.full((2,), 1e6)] * 30):
        work = training(1e3, steps=5, declared=1, memory={"clip": remembered})
        memory = mechanism.fit(head(), people, work)
        assert 0.5 <= memory["clip"] <= 2.0
    assert mechanism.largest_clip == 2.0
    assert DpSgd(epsilon=1, clip=0.3).largest_clip == 0.3


def test_gradients_are_cut_to_the_clip_of_their_step_and_noise_follows_it():
    adaptive = Adaptive(quantile=0.5, learning_rate=1.0, least=0.01)
    mechanism = DpSgd(epsilon=1, clip=4.0, adaptive=adaptive)
    moves = []

    def learner(parameters):
        made = torch.optim.SGD(parameters, lr=1.0)
        made.register_step_pre_hook(
            lambda opt, *_: moves.append(opt.param_groups[0]["params"][0].grad.clone())
        )
        return made

    work = training(1e-6, steps=2, declared=1)
    work = Training(work.receipt, losses, learner, 1, work.stream)
    mechanism.fit(head(), [torch.tensor([100.0, 0.0])], work)
    # Nobody is under a clip of 4: whole = 0, so it grows by e^0.5.
    assert [float(move[0, 0]) for move in moves] == pytest.approx(
        [4.0, 4.0 * math.exp(0.5)], rel=1e-4
    )


def test_without_adaptive_nothing_is_remembered():
    assert DpSgd(epsilon=1).fit(head(), patients(3), training(1.0, steps=2, declared=3)) == {}


@pytest.mark.parametrize(
    "table",
    [
        {"clip": 20.0, "adaptive": {}},
        {"clip": 1.0, "adaptive": {"least": 2.0}},
        {"adaptive": {"least": 3.0, "largest": 2.0}},
        {"adaptive": {"share": 1.0}},
        {"adaptive": {"share": 0.0}},
        {"adaptive": {"quantile": 0.0}},
        {"adaptive": {"largest": math.inf}},
    ],
)
def test_what_makes_no_sense_is_refused(table):
    with pytest.raises(ValidationError):
        DpSgd.model_validate({"epsilon": 1.0} | table)
