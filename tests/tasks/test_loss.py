"""The loss: one number per patient, from that patient's own stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

from privacy.patient_gradients import patient_gradients
from tasks.bags import Batch, PatientBag, collate
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import HeadSpec
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.loss import log_odds, patient_losses

L = 3
checked_losses = jaxtyped(patient_losses, typechecker=beartype)


def batch_of(*stays: list[tuple[int, ...]]) -> Batch:
    """A batch with these targets: for each patient, for each stay."""
    bags = [
        PatientBag(tuple(np.ones((1, 2), np.float32) for _ in targets), tuple(targets))
        for targets in stays
    ]
    return collate(bags, dim=2, outputs=L)


def cross_entropy(logit: float, truth: bool) -> float:
    probability = 1 / (1 + np.exp(-logit))
    return float(-np.log(probability if truth else 1 - probability))


@given(
    st.lists(st.lists(st.sets(st.integers(0, L - 1)), min_size=1, max_size=4), max_size=4),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_it_is_the_mean_over_outputs_and_then_over_the_patients_own_stays(
    targets: list[list[set[int]]], seed: int
):
    batch = batch_of(*[[tuple(stay) for stay in stays] for stays in targets])
    logits = torch.randn(batch.y.shape, generator=torch.Generator().manual_seed(seed))
    expected = [
        np.mean(
            [
                [cross_entropy(float(logits[p, s, k]), k in stay) for k in range(L)]
                for s, stay in enumerate(stays)
            ]
        )
        for p, stays in enumerate(targets)
    ]
    found = checked_losses(logits, batch)
    assert found.shape == (len(targets),)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_patient_with_more_equal_stays_does_not_weigh_more():
    batch = batch_of([(0,)], [(0,)] * 5)
    losses = checked_losses(torch.full((2, 5, L), 0.7), batch)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)


def test_padded_stays_change_neither_the_loss_nor_the_gradient():
    batch = batch_of([(0,)], [(1,), (2,), ()])
    logits = torch.randn(2, 3, L, generator=torch.Generator().manual_seed(0))
    wild = logits.clone()
    wild[0, 1:] = 40.0
    for each in (logits.requires_grad_(), wild.requires_grad_()):
        patient_losses(each, batch).sum().backward()
    assert torch.equal(patient_losses(logits, batch), patient_losses(wild, batch))
    assert logits.grad is not None
    assert wild.grad is not None
    assert torch.equal(logits.grad, wild.grad)
    assert not logits.grad[0, 1:].any()
    assert logits.grad[0, 0].all()
    assert logits.grad[1].all()


def test_a_patients_loss_has_no_gradient_at_another_patients_logits():
    batch = batch_of([(0,)], [(1,)])
    logits = torch.zeros(2, 1, L, requires_grad=True)
    patient_losses(logits, batch)[0].backward()
    assert logits.grad is not None
    assert logits.grad[0].all()
    assert not logits.grad[1].any()


@pytest.mark.parametrize("spec", [Linear(), Mlp(hidden=(4,)), CodeQuery(residual=True)], ids=str)
def test_no_patients_give_no_losses_and_still_a_graph(spec: HeadSpec):
    head = spec.build(dim=2, outputs=L)
    batch = collate([], dim=2, outputs=L)
    losses = checked_losses(head(batch.x, batch.chunks), batch)
    assert losses.shape == (0,)
    losses.sum().backward()
    for value in head.parameters():
        assert value.grad is not None
        assert not value.grad.any()


def test_logits_of_another_width_are_refused_by_the_annotation():
    batch = batch_of([(0,)])
    with pytest.raises(TypeCheckError):
        checked_losses(torch.zeros(1, L), batch)


# --- Exclusive outputs ------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, L - 1), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_of_exclusive_outputs_it_is_the_cross_entropy_of_each_patient_alone(
    targets: list[list[int]], seed: int
):
    batch = batch_of(*[[(output,) for output in stays] for stays in targets])
    logits = torch.randn(batch.y.shape, generator=torch.Generator().manual_seed(seed)) * 5
    found = checked_losses(logits, batch, exclusive=True)
    for p, stays in enumerate(targets):
        alone = torch.nn.functional.cross_entropy(logits[p, : len(stays)], torch.tensor(stays))
        torch.testing.assert_close(found[p], alone, rtol=1e-5, atol=1e-6)


def test_of_exclusive_outputs_no_patient_or_padded_stay_touches_anothers_gradient():
    batch = batch_of([(0,)], [(1,), (2,)])
    logits = torch.randn(2, 2, L, generator=torch.Generator().manual_seed(0), requires_grad=True)
    patient_losses(logits, batch, exclusive=True)[0].backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].all()
    assert not logits.grad[0, 1].any()
    assert not logits.grad[1].any()


@given(st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=5))
@settings(deadline=None)
def test_log_odds_are_the_logit_of_softmax(rows: list[list[float]]):
    logits = torch.tensor(rows, dtype=torch.float64)
    for n, row in enumerate(rows):
        for k, logit in enumerate(row):
            others = [value for m, value in enumerate(row) if m != k]
            peak = max(others)
            rest = peak + np.log(sum(np.exp(value - peak) for value in others))
            assert log_odds(logits)[n, k].item() == pytest.approx(logit - rest, abs=1e-9)
    torch.testing.assert_close(log_odds(logits).sigmoid(), logits.softmax(-1))


def test_log_odds_stay_exact_where_a_probability_is_nearly_one():
    found = log_odds(torch.tensor([[60.0, 0.0, 0.0]]))
    assert found[0, 0].item() == pytest.approx(60 - np.log(2), abs=1e-4)
    assert found[0, 1].item() == pytest.approx(-60, abs=1e-4)


def test_log_odds_of_two_are_their_difference_and_of_none_are_none():
    assert log_odds(torch.tensor([[2.0, 0.5]])).tolist() == [[1.5, -1.5]]
    assert log_odds(torch.zeros(0, 3)).shape == (0, 3)


def test_the_gradient_that_is_clipped_is_the_patients_alone_for_exclusive_outputs():
    draw = np.random.default_rng(0)
    bags = [
        PatientBag(tuple(draw.normal(size=(2, 2)).astype(np.float32) for _ in targets), targets)
        for targets in (((0,), (2,)), ((1,),), ((2,), (2,), (0,)))
    ]
    head = Linear().build(dim=2, outputs=L)

    def losses(model: torch.nn.Module, some: Sequence[PatientBag]) -> torch.Tensor:
        batch = collate(some, dim=2, outputs=L)
        return patient_losses(model(batch.x, batch.chunks), batch, exclusive=True)

    rows = patient_gradients(head, bags, losses)
    for number, bag in enumerate(bags):
        head.zero_grad()
        losses(head, [bag]).sum().backward()
        for name, value in head.named_parameters():
            torch.testing.assert_close(rows[name][number], value.grad)
