"""The noise of dp-sgd, what a whole fit does, and what it leaves behind."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from dp_sgd_steps import (
    DIM,
    EVERY_HEAD,
    HEADS,
    OUTPUTS,
    PATIENTS,
    STUDY,
    alone,
    change,
    clipped,
    fit,
    flat,
    head_of,
    losses,
    receipt,
    training,
)
from torch import Tensor, nn

from privacy import accounting
from privacy.dp_sgd import DpSgd
from privacy.randomness import stream
from tasks.bags import PatientBag, collate
from tasks.heads.head import Head
from tasks.heads.linear import Linear
from tasks.loss import patient_losses

pytestmark = pytest.mark.usefixtures("one_thread")


# Noise


@EVERY_HEAD
def test_an_empty_sample_without_noise_stands_still(spec):
    assert change(head_of(spec), [[], []], clip=1.0).abs().max() == 0


@EVERY_HEAD
def test_an_empty_sample_still_moves_every_weight(spec):
    moved = change(head_of(spec), [[]], clip=1.0, noise=2.0)
    assert (moved != 0).all()
    assert 1.5 < moved.std() < 2.5


@pytest.mark.parametrize(
    ("noise", "clip", "expected"), [(1.0, 1.0, 1.0), (0.5, 3.0, 8.0), (4.0, 0.01, 0.25)]
)
@pytest.mark.parametrize("patients", [0, 3], ids=["empty", "three patients"])
def test_noise_has_the_deviation_that_was_charged(noise, clip, expected, patients):
    # The weights of an all-zero input get no gradient, so all that moves them is noise.
    wide = Linear().build(dim=200, outputs=100)
    people = [PatientBag((np.zeros((1, 200), np.float32),), ((1,),))] * patients

    def loss(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        batch = collate(sample, dim=200, outputs=100)
        return patient_losses(model(batch.x, batch.chunks), batch)

    before = wide.out.weight.detach().clone()
    moved = change(wide, [people], clip=clip, noise=noise, expected=expected, loss=loss)
    drawn = moved[: before.numel()] * expected / (noise * clip)
    count = before.numel()
    assert abs(drawn.mean()) < 4 / math.sqrt(count)
    assert abs(drawn.std() - 1) < 4 / math.sqrt(2 * count)
    assert abs((drawn**4).mean() - 3) < 4 * math.sqrt(96 / count)  # a Gaussian's tails


def test_noise_is_fresh_at_every_step_and_in_every_weight():
    head = head_of(HEADS["mlp"])
    one, two = (change(head, [[]] * steps, clip=1.0, noise=1.0) for steps in (1, 2))
    second = two - one
    assert abs(torch.corrcoef(torch.stack([one, second]))[0, 1]) < 4 / math.sqrt(len(one))
    assert len(set(one.tolist())) == len(one)


def test_the_noise_is_the_streams():
    head, numbers = head_of(HEADS["linear"]), stream("7")
    by_hand = [numbers.normal(tuple(value.shape)).float() * 1.5 for value in head.parameters()]
    moved = change(head, [[]], clip=3.0, noise=0.5, numbers=stream("7"))
    torch.testing.assert_close(moved, -flat(by_hand), rtol=1e-5, atol=1e-5)


def test_noise_adds_up_over_steps():
    wide = Linear().build(dim=200, outputs=100)

    def loss(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        batch = collate(sample, dim=200, outputs=100)
        return patient_losses(model(batch.x, batch.chunks), batch)

    moved = change(wide, [[]] * 9, clip=1.0, noise=2.0, loss=loss)
    assert moved.std() == pytest.approx(2.0 * math.sqrt(9), rel=0.02)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    spec = HEADS["code-query, residual"]
    first, again, other = (
        flat(fit(head_of(spec), PATIENTS, seed=seed).parameters()) for seed in (5, 5, 6)
    )
    assert first.equal(again)
    assert (first - other).abs().min() > 0


def test_nothing_comes_from_the_global_generator():
    runs = []
    for seed in (1, 2):
        head = head_of(HEADS["mlp"])
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        runs.append(flat(fit(head, PATIENTS).parameters()))
        assert torch.get_rng_state().equal(state)
    assert runs[0].equal(runs[1])


# fit


def test_the_normaliser_is_rate_times_declared_whatever_the_true_number():
    spec, rate = HEADS["linear"], 1.0
    for patients in (PATIENTS[:2], PATIENTS):
        head = head_of(spec)
        start = flat(head.parameters())
        by_hand = sum(clipped(alone(head, patient), 0.3) for patient in patients)
        fit(
            head,
            patients,
            receipt=receipt(1e-9, rate=rate, steps=1),
            clip=0.3,
            declared=40,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
        )
        moved = flat(head.parameters()) - start
        assert (moved * 40 + by_hand).abs().max() < 2e-5


@pytest.mark.parametrize(("rate", "declared"), [(0.25, 100), (1.0, 7)])
def test_fit_adds_the_noise_of_the_receipt_over_rate_times_declared(rate, declared):
    head = Linear().build(dim=DIM, outputs=OUTPUTS)
    noises = []
    for seed in range(60):
        copied = copy.deepcopy(head)
        fit(
            copied,
            [],
            receipt=receipt(3.0, rate=rate, steps=2),
            clip=0.5,
            declared=declared,
            seed=seed,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
        )
        noises.append(flat(copied.parameters()) - flat(head.parameters()))
    found = torch.cat(noises)
    promised = 3.0 * 0.5 * math.sqrt(2) / (rate * declared)
    assert float(found.std()) == pytest.approx(promised, rel=4 / math.sqrt(2 * len(found)))


def test_a_receipt_without_noise_is_refused_before_a_step():
    head = head_of(HEADS["linear"])
    before = flat(head.parameters())
    with pytest.raises(ValueError, match="receipt without noise"):
        fit(head, PATIENTS, receipt=receipt(0.0))
    assert flat(head.parameters()).equal(before)


def test_the_spend_is_calibrated_for_all_rounds_together():
    mechanism = DpSgd(epsilon=2.5, delta=1e-6)
    spends = [
        mechanism.spend(study=STUDY, round=number, rounds=3, steps=7, sample_rate=1)
        for number in (1, 2, 3)
    ]
    cost = accounting.epsilon(spends, delta=1e-6)
    assert 2.45 < cost <= 2.5
    assert accounting.epsilon(spends[:1], delta=1e-6) < 1.6


def traces(head: nn.Module) -> set[str]:
    """Whatever a library could have hung on a head: attributes and hooks."""
    hung = {
        f"{name or 'head'}.{attribute}: {len(value) if isinstance(value, dict) else ''}"
        for name, module in head.named_modules()
        for attribute, value in vars(module).items()
    }
    return hung | {
        f"{name}.{attribute}"
        for name, value in head.named_parameters()
        for attribute in vars(value)
    }


@EVERY_HEAD
def test_nothing_of_opacus_stays_on_the_head(spec):
    head = head_of(spec)
    clean, keys, kind = traces(head), list(head.state_dict()), type(head)
    fit(head, PATIENTS)
    assert traces(head) == clean
    assert list(head.state_dict()) == keys
    assert type(head) is kind
    head.zero_grad()
    losses(head, PATIENTS).mean().backward()
    assert all(value.grad is not None for value in head.parameters())
    assert traces(head) == clean


@EVERY_HEAD
def test_no_gradient_without_noise_is_saved_with_the_head(spec, tmp_path):
    # torch.save and copy.deepcopy keep whatever hangs on a parameter.
    head = fit(head_of(spec), PATIENTS)
    torch.save(head, tmp_path / "head.pt")
    loaded = torch.load(tmp_path / "head.pt", weights_only=False)
    assert [vars(value) for value in loaded.parameters()] == [{}] * len(list(head.parameters()))


def test_a_failure_in_the_middle_leaves_no_trace_either():
    head = head_of(HEADS["linear"])
    clean = traces(head)

    def broken(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        losses(model, sample).sum().backward()
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        change_in_place(head, broken)
    head.zero_grad(set_to_none=True)
    assert traces(head) == clean


def change_in_place(head: Head, loss) -> None:
    DpSgd(epsilon=1)._steps(head, [PATIENTS], training(losses=loss), noise=1.0)


@EVERY_HEAD
def test_fit_twice_is_two_clean_fits(spec):
    twice = fit(fit(head_of(spec), PATIENTS, seed=1), PATIENTS, seed=2)
    first = fit(head_of(spec), PATIENTS, seed=1)
    fresh = head_of(spec)
    fresh.load_state_dict(first.state_dict())
    assert flat(twice.parameters()).equal(flat(fit(fresh, PATIENTS, seed=2).parameters()))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD], ids=["adam", "sgd"])
def test_an_optimizer_sees_only_the_noisy_gradient(optimizer):
    head = head_of(HEADS["linear"])
    seen: list[list[Tensor]] = []

    def learner(parameters):
        made = optimizer(parameters, lr=0.01)
        made.register_step_pre_hook(
            lambda opt, *_: seen.append([p.grad.clone() for p in opt.param_groups[0]["params"]])
        )
        return made

    fit(
        head,
        [PATIENTS[0]],
        receipt=receipt(1e-6, rate=1.0, steps=4),
        clip=0.05,
        declared=1,
        learner=learner,
    )
    norms = [float(flat(gradients).norm()) for gradients in seen]
    assert len(norms) == 4
    assert norms == pytest.approx([0.05] * 4, rel=1e-3)
