"""The loss: one number per patient, from that patient's own stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped

from tasks.bags import Batch, PatientBag, collate
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import HeadSpec
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.loss import patient_losses

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
